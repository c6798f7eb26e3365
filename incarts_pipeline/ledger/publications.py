"""Notes of published files: which of them still say what the ledger says.

A file is noted before the ledger is read for it, and confirmed with its checksum once it is in
place. Whatever changes something that is published deletes all notes in the same transaction, and
nobody has to think of it: the database does it (for SQLite, `sqlite.engine`). So a confirmed note
is true of the ledger as it is, in copies and restored backups too: they have the notes of their own
state.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from incarts_pipeline.ledger import tables

_P = tables.published.c
FORGET = f"DELETE FROM {tables.published.name}"  # noqa: S608 - our own names


class Note(NamedTuple):
    """What a file was made from beside the ledger, and its SHA-256."""

    made_from: str
    sha256: bytes


def note(connection: sa.Connection, places: Sequence[str]) -> str:
    """Note that files are about to be made from the ledger as it is; return the notes' mark."""
    mark = uuid.uuid4().hex
    fresh = [{"place": place, "mark": mark, "made_from": None, "sha256": None} for place in places]
    connection.execute(tables.replacing(tables.published), fresh)
    return mark


def confirm(connection: sa.Connection, mark: str, notes: dict[str, Note]) -> None:
    """Confirm that noted files, by place, are there; nothing when the ledger has changed since."""
    for place, (made_from, sha256) in notes.items():
        connection.execute(
            sa.update(tables.published)
            .where(_P.mark == mark, _P.place == place)
            .values(made_from=made_from, sha256=sha256)
        )


def noted(connection: sa.Connection, place: str) -> Note | None:
    """Return the confirmed note of a place, None when there is none."""
    row = connection.execute(
        sa.select(_P.made_from, _P.sha256).where(_P.place == place, _P.sha256.is_not(None))
    ).first()
    return None if row is None else Note(row.made_from, row.sha256)
