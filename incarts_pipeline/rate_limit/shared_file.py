"""Pace file: what all processes of one API key share of their pace, in a file beside the ledger.

It is written some ten times a second, so it is never synced to disk. What is lost with it is where
a block stood, not what was learned of the limit, which is in the ledger's `rate` table; after a
reboot, or when the file is damaged, pacing begins anew from that.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.file_writer import make_empty
from incarts_pipeline.rate_limit.leases import Lease, Report, Shared
from incarts_pipeline.rate_limit.limit import Wait
from incarts_pipeline.settings import LedgerPlace
from incarts_pipeline.sqlite import explain, write_ahead

_BUSY_SECONDS = 1.0
_LAYOUT = 3  # of the states; one of another layout is learned anew
_KEPT_SECONDS = 7 * 86_400
_TABLE = """CREATE TABLE IF NOT EXISTS pace (
    name TEXT NOT NULL, boot_id TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL,
    changed_at REAL NOT NULL, PRIMARY KEY (name, boot_id)
) WITHOUT ROWID"""
_FIND = "SELECT version, state FROM pace WHERE name = ? AND boot_id = ?"
_KEEP = "INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?)"


def pace_path(ledger: LedgerPlace) -> Path:
    """Return the path of a ledger's pace file, beside the ledger's own where that is a link."""
    real = Path(os.path.realpath(ledger))  # which raises nothing for a link to itself
    return real.with_name(f"{real.name}-pace")


class PaceFile:
    """One process's way to a shared pace; used by one thread at a time.

    Args:
        ledger: the ledger that the file stands beside.
        name: of the API key and the kind of pacing, as `pace_name` returns it.
        fresh: returns the state to begin with when there is none yet.
    """

    def __init__(
        self, ledger: LedgerPlace, name: str, fresh: Callable[[], Shared], clock: Clock
    ) -> None:
        self._ledger, self._path = ledger, pace_path(ledger)
        self._name, self._fresh, self._clock = name, fresh, clock
        self._boot_id = clock.now().boot_id
        self._connection: sqlite3.Connection | None = None
        self._version = 0  # of the state that is in memory
        self._shared: Shared | None = None

    def exchange(self, report: Report) -> Lease:
        """Tell what was heard, and lease slots; nothing is changed when it fails.

        Raises:
            LedgerError: the file can't be read or written.
        """
        try:
            connection = self._connection = self._connection or self._open()
            # One process at a time reads, decides and writes: a lease is never given out twice.
            connection.execute("BEGIN IMMEDIATE")
            try:
                lease = self._exchange(connection, report)
                connection.execute("COMMIT")
            except BaseException:
                self._shared = None  # it took in a report that was not written
                connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self.close()
            raise explain(error, self._path) from error
        return lease

    def _exchange(self, connection: sqlite3.Connection, report: Report) -> Lease:
        version, state = connection.execute(_FIND, (self._name, self._boot_id)).fetchone() or (
            0,
            "",
        )
        # Nobody else wrote since, so what is in memory needs no parsing.
        shared = self._shared if version == self._version else _restored(state)
        if shared is None:
            shared = self._fresh()
        lease = shared.exchange(report, self._clock.monotonic())
        state = _states().dump_json(shared).decode()
        wall = self._clock.now().wall
        connection.execute(_KEEP, (self._name, self._boot_id, version + 1, state, wall))
        self._shared, self._version = shared, version + 1
        return lease

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # damaged: nothing is in it that can't be learned again
            for file in _files(self._path):
                file.unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        for file in _files(self._path):
            _check_own(file)
        make_empty(self._path, like=self._ledger)
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            write_ahead(connection)
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(_TABLE)
            long_ago = self._clock.now().wall - _KEPT_SECONDS
            connection.execute("DELETE FROM pace WHERE changed_at < ?", (long_ago,))
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the file; the next exchange opens it again."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._shared, self._version = None, None, 0


def pace_name(api_key_fingerprint: str, *, fixed: bool) -> str:
    """Return the name under which the processes of a key share their pace."""
    return f"{api_key_fingerprint} {'fixed' if fixed else 'adaptive'} {_LAYOUT}"


def waiting_now(ledger: LedgerPlace, clock: Clock) -> dict[str, Wait]:
    """Return what the living processes of each API key wait for, by its fingerprint."""
    path = pace_path(ledger)
    if not path.exists():
        return {}
    for file in _files(path):
        _check_own(file)
    found: dict[str, Wait] = {}
    with suppress(sqlite3.Error):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT name, state FROM pace WHERE boot_id = ?", (clock.now().boot_id,)
            ).fetchall()
        finally:
            connection.close()
        for name, state in rows:
            shared, now = _restored(state), clock.monotonic()
            if shared is not None and shared.is_at_work(now):
                wait = shared.controller.waiting_for(now)
                if wait is not None:
                    found[name.split()[0]] = wait
    return found


def _files(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]


def _check_own(file: Path) -> None:
    """Refuse a link: SQLite would change the file that it leads to."""
    with suppress(FileNotFoundError):
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise LedgerError(
                f"{file} is a link (symbolic or hard) or no regular file, and nothing is read or "
                "written through one.",
                fix="Look who made it, and delete it.",
            )


def _restored(state: str) -> Shared | None:
    """Return a state that was written; None for none, or one of another version."""
    try:
        return _states().validate_json(state)
    except ValidationError:
        return None


@cache
def _states() -> TypeAdapter[Shared]:
    return TypeAdapter(Shared)
