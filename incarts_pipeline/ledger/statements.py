"""Statements that a run executes for every link: SQLAlchemy's, turned into SQL text only once.

Executing one afresh costs SQLAlchemy several times what it costs SQLite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

_DIALECT = sqlite.dialect(paramstyle="named")


class Statement:
    """A statement for many rows at once; `names` are the columns that an insert fills.

    Raises, from `run`:
        ValueError: a row has other columns: SQLite would take it and drop what it doesn't know.
    """

    def __init__(self, clause: sa.sql.ClauseElement, names: Sequence[str] | None = None) -> None:
        compiled = clause.compile(dialect=_DIALECT, column_keys=names)
        self.text = str(compiled)
        params = compiled.params or {}
        self._names = None if names is None else set(names)
        self._fixed = {name: value for name, value in params.items() if value is not None}

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute it once for each row, and return how many rows it changed in all."""
        if self._names is not None and rows and rows[0].keys() != self._names:
            raise ValueError(f"columns {sorted(self._names ^ rows[0].keys())} don't match")
        fixed = self._fixed
        values = [{**fixed, **row} for row in rows] if fixed else list(map(dict, rows))
        return connection.exec_driver_sql(self.text, values).rowcount
