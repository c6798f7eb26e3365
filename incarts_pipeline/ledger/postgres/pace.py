"""Pace row: what all processes of one API key share of their pace, in the ledger's database.

Its table is not logged. What is lost with it is where a block stood, not what was learned of the
limit, which is in the table `rate`. Times are on the database's clock, which all hosts have.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import psycopg

from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger.postgres.connection import Connection
from incarts_pipeline.ledger.postgres.engine import connect
from incarts_pipeline.ledger.postgres.errors import explain
from incarts_pipeline.rate_limit import Lease, Report, Shared, kept_state, restored_state
from incarts_pipeline.settings import DatabasePlace

_MAKE = 'INSERT INTO "{schema}".pace VALUES (%s, 0, %s, 0) ON CONFLICT DO NOTHING'
_FIND = 'SELECT version, state FROM "{schema}".pace WHERE name = %s FOR UPDATE'
_KEEP = 'UPDATE "{schema}".pace SET version = %s, state = %s, changed_at = %s WHERE name = %s'


class PaceRow:
    """One process's way to a shared pace; used by one thread at a time."""

    def __init__(
        self, place: DatabasePlace, name: str, fresh: Callable[[], Shared], clock: Clock
    ) -> None:
        self._place, self._name, self._fresh, self._clock = place, name, fresh, clock
        self._connection: Connection | None = None
        self._version = 0  # of the state that is in memory
        self._shared: Shared | None = None

    def exchange(self, report: Report) -> Lease:
        """Tell what was heard, and lease slots; nothing is changed when it fails.

        Raises:
            LedgerError: the row can't be read or written.
        """
        try:
            connection = self._connection = self._connection or self._open()
            connection.later("BEGIN")
            lease = self._exchange(connection, report)
            connection.commit()
        except psycopg.Error as error:
            self.close()
            raise explain(error, self._place) from error
        except BaseException:
            self.close()  # what is in memory took in a report that was not written
            raise
        return lease

    def _exchange(self, connection: Connection, report: Report) -> Lease:
        found = self._execute(connection, _FIND, self._name).fetchone()
        if found is None:
            self._execute(connection, _MAKE, self._name, "")
            found = self._execute(connection, _FIND, self._name).fetchone()
        version, state = found or (0, "")
        shared = self._shared if version == self._version else restored_state(state)
        if shared is None:
            shared = self._fresh()
        lease = shared.exchange(report, self._clock.monotonic())
        values = (version + 1, kept_state(shared), self._clock.now().wall, self._name)
        connection.later(self._own(_KEEP), values)
        self._shared, self._version = shared, version + 1
        return lease

    def _execute(
        self, connection: Connection, statement: str, *values: object
    ) -> psycopg.Cursor[Any]:
        return connection.execute(self._own(statement).encode(), values)

    def _own(self, statement: str) -> str:
        return statement.format(schema=self._place.schema)

    def _open(self) -> Connection:
        return connect(self._place)

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection, self._shared, self._version = None, None, 0


def states_of(place: DatabasePlace) -> list[tuple[str, str]]:
    """Return the name and the state of each pace; none where they can't be read."""
    found: list[tuple[str, str]] = []
    with suppress(psycopg.Error), closing(connect(place)) as connection:
        query = f'SELECT name, state FROM "{place.schema}".pace'  # noqa: S608 - our own name
        found = connection.execute(query.encode()).fetchall()
    return found
