"""A simulated run's ledger in PostgreSQL, which nothing outside of it knows the state of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from tests.end_to_end.simulation.statement_ledger import StatementLedger

T = TypeVar("T")

_TABLES = ("link", "link_id", "attempt", "body", '"row"', "operation")


class PostgresLedger(StatementLedger):
    """Begins empty, whatever was in the database; it is never rolled back."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        with engine.begin() as connection:
            for table in _TABLES:
                connection.exec_driver_sql(f"DELETE FROM {table}")

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    def back_up(self) -> None:
        """Do nothing: whoever backs a database up does it with its own means."""

    def roll_back(self) -> None:
        """Refuse: no run would know."""
        raise NotImplementedError

    def is_newest(self) -> bool:
        """Say yes."""
        return True

    def restore(self) -> None:
        """Refuse: there is nothing to be restored from."""
        raise NotImplementedError

    def held(self) -> set[str]:
        """Return nothing: no key is known but to the ledger."""
        return set()
