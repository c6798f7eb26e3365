"""Engine on a ledger's database: connections, and how a transaction of them begins.

Nothing is set for a whole session, so a pooler may give each transaction another one: all that a
transaction needs it says in its first words, which are one round trip.
"""

from __future__ import annotations

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper

from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger.postgres.clock import Offset
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
_BEGIN = """BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path TO "{schema}";
SET LOCAL idle_in_transaction_session_timeout TO '60s';
SET LOCAL lock_timeout TO '30s';
SELECT set_config('synchronous_commit', 'on', true)
 WHERE current_setting('synchronous_commit') = 'off';
SELECT extract(epoch FROM clock_timestamp())::float8"""
_BEGIN_READING = """BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL search_path TO "{schema}";
SELECT extract(epoch FROM clock_timestamp())::float8"""


class _WithoutNul(StrDumper):
    """Texts as PostgreSQL takes them: it has no NUL, which a server's message may hold."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


def connect(place: DatabasePlace) -> psycopg.Connection:
    """Connect to a ledger's database.

    Raises:
        psycopg.Error: there is no such database, or it isn't reached.
    """
    said = conninfo_to_dict(place.uri)
    given = {name: value for name, value in _CONNECTING.items() if name not in said}
    # A pooler knows no prepared statements of a session.
    connection = psycopg.connect(place.uri, autocommit=True, prepare_threshold=None, **given)  # type: ignore[arg-type]
    connection.adapters.register_dumper(str, _WithoutNul)
    return connection


def open_database(
    place: DatabasePlace, store: Store, offset: Offset, *, read_only: bool, pool: type[sa.Pool]
) -> sa.Engine:
    """Return an engine on a ledger's database, of the store; what it hears of the time is kept."""
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(place),
        poolclass=pool,
        hide_parameters=True,
        execution_options={STORE: store},
    )
    begin = _BEGIN_READING if read_only else _BEGIN

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, psycopg.Connection)  # noqa: S101 - it is ours
        say(raw, begin.format(schema=place.schema), offset)

    return engine


def begin_reading(raw: psycopg.Connection, place: DatabasePlace) -> None:
    """Begin a transaction that sees the ledger as it is now, and changes nothing."""
    raw.execute(_BEGIN_READING.format(schema=place.schema).encode())


def measure(raw: psycopg.Connection, offset: Offset) -> None:
    """Look at the database's clock."""
    say(raw, "SELECT extract(epoch FROM clock_timestamp())::float8", offset)


def say(raw: psycopg.Connection, words: str, offset: Offset) -> None:
    """Say words whose last result is the database's time, and take it in."""
    own = Clock()
    asked_at = own.now().boot
    cursor = raw.execute(words.encode())
    answered_at = own.now().boot
    while cursor.nextset():
        pass
    found = cursor.fetchone()
    if found is not None:
        offset.heard(asked_at, answered_at, found[0])
