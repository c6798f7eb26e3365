"""Statements that a run executes for every link: SQLAlchemy's, turned into SQL text only once.

Executing one afresh costs SQLAlchemy several times what it costs SQLite, and sqlite3 takes twice as
long to bind values by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT = sqlite.dialect(paramstyle="qmark")


def literal(word: str) -> sa.ColumnElement[str]:
    """Return a word as it stands in SQL."""
    return sa.literal_column(f"'{word}'")


class Statement:
    """A statement with several parameters, for many rows at once.

    `names` are the columns that an insert fills. Its own constants must be literals, see `literal`:
    the rows are all that it takes.

    Raises, from `run`:
        KeyError: a row lacks a parameter.
        ValueError: a row for an insert has other columns, which would be dropped.
    """

    def __init__(self, clause: sa.sql.ClauseElement, names: Sequence[str] | None = None) -> None:
        compiled = cast(SQLCompiler, clause.compile(dialect=_DIALECT, column_keys=names))
        self.text = str(compiled)
        order = compiled.positiontup or ()
        if len(order) < 2:
            raise ValueError("itemgetter needs two parameters to return a row")
        self._values = itemgetter(*order)
        self._names = None if names is None else set(names)

    def run(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> int:
        """Execute it once for each row, and return how many rows it changed in all."""
        if self._names is not None and rows and rows[0].keys() != self._names:
            raise ValueError(f"columns {sorted(self._names ^ rows[0].keys())} don't match")
        values = [self._values(row) for row in rows]
        return connection.exec_driver_sql(self.text, values).rowcount
