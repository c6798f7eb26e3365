"""SQLite's part of a move: a ledger's file sealed, read whole, and filled."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from operator import methodcaller
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from incarts_pipeline.file_writer import new_file
from incarts_pipeline.identity import key_digest
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.sqlite.ledger_file import beside

SEALED = "this ledger is sealed"  # begins what a sealed file says
_BATCH_ROWS = 5_000
_DIALECT = sqlite.dialect(paramstyle="qmark")
# A text that is no valid UTF-8 is read as one that can't be encoded, and is found by that.
_decoded = methodcaller("decode", "utf-8", "surrogateescape")


def seal(connection: sa.Connection, told: str) -> None:
    """Have a file refuse every change but those of its facts, and say why."""
    said = f"{SEALED}: {told}".replace("'", "''")
    for name, table, event in _triggers():
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
        )


def unseal(connection: sa.Connection) -> None:
    """Let a file take changes again."""
    for name, _, _ in _triggers():
        connection.exec_driver_sql(f"DROP TRIGGER {name}")


def _triggers() -> Iterator[tuple[str, str, str]]:
    for table in tables.metadata.sorted_tables:
        if table is not tables.meta:
            for event in ("INSERT", "UPDATE", "DELETE"):
                yield f"sealed_{table.name}_{event.lower()}", f'"{table.name}"', event


def rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Yield a table's rows by its primary key, some thousands at once."""
    raw = _raw(connection)
    query = sa.select(table).order_by(*table.primary_key).compile(dialect=_DIALECT)
    before, raw.text_factory = raw.text_factory, _decoded
    try:
        with closing(raw.execute(str(query))) as cursor:
            while rows := cursor.fetchmany(_BATCH_ROWS):
                yield rows
    finally:
        raw.text_factory = before


def load(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that have all columns of a table."""
    text = str(sa.insert(table).compile(dialect=_DIALECT))
    connection.exec_driver_sql(text, list(rows))


def drop_tables(connection: sa.Connection) -> None:
    """Drop all tables of a file, and what belongs to them."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for name in connection.exec_driver_sql(query).scalars().all():
        connection.exec_driver_sql(f'DROP TABLE "{name}"')


_O = tables.operation.c
_K = tables.link.c
# As often as it was sent; and once where a link came to it without being sent.
_SENT = sa.select(
    _O.idempotency_key,
    sa.case(
        (_O.attempts > 0, _O.attempts),
        (sa.exists().where(_K.op_id == _O.op_id), 1),
        else_=0,
    ),
).execution_options(yield_per=_BATCH_ROWS)


def write_sent(connection: sa.Connection, ledger: Path) -> None:
    """Write what is known outside of a file of what was sent, from all that is in it.

    Raises:
        OSError: it can't be written.
    """
    with new_file(beside(ledger, ".sent"), private=True) as file:
        for key, times in connection.execute(_SENT):
            file.write(key_digest(key) * times)
        for digest in connection.scalars(sa.select(tables.lost_key.c.digest)):
            file.write(digest)


def _raw(connection: sa.Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - it is ours
    return raw
