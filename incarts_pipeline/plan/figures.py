"""Figures of a plan: what it would do, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.models import Action, Reason
from incarts_pipeline.plan.changed_rows import ChangedRows
from incarts_pipeline.plan.guards import Refusal
from incarts_pipeline.text import LINE_BREAK, Option, OptionText, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many catalog rows get an action for a reason, and how many calls that takes."""

    link_set: str
    action: Action
    reason: Reason
    rows: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFigures:
    """What a plan would do, in numbers.

    `scopes` counts the calls that need each scope; `doubts` are operations in doubt that will be
    settled first, whether or not their row is still in the catalog; `seconds` is the expected
    time of the run at the rate ceiling, None when there is none; `changed` says what differs in the
    rows whose link has other content. `limit` and `max_duration` (seconds) are what the run is held
    to, and `in_time` the calls that this time is likely enough for; None where nothing holds it.
    `guessed_rate` is the ceiling, in requests a second, where `in_time` counts on that because no
    pace was learned yet.
    `enqueued` are those of the calls that wait in the ledger for workers. `catalog_version` is the
    version of a lake table that was read, like `Delta version 12`.
    """

    counts: Sequence[Count]
    calls: int
    doubts: int
    missing: Mapping[str, int]
    scopes: Mapping[str, int]
    missing_scopes: Sequence[str]
    warnings: Sequence[str]
    refusals: Sequence[Refusal]
    digest: str
    seconds: float | None
    rows: int = 0
    changed: Sequence[ChangedRows] = ()
    limit: int | None = None
    max_duration: float | None = None
    in_time: int | None = None
    guessed_rate: float | None = None
    enqueued: int = 0
    catalog_version: str | None = None

    @property
    def to_make(self) -> int:
        """The calls that the run makes: all, or as many as its limit and its time let it."""
        return min(n for n in (self.calls, self.limit, self.in_time) if n is not None)

    @property
    def nights(self) -> int | None:
        """The nights until all calls are made, if each makes as many.

        None when none is made, or when how many a night makes is a guess.
        """
        is_held = self.to_make not in (self.calls, self.limit)  # by its time alone
        is_guess = self.guessed_rate is not None and is_held
        return None if is_guess or not self.to_make else math.ceil(self.calls / self.to_make)

    def rows_by_action(self) -> dict[Action, int]:
        """Return the number of catalog rows per action, in the order of the enum."""
        totals = dict.fromkeys(Action, 0)
        for count in self.counts:
            totals[count.action] += count.rows
        return totals


def refuse(figures: PlanFigures, approve: str | None) -> None:
    """Let a plan through, or say why not.

    Raises:
        RefusedError: a guard stands against it, and `approve` is not its digest.
    """
    against = [r for r in figures.refusals if not (r.approvable and approve == figures.digest)]
    if not against:
        return
    approvable = all(refusal.approvable for refusal in against)
    approve_it = OptionText(
        "Approve exactly this plan with ", Option(name="approve", value=figures.digest), "."
    )
    raise RefusedError(
        joined(LINE_BREAK, [refusal.told() for refusal in against]),
        fix=joined(" ", [*(r.fix for r in against), *([approve_it] if approvable else [])]),
        guard=against[0].guard,
        digest=figures.digest if approvable else None,
    )
