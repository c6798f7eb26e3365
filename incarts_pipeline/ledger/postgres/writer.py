"""Writer of a run to PostgreSQL: waits for a database that is gone, and never guesses.

A connection may be lost around a COMMIT, and then nobody has said whether it held. So each group
counts itself in its own transaction, as its first words: whoever comes back reads how far the
count is. The same row is locked by the count until the transaction is over, also by one whose
client is gone and that the database hasn't given up yet; so reading it is no race. And one that
arrives late as a whole, when its run has gone on without it, finds another count and fails.

A count that is lower than one that was acknowledged means that the database went back to an earlier
state: another server took over that had not heard of all. Then this run's operations may be gone,
and their ids may be given to others. Nothing more is written by their ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError, LedgerForgottenError
from incarts_pipeline.ledger.postgres.engine import connection_of
from incarts_pipeline.ledger.postgres.errors import (
    ERRORS,
    code_of,
    explain,
    is_gone,
    is_passing,
)
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.settings import DatabasePlace

logger = logger_of(__name__)

T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0  # seconds between two tries
_MOST_TRIES = 5  # of a transaction that another one was in the way of

# Where the count isn't as this run has left it, they fail, and so nothing behind them is done.
_COUNT = "WITH counted AS ({} RETURNING 1) SELECT 1 / count(*) FROM counted"
_OTHER_COUNT = psycopg.errors.DivisionByZero.sqlstate
_FIRST = _COUNT.format("INSERT INTO run_commit VALUES (%(run_id)s, %(seq)s) ON CONFLICT DO NOTHING")
_NEXT = _COUNT.format(
    "UPDATE run_commit SET seq = %(seq)s WHERE run_id = %(run_id)s AND seq = %(seq)s - 1"
)
_FOUND = sa.text("SELECT seq FROM run_commit WHERE run_id = :run_id")
_ANEW = sa.text(
    "INSERT INTO run_commit VALUES (:run_id, :seq) ON CONFLICT (run_id) DO UPDATE SET seq = :seq"
)


class PostgresWriter:
    """A `RunWriter` that counts its groups."""

    may_forget = True

    def __init__(self, engine: sa.Engine, place: DatabasePlace, run_id: str) -> None:
        self._engine, self._place, self._run_id = engine, place, run_id
        self._connection: sa.Connection | None = None
        self._seq = 0  # groups that are known to be on disk
        self._unknown = False  # whether one more may be, which nobody was told of

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        asked: list[T] = []  # results of the tries whose COMMIT may have been sent
        patience = _Patience(self._place)
        while True:
            try:
                result = self._try(work, asked)
            except ERRORS as error:
                self._disconnect()
                if code_of(error) != _OTHER_COUNT:
                    self._unknown |= bool(asked)
                    patience.wait(error)
                    continue
                found = self.look(self._found)
                if found != self._seq + 1 or not (asked or self._unknown):
                    raise self._forgotten(found) from None
                self._seq += 1
                if asked:
                    return asked[-1]
                self._unknown = False  # a group of before, which its own waiters gave up
            else:
                self._seq += 1
                self._unknown = False
                return result

    def look(self, work: Callable[[sa.Connection], T]) -> T:
        patience = _Patience(self._place)
        while True:
            try:
                with self._connected().begin():
                    return work(self._connected())
            except ERRORS as error:
                self._disconnect()
                patience.wait(error)

    def write_anew(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            with self._connected().begin():
                self._connected().execute(_ANEW, {"run_id": self._run_id, "seq": self._seq})
                return work(self._connected())
        except ERRORS as error:
            self._disconnect()
            raise explain(error, self._place) from error

    def _try(self, work: Callable[[sa.Connection], T], asked: list[T]) -> T:
        connection = self._connected()
        with connection.begin():
            # This waits for a group whose COMMIT may still be under way.
            counted = {"run_id": self._run_id, "seq": self._seq + 1}
            connection_of(connection).later(_NEXT if self._seq else _FIRST, counted)
            result = work(connection)
            asked.append(result)
        return result

    def _found(self, connection: sa.Connection) -> int:
        return connection.scalar(_FOUND, {"run_id": self._run_id}) or 0

    def _forgotten(self, found: int) -> LedgerForgottenError:
        groups = self._seq - found
        return LedgerForgottenError(
            f"The ledger {self._place} went back to an earlier state: the last {groups} of this "
            "run's transactions, which were on disk, are gone.",
            fix="Nothing more is sent. What this run had sent since is written to it as in doubt, "
            "from memory. Look why the server that took over was behind (synchronous_commit, "
            "synchronous_standby_names), and run again.",
            groups=groups,
        )

    def written(self) -> None:
        pass

    def about_to_send(self, keys: Iterable[str]) -> None:
        pass

    @property
    def moved(self) -> LedgerError | None:
        return None

    def close(self) -> LedgerError | None:
        self._disconnect()
        return None

    def _connected(self) -> sa.Connection:
        self._connection = self._connection or self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(*ERRORS):
                self._connection.invalidate()
            with suppress(*ERRORS):
                self._connection.close()
        self._connection = None


class _Patience:
    """How long a transaction is tried again."""

    def __init__(self, place: DatabasePlace) -> None:
        self._place = place
        self._until = time.monotonic() + place.pause
        self._next = _FIRST_WAIT
        self._tries = 0

    def wait(self, error: Exception) -> None:
        """Wait before the next try.

        Raises:
            LedgerError: there is no use in one.
        """
        told = explain(error, self._place)
        if is_passing(error):
            self._tries += 1
            if self._tries == _MOST_TRIES:
                raise told from error
        elif not is_gone(error) or time.monotonic() > self._until:
            raise told from error
        elif self._next == _FIRST_WAIT:
            logger.warning("The run waits for its ledger: %s", told.message)
        time.sleep(self._next)
        self._next = min(self._next * 2, _LONGEST_WAIT)
