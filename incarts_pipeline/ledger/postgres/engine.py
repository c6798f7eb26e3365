"""Engine on a ledger's database: connections, and how a transaction of them begins.

Nothing is set for a whole session, so a pooler may give each transaction another one: all that a
transaction needs it says in its first words, which go along with its first statement.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper

from incarts_pipeline.ledger.postgres.clock import Offset
from incarts_pipeline.ledger.postgres.connection import Connection, Cursor
from incarts_pipeline.ledger.store import STORE, Store
from incarts_pipeline.settings import DatabasePlace

# A network that is gone is noticed within half a minute. What the URI says wins.
_CONNECTING: dict[str, str | int] = {
    "application_name": "incarts",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
# Whose client is gone without a word gives its locks back. And an answer that is not on disk is
# none, whatever the database's default.
_SET = {
    "search_path": "'\"{schema}\"'",
    "idle_in_transaction_session_timeout": "'60s'",
    "lock_timeout": "'30s'",
    "synchronous_commit": "coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')",
}
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_NOW = "extract(epoch FROM clock_timestamp())::float8"


class _WithoutNul(StrDumper):
    """Texts as PostgreSQL takes them: it has no NUL, which a server's message may hold."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


def connect(place: DatabasePlace) -> Connection:
    """Connect to a ledger's database.

    Raises:
        psycopg.Error: there is no such database, or it isn't reached.
    """
    said = conninfo_to_dict(place.uri)
    given = {name: value for name, value in _CONNECTING.items() if name not in said}
    # A pooler knows no prepared statements of a session.
    connection = Connection.connect(
        place.uri,
        autocommit=True,
        prepare_threshold=None,
        cursor_factory=Cursor,
        **given,  # type: ignore[arg-type]
    )
    connection.adapters.register_dumper(str, _WithoutNul)
    return connection


def open_database(
    place: DatabasePlace,
    store: Store,
    offset: Offset,
    *,
    on_locked: Callable[[Connection], None],
    read_only: bool,
    pool: type[sa.Pool],
) -> sa.Engine:
    """Return an engine on a ledger's database, of the store; what it hears of the time is kept.

    `on_locked` gets a connection, outside of a transaction, that waited for a lock in vain.
    """

    def connected() -> Connection:
        connection = connect(place)
        connection.on_locked = on_locked
        return connection

    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=connected,
        poolclass=pool,
        hide_parameters=True,
        execution_options={STORE: store},
    )
    begin = _BEGIN_READING if read_only else _BEGIN
    names = ["search_path"] if read_only else list(_SET)
    settings = [f"set_config('{name}', {_SET[name]}, true)" for name in names]
    words = f"SELECT {_NOW}, {', '.join(settings)}".format(schema=place.schema)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        raw = connection_of(connection)
        raw.later(begin)
        raw.later(words, heard=partial(_hear, offset))

    return engine


def connection_of(connection: sa.Connection) -> Connection:
    """Return the database's connection that is behind one of SQLAlchemy's."""
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, Connection)  # noqa: S101 - it is ours
    return raw


def begin_reading(raw: Connection, place: DatabasePlace) -> None:
    """Begin a transaction that sees the ledger as it is now, and changes nothing."""
    raw.execute(f'{_BEGIN_READING}; SET LOCAL search_path TO "{place.schema}"'.encode())


def measure(raw: Connection, offset: Offset) -> None:
    """Look at the database's clock."""
    raw.later(f"SELECT {_NOW}", heard=partial(_hear, offset))
    raw.hear()


def _hear(offset: Offset, cursor: psycopg.Cursor[Any]) -> None:
    """Take in the database's time; while it was asked for, others may have been waited for."""
    raw: Any = cursor.connection
    found = cursor.fetchone()
    if found is not None:
        offset.heard(raw.asked_at, raw.answered_at, found[0])
