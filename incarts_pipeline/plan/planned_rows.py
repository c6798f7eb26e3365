"""Rows of a plan, one by one: what is decided of each, and its values as they were and will be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from incarts_pipeline.differences import Difference, differences
from incarts_pipeline.kinds import Kind
from incarts_pipeline.models import Action, Reason
from incarts_pipeline.plan import change_queries
from incarts_pipeline.plan.examples import differences_of
from incarts_pipeline.plan.workspace import Workspace

_PLACES_AT_ONCE = 5_000
# First what can't be undone, and what gets no link.
_IN_ORDER = ("replace", "reject", "hold", "settle", "rekey", "reuse", "create", "unchanged", "skip")
_REKEYED = (Reason.LOOKS_REKEYED, Reason.REKEYED)
_SAID = ("name", "project_id")  # in every body, and told elsewhere
_SHOWN_VALUES = 10  # of a new link


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One row of a plan: what is decided of it, and what differs from its link, or would be made.

    `differences` of a row without a link are the values that it would be made with; `wrong` are its
    broken rules and suspicions.
    """

    link_set: str
    catalog_row: int
    keys: str
    action: Action
    reason: Reason
    name: str | None
    differences: Sequence[Difference]
    more: int
    wrong: Sequence[str]


def planned_rows(workspace: Workspace, kind: Kind, most: int) -> Iterator[PlannedRow]:
    """Yield a plan's rows, at most so many: replaced ones first, unchanged ones last."""
    query = change_queries.ROWS.format(row=kind.row_number)
    asked = {"actions": list(_IN_ORDER), "most": most}
    rows = workspace.db.cursor().execute(query, asked)
    while some := rows.fetchmany(_PLACES_AT_ONCE):
        found = differences_of(workspace, [row[:2] for row in some])
        for row in some:
            yield _planned_row(row, found.get(row[:2]))


def _planned_row(row: Sequence[Any], found: tuple[list[Difference], int] | None) -> PlannedRow:
    link_set, _, number, row_key, action, reason, body, was_key, wrong = row
    if found is None and body is not None and Action(action) is Action.CREATE:
        values = differences(b"{}", body.encode())
        shown = [one for one in values if one.path not in _SAID][:_SHOWN_VALUES]
        found = shown, len(values) - len(_SAID) - len(shown)
    keys = f"{was_key} → {row_key}" if was_key and reason in _REKEYED else row_key
    return PlannedRow(
        link_set=link_set,
        catalog_row=number,
        keys=keys or "",
        action=Action(action),
        reason=Reason(reason),
        name=json.loads(body).get("name") if body is not None else None,
        differences=found[0] if found else (),
        more=found[1] if found else 0,
        wrong=wrong or (),
    )
