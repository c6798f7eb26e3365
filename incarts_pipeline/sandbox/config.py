"""The sandbox's switches: one for everything that the real API leaves unpublished."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

DEFAULT_KEY = "ic_sandbox_all_scopes"
DEFAULT_PROJECT = "demo"
ALL_SCOPES = frozenset(
    {
        "links:write",
        "links:read",
        "qr-codes:write",
        "retailers:walmart",
        "retailers:instacart",
        "retailers:target",
        "retailers:custom",
    }
)


class Fault(StrEnum):
    """What can go wrong with one request."""

    LOST_BEFORE = "lost_before"  # the connection closes, nothing was done
    LOST_AFTER = "lost_after"  # the link is made, then the connection closes
    ERROR_BEFORE = "error_before"  # a 500, nothing was done
    ERROR_AFTER = "error_after"  # the link is made, then a 500
    LATE = "late"  # a 504 at once; the link is made a while later
    HALF_ANSWER = "half_answer"  # the link is made, the answer breaks off
    MALFORMED = "malformed"  # the link is made, the answer is a web page
    NO_ID = "no_id"  # the link is made, the answer lacks its id
    STALL = "stall"  # the link is made, the answer takes its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The share of requests that each fault befalls, 0 to 1; `first` limits it to so many."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    late: float = 0.0
    half_answer: float = 0.0
    malformed: float = 0.0
    no_id: float = 0.0
    stall: float = 0.0
    first: int | None = None

    @classmethod
    def spread(cls, share: float) -> Faults:
        """Return faults of every kind that together befall `share` of the requests."""
        each = share / len(Fault)
        return cls(
            lost_before=each,
            lost_after=each,
            error_before=each,
            error_after=each,
            late=each,
            half_answer=each,
            malformed=each,
            no_id=each,
            stall=each,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A rate limit.

    `kind` is `fixed` (aligned windows), `anchored` (a window from its first request),
    `sliding_log`, `sliding_counter` or `bucket`. For a bucket, `requests` per `seconds` is the
    refill and `burst` its size. `per` is `key`, `project` or `address`.
    """

    kind: str = "fixed"
    requests: int = 600
    seconds: float = 60.0
    burst: int | None = None
    per: str = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key with what it may do."""

    key: str = DEFAULT_KEY
    projects: frozenset[str] = frozenset({DEFAULT_PROJECT})
    scopes: frozenset[str] = ALL_SCOPES


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """All switches; times in seconds.

    `idempotency_scope`: keys are remembered per `key` or per `project`. `replay`: what the replay
    of a key that had an answer gets: `same` (its link), or `stored_errors` too (a 500 that was
    answered once is answered again). `concurrent`: two requests with one key at the same time give
    `conflict` (409) or `wait`. `limits` all apply; `hints` is `none`, `retry_after`,
    `retry_after_date`, `ratelimit` or `x_ratelimit`; `count_refused`: refused requests count too;
    `limit_first`: a replay counts against the limit. `error_shape` is `nested`, `text`, `flat`,
    `problem`, `html` or `empty`.
    """

    keys: tuple[ApiKey, ...] = (ApiKey(),)
    idempotency_window: float = 86_400.0
    idempotency_scope: str = "key"
    replay: str = "same"
    concurrent: str = "conflict"
    limits: tuple[Limit, ...] = ()
    hints: str = "retry_after"
    count_refused: bool = False
    limit_first: bool = True
    error_shape: str = "nested"
    smart_select: bool = True
    latency: float = 0.0
    jitter: float = 0.0
    late_seconds: float = 0.3
    stall_seconds: float = 0.5
    faults: Faults = Faults()
    seed: int = 0

    def with_changes(self, changes: Mapping[str, Any]) -> SandboxConfig:
        """Return a copy with plain JSON values changed.

        Raises:
            ValueError: there is no such switch.
        """
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(f"there is no switch {name!r}")
        values = dict(changes)
        if isinstance(values.get("faults"), dict):
            values["faults"] = Faults(**values["faults"])
        if isinstance(values.get("faults"), int | float):
            values["faults"] = Faults.spread(values["faults"])
        if "limits" in values:
            values["limits"] = tuple(
                one if isinstance(one, Limit) else Limit(**one) for one in values["limits"]
            )
        if "keys" in values:
            values["keys"] = tuple(_key(one) for one in values["keys"])
        return dataclasses.replace(self, **values)


def _key(value: ApiKey | Mapping[str, Any]) -> ApiKey:
    if isinstance(value, ApiKey):
        return value
    sets = {name: frozenset(value[name]) for name in ("projects", "scopes") if name in value}
    return ApiKey(**{**value, **sets})


def to_json(config: SandboxConfig) -> dict[str, Any]:
    """Return a configuration as plain JSON values, which `with_changes` takes."""
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in _plain(dataclasses.asdict(config)).items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return sorted(value) if isinstance(value, frozenset) else value
