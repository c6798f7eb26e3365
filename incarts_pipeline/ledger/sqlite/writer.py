"""Writer of a run to an SQLite file: one connection, and the witness that is told of each group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger.sqlite.ledger_file import file_id
from incarts_pipeline.ledger.sqlite.moved import is_moved, moved_error, rescue
from incarts_pipeline.ledger.sqlite.witness import Witness
from incarts_pipeline.sqlite import explain

T = TypeVar("T")


class SqliteWriter:
    """A `RunWriter`; it knows its file from another one that is put in its place."""

    may_forget = False  # a file that was rolled back is another file, see `moved`

    def __init__(self, engine: sa.Engine, path: Path, run_id: str) -> None:
        self._engine, self._path, self._run_id = engine, path, run_id
        self._connection: sa.Connection | None = None
        self._witness = Witness(path)
        self._file = file_id(path)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            connection = self._connected()
            with connection.begin():
                return work(connection)
        except BaseException:
            self._disconnect()
            raise

    def look(self, work: Callable[[sa.Connection], T]) -> T:
        return self.write(work)

    def write_anew(self, work: Callable[[sa.Connection], T]) -> T:
        return self.write(work)

    def written(self) -> None:
        try:
            self._witness.committed(self._connected())
            self._witness.sync()
        except BaseException:
            self._disconnect()
            raise

    def about_to_send(self, keys: Iterable[str]) -> None:
        self._witness.keep_keys(keys)

    @property
    def moved(self) -> LedgerError | None:
        return moved_error(self._path) if is_moved(self._path, self._file) else None

    def close(self) -> LedgerError | None:
        lost = None
        try:
            if self._file is not None and self.moved:
                lost = rescue(self._connected(), self._path, self._file, self._run_id)
            self._witness.sync(now=True)
        except sa.exc.DBAPIError as error:
            raise explain(error, self._path) from error
        finally:
            self._witness.close()
            self._disconnect()
        return lost

    def _connected(self) -> sa.Connection:
        """Return the connection, which is kept from one group to the next."""
        self._connection = self._connection or self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sa.exc.DBAPIError):
                self._connection.close()
        self._connection = None
