"""Resolved settings: what each kind of task is done with, without asking again what is there.

`Settings` makes them; a subclass repeats the settings that its task can't be without.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from incarts_pipeline.models import Limits
from incarts_pipeline.settings.ledger_place import LedgerPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSettings:
    """Settings as they were when a task began; times are in seconds."""

    base_url: str | None
    api_key: SecretStr | None = field(repr=False)
    project_id: str | None
    ledger: LedgerPlace
    idempotency_window: float
    scopes: frozenset[str] | None
    rate: str
    max_rps: float | None
    max_in_flight: int | None
    wait: bool
    connect_timeout: float
    read_timeout: float
    limits: Limits
    require_signature: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings(ResolvedSettings):
    """What a plan is made with; a ledger that exists may belong to any base URL."""

    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings(PlanSettings):
    """What links are brought into a ledger with, which belongs to one base URL."""

    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(ResolvedSettings):
    """What Incarts is called with."""

    base_url: str
    api_key: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings(ClientSettings):
    """What Incarts is called with for a project."""

    project_id: str
