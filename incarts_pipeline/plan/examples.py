"""Examples: single rows that a plan would touch, to show what its numbers stand for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from incarts_pipeline.differences import Difference
from incarts_pipeline.kinds import Kind
from incarts_pipeline.ledger import LedgerReader, links_used_for
from incarts_pipeline.models import Reason
from incarts_pipeline.plan import change_queries, figure_queries
from incarts_pipeline.plan.workspace import Workspace

_SHOWN = 3  # differences of one row in a line
_WANTED = pa.schema([("link_set", pa.string()), ("catalog_row", pa.int64())])

Place = tuple[str, int]  # link set and catalog row


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row that a plan would touch; `differences` are the first from its link's content.

    `more` counts those that are not among them. `name` is the link's as it would be sent, None
    where nothing is; `problem` is the first rule that a rejected row breaks, or the first suspicion
    of one that is held; `was_key` the key under which a re-keyed row left the catalog.
    """

    link_set: str
    catalog_row: int
    row_key: str
    reason: Reason
    differences: Sequence[Difference] = ()
    more: int = 0
    name: str | None = None
    problem: str | None = None
    was_key: str | None = None

    @property
    def fields(self) -> list[str]:
        """The fields that differ, sorted."""
        return sorted({one.field for one in self.differences})

    @property
    def keys(self) -> str:
        """The row's key, behind the one that it had before."""
        return f"{self.was_key} → {self.row_key}" if self.was_key else self.row_key

    def changes(self) -> str:
        """Return what differs on one line: each path with its old and its new value."""
        shown = [str(one) for one in self.differences[:_SHOWN]]
        more = self.more + len(self.differences) - len(shown)
        return "; ".join([*shown, *([f"and {more:,} more"] if more else [])])

    def __str__(self) -> str:
        if self.differences:
            return f"{self.keys}  {self.changes()}"
        return f"row {self.catalog_row} ({self.keys})"


def examples_of(workspace: Workspace, kind: Kind, **asked: str | int | None) -> list[Example]:
    """Return the first rows that `figure_queries.EXAMPLES` finds for its parameters."""
    query = figure_queries.EXAMPLES.format(row=kind.row_number)
    rows = workspace.db.execute(query, asked).fetchall()
    found = differences_of(workspace, [row[:2] for row in rows])
    return [_example(row[:1] + row[2:], *found.get(row[:2], ((), 0))) for row in rows]


def missing_lines(workspace: Workspace, ledger: LedgerReader, link_set: str) -> list[str]:
    """Return the first links of a set whose row left the catalog, as lines."""
    rows = workspace.db.execute(figure_queries.MISSING_EXAMPLES, {"name": link_set}).fetchall()
    op_ids = [op_id for _, op_id in rows]
    links = ledger.read(lambda c: links_used_for(c, op_ids)) if rows else {}
    # What was read before may have moved since, by another process.
    return [
        f"missing from the catalog: {key} ({links[op_id]})" for key, op_id in rows if op_id in links
    ]


def differences_of(
    workspace: Workspace, places: Sequence[Place]
) -> dict[Place, tuple[list[Difference], int]]:
    """Return what differs in some rows, and how much more does, for those that have a link."""
    wanted = [dict(zip(_WANTED.names, place, strict=True)) for place in places]
    workspace.fill("wanted", _WANTED, wanted)
    found: dict[Place, tuple[list[Difference], int]] = {}
    for *place, path, old, new, n in workspace.db.execute(change_queries.DIFFERENCES).fetchall():
        listed, _ = found.get((place[0], place[1]), ([], 0))
        listed.append(Difference(path=path, old=old, new=new))
        found[place[0], place[1]] = listed, n - len(listed)
    return found


def _example(row: Sequence[Any], found: Sequence[Difference], more: int) -> Example:
    link_set, number, row_key, reason, body, problem, was_key = row
    return Example(
        link_set=link_set,
        catalog_row=number,
        row_key=row_key or "",
        reason=Reason(reason),
        differences=found,
        more=more,
        name=json.loads(body).get("name") if body is not None else None,
        problem=problem,
        was_key=was_key,
    )
