"""SQLite as files of ours need it: its write-ahead log, and its errors in plain words."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from incarts_pipeline.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerLockedError,
)

BUSY_SECONDS = 5.0  # how long a lock is waited for
_RETRY_SECONDS = 0.02


def write_ahead(connection: sqlite3.Connection) -> None:
    """Have SQLite use its write-ahead log.

    A new file is switched to it once. When several processes make one file, SQLite lets one of them
    do so, and tells the others at once, without its usual wait, that the file is locked.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # The lower byte is the error, the upper ones are which kind of it.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def explain(error: Exception, path: Path) -> LedgerError:
    """Return the LedgerError that says what an SQLite error means for the user.

    Args:
        error: of sqlite3, SQLAlchemy or ADBC.
        path: the file, for the message.
    """
    # SQLAlchemy wraps the error and adds the statement, with its values: not for a terminal.
    text = str(getattr(error, "orig", None) or error)
    # By words: ADBC's errors have SQLite's messages, but not its codes.
    low = text.lower()
    if "locked" in low or "busy" in low:
        return LedgerLockedError(
            f"Another program holds the ledger {path} locked ({text}).",
            fix="Close what has it open (an SQLite browser, a backup, a process that was "
            "suspended while it wrote), or wait while another run brings a large ledger to this "
            "version, and run again.",
        )
    if "malformed" in low or "not a database" in low or "corrupt" in low:
        return LedgerDamagedError(
            f"The ledger {path} is damaged ({text}).",
            fix="Restore it from a backup, or move it away and rebuild it with `incarts import` "
            "from the published links.parquet.",
        )
    if "full" in low:
        fix = "Free some space on its disk, and run again: nothing is sent without a record."
    elif "readonly" in low or "read-only" in low or "unable to open" in low:
        fix = "Make the file and its folder writable, or set INCARTS_LEDGER to another file."
    else:
        fix = "Check the file and its disk, and run again: nothing is sent without a record."
    return LedgerError(f"The ledger {path} can't be used ({text}).", fix=fix)
