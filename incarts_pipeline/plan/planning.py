"""Planning: what the steps of one plan work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from incarts_pipeline.clock import Stamp
from incarts_pipeline.kinds import Kind
from incarts_pipeline.ledger import LedgerReader
from incarts_pipeline.plan.plan import PlanOptions
from incarts_pipeline.plan.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What the steps of one plan work on."""

    kind: Kind
    options: PlanOptions
    workspace: Workspace
    ledger: LedgerReader
    now: Stamp
    set_ids: Mapping[str, int]  # of those of the plan's link sets that the ledger has
    warnings: tuple[str, ...] = ()  # of the catalog
    catalog_version: str | None = None  # in words
