"""Ledger that was moved away, or replaced, while a run has it open: what only that file knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError
from incarts_pipeline.file_writer import make_empty
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.sqlite.ledger_file import FileId, beside, file_id, place_of

_O = tables.operation.c
_K = tables.link.c


def moved_error(ledger: Path) -> LedgerError:
    """Return the error of a run whose ledger is not where it was."""
    return LedgerError(
        f"The ledger {ledger} was moved away or replaced while this run had it open.",
        fix="Nothing more is sent. The end of the run says where all is that it knew.",
    )


def rescue(connection: sa.Connection, ledger: Path, opened: FileId, run_id: str) -> LedgerError:
    """Copy what an open connection still sees to a file beside the ledger's place.

    Returns:
        The error that the run ends with: it says where the copy is, or else where the file is by
        now, and which links only that knows.
    """
    copy = beside(ledger, f".rescued-{run_id}")
    told = moved_error(ledger)
    try:
        copy_database(connection, copy)
    except (sqlite3.Error, OSError) as error:
        place = place_of(opened) or "nowhere that could be found"
        links = "".join(f"\n  {key} \u2192 {link}" for key, link in _links_of(connection, run_id))
        return LedgerError(
            f"{told.message} It is at {place}, and could not be copied to {copy} ({error}). Only "
            f"that file knows the links of this run:{links or ' none'}\n",
            fix="Keep this message. Move the file back together with its -wal, and run again.",
        )
    _take_log_away(ledger, copy)
    return LedgerError(
        f"{told.message} All that it knew, up to the last answer, is in {copy}.",
        fix=f"Put it back with `incarts ledger restore {copy}`, and run again.",
    )


def _take_log_away(ledger: Path, copy: Path) -> None:
    """Move our log from beside the place: SQLite would apply it to whatever file is there now."""
    for suffix in ("-wal", "-shm"):
        log = beside(ledger, suffix)
        ours = file_id(log)
        if ours is not None and place_of(ours) is not None:
            log.replace(copy.with_name(f"{copy.name}.log{suffix}"))


def copy_database(connection: sa.Connection, copy: Path) -> None:
    """Copy the database of a connection, as it sees it, to a new file that needs no log.

    Its owner alone may read it.

    Raises:
        sqlite3.Error: it can't be read or written.
    """
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise TypeError("the ledger is an SQLite file")
    make_empty(copy)
    with closing(sqlite3.connect(copy)) as target:
        raw.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")


def is_moved(ledger: Path, opened: FileId | None) -> bool:
    """Say whether a path leads to another file than the one that was opened."""
    return opened is not None and file_id(ledger) != opened


def _links_of(connection: sa.Connection, run_id: str) -> list[tuple[str, str]]:
    found = connection.execute(
        sa.select(_O.idempotency_key, _K.link_id)
        .join(tables.link, _K.op_id == _O.op_id)
        .where(_K.run_id == run_id)
    )
    return [(key, link) for key, link in found]
