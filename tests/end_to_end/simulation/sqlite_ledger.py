"""A simulated run's ledger in an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.database import read_facts
from incarts_pipeline.ledger.lost_keys import hold_lost
from incarts_pipeline.ledger.sqlite.ledger_file import beside
from incarts_pipeline.ledger.sqlite.witness import Witness, check_mark, last_mark
from tests.end_to_end.simulation.statement_ledger import StatementLedger

T = TypeVar("T")

_TABLES = ("link", "attempt", "body", "row", "operation", "lost_key")


class SqliteLedger(StatementLedger):
    """Begins empty, whatever was in the file; close it when done."""

    def __init__(self, engine: sa.Engine, file: Path) -> None:
        self._engine = engine
        self._file = file
        with engine.begin() as connection:
            for table in _TABLES:
                connection.exec_driver_sql(f"DELETE FROM {table}")
        for suffix in (".sent", ".witness"):
            beside(file, suffix).unlink(missing_ok=True)
        self._witness = Witness(file)
        self._backup = sqlite3.connect(":memory:")
        self.back_up()

    def close(self) -> None:
        """Close what it has beside the engine."""
        self._backup.close()
        self._witness.close()

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.connect() as connection:
            with connection.begin():
                result = work(connection)
            self._witness.committed(connection)
        return result

    def back_up(self) -> None:
        """Keep a copy of all that the ledger has."""
        with self._engine.connect() as connection:
            _raw(connection).backup(self._backup)

    def roll_back(self) -> None:
        """Put the copy in its place."""
        with self._engine.connect() as connection:
            self._backup.backup(_raw(connection))

    def is_newest(self) -> bool:
        """Say whether it has all transactions of which the witness knows."""
        try:
            check_mark(self._file, last_mark(self._file), self._do(read_facts))
        except RefusedError:
            return False
        return True

    def restore(self) -> None:
        """Hold what the witness knows to have been sent and the copy doesn't know."""
        self._do(lambda c: hold_lost(c, self._file))

    def held(self) -> set[str]:
        """Return the keys of which only the witness knows."""
        found = self._do(lambda c: c.execute(sa.select(tables.lost_key)).scalars().all())
        return {digest.hex() for digest in found}

    def _about_to_send(self, key: str) -> None:
        self._witness.keep_keys([key])


def _raw(connection: sa.Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw
