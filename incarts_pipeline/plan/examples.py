"""Examples: single rows that a plan would touch, to show what its numbers stand for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from incarts_pipeline.identity import changed_fields
from incarts_pipeline.ledger import LedgerReader, bodies_of
from incarts_pipeline.models import Kind, Reason
from incarts_pipeline.plan import queries
from incarts_pipeline.plan.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row that a plan would touch; `fields` are those that differ from its link's content.

    `name` is the link's as it would be sent, None where nothing is; `problem` is the first rule
    that a rejected row breaks, or the first suspicion of one that is held; `was_key` the key under
    which a re-keyed row left the catalog.
    """

    link_set: str
    catalog_row: int
    row_key: str
    reason: Reason
    fields: Sequence[str] = ()
    name: str | None = None
    problem: str | None = None
    was_key: str | None = None

    @property
    def keys(self) -> str:
        """The row's key, behind the one that it had before."""
        return f"{self.was_key} → {self.row_key}" if self.was_key else self.row_key

    def __str__(self) -> str:
        what = f": {', '.join(self.fields)}" if self.fields else ""
        return f"row {self.catalog_row} ({self.keys}){what}"


def examples_of(
    workspace: Workspace, ledger: LedgerReader, kind: Kind, **asked: str | int | None
) -> list[Example]:
    """Return the first rows that `queries.EXAMPLES` finds for its parameters."""
    query = queries.EXAMPLES.format(row=kind.row_number)
    rows = workspace.db.execute(query, asked).fetchall()
    op_ids = [row[4] for row in rows if row[4] is not None and row[5] is not None]
    old = ledger.read(lambda c: bodies_of(c, op_ids)) if op_ids else {}
    return [_example(row, old.get(row[4])) for row in rows]


def _example(row: Sequence[Any], old_body: bytes | None) -> Example:
    link_set, catalog_row, row_key, reason, _, body, problem, was_key = row
    return Example(
        link_set=link_set,
        catalog_row=catalog_row,
        row_key=row_key or "",
        reason=Reason(reason),
        fields=changed_fields(old_body, body.encode()) if old_body and body is not None else (),
        name=json.loads(body).get("name") if body is not None else None,
        problem=problem,
        was_key=was_key,
    )
