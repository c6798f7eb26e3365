"""Reasons of rows that a check counts: how many rows each has, and the first rows, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.outgoing import in_markdown, shown

if TYPE_CHECKING:
    import duckdb

_FIRST = 5  # rows in a table
_REASONS = 10  # lines in a table
_SAID = 3  # reasons in a description
_CELL = 160  # characters
# Beside what is counted anyway.
COLUMNS = ("reason", "problems", "error_code", "error_message")


@dataclass(slots=True)
class Wrong:
    """Rows of one kind that a check looks for, added up over partitions.

    `reasons` counts rows by what is wrong: a field and a code, Incarts' own code, or the status's
    reason. A row with two broken rules is counted for both. `first` are (row, key, why).
    """

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, db: duckdb.DuckDBPyConnection, kind: str) -> None:
        """Add what the view `wrong` has of a kind: of rejected, suspicious, in_doubt, stale."""
        found = db.execute("SELECT COUNT(*) FROM wrong WHERE kind = ?", [kind]).fetchone()
        self.rows += found[0] if found else 0
        for reason, rows in db.execute(_REASONS_OF, [kind]).fetchall():
            self.reasons[reason] += rows
        self.first += db.execute(_FIRST_OF, [kind, _FIRST - len(self.first)]).fetchall()

    def said(self) -> str:
        """Return the most frequent reasons on one line, empty where there are none."""
        parts = [f"{n:,} {shown(reason)}" for reason, n in self.reasons.most_common(_SAID)]
        more = len(self.reasons) - _SAID
        return ", ".join([*parts, *([f"and {more:,} more reasons"] if more > 0 else [])])

    def tables(self) -> dict[str, Any]:
        """Return reasons and first rows as Markdown, nothing where there are none."""
        if not self.rows:
            return {}
        reasons = table(["reason", "rows"], self.reasons.most_common(_REASONS))
        first = table(["row", "key", "why"], self.first)
        return {"reasons": dg.MetadataValue.md(reasons), "first rows": dg.MetadataValue.md(first)}


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; texts of others are cut to a cell, and can't be markup."""
    lines = [names, ["---"] * len(names), *([cell(one) for one in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value: object) -> str:
    """Return a value as a cell: cut, and no markup."""
    if isinstance(value, int):
        return str(value)
    text = "" if value is None else shown(value)
    return in_markdown(text if len(text) <= _CELL else text[: _CELL - 1] + "…")


# One line for each row and kind: a stale row may be rejected as well.
WRONG = """
CREATE TABLE wrong AS
SELECT l.*, kind, LIST_FILTER(
    problems, lambda p: COALESCE(p.severity, 'error') = CASE kind
        WHEN 'rejected' THEN 'error' WHEN 'suspicious' THEN 'suspicion' END
) AS found
FROM rows AS l, UNNEST(['rejected', 'suspicious', 'in_doubt', 'stale']) AS k(kind)
WHERE CASE kind
    WHEN 'rejected' THEN status = 'rejected'
    WHEN 'suspicious' THEN status = 'held' AND LIST_CONTAINS($suspicions, reason)
    WHEN 'in_doubt' THEN status = 'in_doubt'
    ELSE is_stale END
"""

_REASONS_OF = """
WITH told AS (
    SELECT UNNEST(CASE WHEN LEN(found) > 0
        THEN LIST_DISTINCT(LIST_TRANSFORM(found, lambda p: p.field || ' ' || p.code))
        ELSE [COALESCE(error_code, reason)] END) AS why
    FROM wrong WHERE kind = ?
)
SELECT why, COUNT(*) FROM told GROUP BY why ORDER BY COUNT(*) DESC, why
"""

_FIRST_OF = """
SELECT catalog_row, COALESCE(row_key, ''), CASE WHEN LEN(found) > 0
    THEN ARRAY_TO_STRING(LIST_TRANSFORM(found, lambda p: p.field || ': ' || p.message), '; ')
    ELSE CONCAT_WS(': ', COALESCE(error_code, reason), error_message) END
FROM wrong WHERE kind = ? ORDER BY catalog_row, row_key LIMIT ?
"""
