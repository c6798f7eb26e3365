"""Figures of a plan: what it would do, in numbers."""

from __future__ import annotations

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
    rows whose link has other content; `limit` is the run's own, of which a plan that nobody carries
    out knows nothing.
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

    @property
    def to_make(self) -> int:
        """The calls that the run makes: all, or as many as its limit lets it."""
        return self.calls if self.limit is None else min(self.calls, self.limit)

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
