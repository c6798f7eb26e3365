"""Single rows that a plan would touch, to show what its numbers stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.identity import changed_fields
from incarts_pipeline.models import Action, Reason
from incarts_pipeline.plan.guards import Refusal
from incarts_pipeline.text import Option, OptionText, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row that a plan would touch; `fields` are those that differ from its link's content.

    `name` is the link's as it would be sent, None where nothing is; `problem` is the first rule
    that a rejected row breaks.
    """

    link_set: str
    catalog_row: int
    row_key: str
    reason: Reason
    fields: Sequence[str] = ()
    name: str | None = None
    problem: str | None = None

    def __str__(self) -> str:
        what = f": {', '.join(self.fields)}" if self.fields else ""
        return f"row {self.catalog_row} ({self.row_key}){what}"


def example_of(row: Sequence[Any], old_body: bytes | None) -> Example:
    """Return the example in a row of `decisions.EXAMPLES`; `old_body` is what its link was sent."""
    link_set, catalog_row, row_key, reason, _, body, problem = row
    return Example(
        link_set=link_set,
        catalog_row=catalog_row,
        row_key=row_key or "",
        reason=Reason(reason),
        fields=changed_fields(old_body, body.encode()) if old_body and body is not None else (),
        name=json.loads(body).get("name") if body is not None else None,
        problem=problem,
    )


def refuse(figures: PlanFigures, approve: str | None) -> None:
    """Let a plan through, or say why not.

    Raises:
        RefusedError: a guard stands against it, and `approve` is not its digest.
    """
    standing = [r for r in figures.refusals if not (r.approvable and approve == figures.digest)]
    if not standing:
        return
    approvable = all(refusal.approvable for refusal in standing)
    approve_it = Option(name="approve", value=figures.digest)
    how = OptionText("Approve exactly this plan with ", approve_it, ".")
    raise RefusedError(
        joined("\n", [refusal.message for refusal in standing]),
        fix=joined(" ", [*(refusal.fix for refusal in standing), *([how] if approvable else [])]),
        guard=standing[0].guard,
        digest=figures.digest if approvable else None,
    )


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
    time at the rate ceiling, None when there is none.
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
    rows: int = field(default=0)

    def rows_by_action(self) -> dict[Action, int]:
        """Return the number of catalog rows per action, in the order of the enum."""
        totals = dict.fromkeys(Action, 0)
        for count in self.counts:
            totals[count.action] += count.rows
        return totals
