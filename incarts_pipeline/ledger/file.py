"""The ledger's SQLite file: making it, opening it, and refusing one that isn't ours."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from incarts_pipeline.canonical import RECIPE
from incarts_pipeline.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerForeignError,
    LedgerLockedError,
)
from incarts_pipeline.ledger import tables
from incarts_pipeline.settings import is_loopback

# Statements that lift a ledger from the version that is the key to the next one.
MIGRATIONS: Mapping[int, Sequence[str]] = {
    1: [
        "ALTER TABLE link_set ADD COLUMN key_columns TEXT",
        "ALTER TABLE link RENAME TO old_link",
        "DROP INDEX ix_link_op_id",
        """CREATE TABLE link (
            op_id INTEGER NOT NULL REFERENCES operation (op_id), link_id TEXT NOT NULL,
            short_link TEXT, short_id TEXT, target_url TEXT, qr_code_id TEXT, qr_image_url TEXT,
            encoded_url TEXT, created_at INTEGER, received_at INTEGER NOT NULL,
            run_id TEXT NOT NULL, PRIMARY KEY (op_id, link_id)
        ) WITHOUT ROWID""",
        """INSERT INTO link SELECT op_id, link_id, short_link, short_id, target_url, qr_code_id,
            qr_image_url, encoded_url, created_at, received_at, run_id FROM old_link""",
        "DROP TABLE old_link",
        "CREATE INDEX ix_link_link_id ON link (link_id)",
        """CREATE TABLE rate (
            api_key_fingerprint TEXT NOT NULL, learned TEXT NOT NULL, learned_at INTEGER NOT NULL,
            PRIMARY KEY (api_key_fingerprint)
        ) WITHOUT ROWID""",
    ],
    2: [
        """CREATE TABLE member (
            set_id INTEGER NOT NULL REFERENCES link_set (set_id), row_key TEXT NOT NULL,
            "partition" TEXT NOT NULL, PRIMARY KEY (set_id, row_key)
        ) WITHOUT ROWID""",
    ],
    3: [
        """CREATE TABLE new_link_set (
            set_id INTEGER NOT NULL, project_id TEXT NOT NULL, name TEXT NOT NULL,
            key_columns TEXT, kind TEXT NOT NULL,
            PRIMARY KEY (set_id), UNIQUE (project_id, name, kind)
        )""",
        """INSERT INTO new_link_set
            SELECT set_id, project_id, name, key_columns, 'links' FROM link_set""",
        "DROP TABLE link_set",
        "ALTER TABLE new_link_set RENAME TO link_set",
        "ALTER TABLE operation ADD COLUMN for_link_id TEXT",
    ],
    4: [
        """CREATE TABLE published (
            place TEXT NOT NULL, mark TEXT NOT NULL, made_from TEXT, sha256 BLOB,
            PRIMARY KEY (place)
        ) WITHOUT ROWID""",
        *tables.FORGET_PUBLISHED,
    ],
    5: [
        "DROP INDEX one_open_operation_per_row",
        "CREATE UNIQUE INDEX one_open_operation_per_row ON operation (set_id, row_key) WHERE "
        "state = 'intended' OR state = 'sent' OR state = 'in_doubt' OR state = 'needs_review'",
        "DROP INDEX IF EXISTS operation_closed",
        "CREATE INDEX operation_closed ON operation (set_id, row_key) WHERE "
        "state = 'rejected' OR state = 'abandoned'",
    ],
}

_BUSY_SECONDS = 5.0
_RETRY_SECONDS = 0.02


def open_engine(path: Path, *, read_only: bool = False) -> sa.Engine:
    """Return an engine on the file: WAL, `synchronous=FULL`, one immediate transaction at a time.

    Raises:
        LedgerError: the file can't be opened or made.
    """
    mode = "ro" if read_only else "rwc"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        if not read_only:
            write_ahead(connection)
            connection.execute("PRAGMA synchronous=FULL")
        return connection

    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.pool.QueuePool, hide_parameters=True
    )

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A deferred transaction that turns into a write can fail at once when another process
        # writes; an immediate one waits its turn.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def write_ahead(connection: sqlite3.Connection) -> None:
    """Have SQLite use its write-ahead log.

    A new file is switched to it once. When several processes make one file, SQLite lets one of them
    do so, and tells the others at once, without its usual wait, that the file is locked.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


@contextmanager
def transaction(engine: sa.Engine, path: Path) -> Iterator[sa.Connection]:
    """Run a block in one transaction.

    Raises:
        LedgerError: it can't be read or written; nothing of the block is on disk.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        raise explain(error, path) from error


@contextmanager
def once(path: Path, *, read_only: bool = False) -> Iterator[sa.Connection]:
    """Open the ledger for one transaction; raises as `transaction` does."""
    engine = open_engine(path, read_only=read_only)
    try:
        with transaction(engine, path) as connection:
            yield connection
    finally:
        engine.dispose()


def prepare_file(
    path: Path, base_url: str, *, migrations: Mapping[int, Sequence[str]] = MIGRATIONS
) -> sa.Engine:
    """Open the ledger for writing, making or migrating it as needed; return its engine.

    Raises:
        LedgerForeignError: it belongs to another base URL or was made by a newer version.
        LedgerLockedError: another program holds the write lock.
        LedgerDamagedError: the file is not an intact SQLite database.
        LedgerError: the file can't be made or written.
    """
    if not path.parent.is_dir():
        raise LedgerError(
            f"The ledger's folder {path.parent} doesn't exist.",
            fix="Create it, or set INCARTS_LEDGER to another file.",
        )
    engine = open_engine(path)
    try:
        with transaction(engine, path) as connection:
            facts = read_facts(connection)
            if not facts:
                _create(connection, base_url)
            else:
                check_facts(facts, base_url, path)
                _migrate(connection, int(facts["schema_version"]), migrations)
    except BaseException:
        engine.dispose()
        raise
    return engine


def lift(path: Path) -> None:
    """Bring a ledger of an older version to this one's, so that it can be read.

    Raises:
        LedgerError: the file can't be written.
    """
    with once(path) as connection:
        _migrate(connection, int(read_facts(connection)["schema_version"]), MIGRATIONS)


def read_facts(connection: sa.Connection) -> dict[str, str]:
    """Return the ledger's name → value facts, empty when the file is new."""
    if not sa.inspect(connection).has_table("meta"):
        return {}
    return {row.name: row.value for row in connection.execute(sa.select(tables.meta))}


def check_facts(facts: Mapping[str, str], base_url: str | None, path: Path) -> None:
    """Refuse a ledger of a newer version, another recipe or (when given) another base URL.

    Raises:
        LedgerForeignError: as said.
    """
    if int(facts["schema_version"]) > tables.SCHEMA_VERSION:
        raise LedgerForeignError(
            f"The ledger {path} was made by a newer version of incarts-pipeline "
            f"(schema {facts['schema_version']}, this one knows {tables.SCHEMA_VERSION}).",
            fix="Upgrade incarts-pipeline.",
        )
    if int(facts["recipe"]) != RECIPE:
        raise LedgerForeignError(
            f"The ledger {path} was written with recipe {facts['recipe']} of bodies and keys, "
            f"this version has {RECIPE}: every link would look changed.",
            fix="Use the version of incarts-pipeline that wrote it.",
        )
    if base_url is not None and facts["base_url"] != base_url:
        raise LedgerForeignError(
            f"The ledger {path} belongs to {facts['base_url']}, not to {base_url}.",
            fix=_other_ledger(facts["base_url"], base_url),
        )


def _other_ledger(own: str, asked: str) -> str:
    """Say how to get the right ledger; a sandbox's is of no more use than its links."""
    fix = "Set INCARTS_LEDGER to that target's own ledger, or choose another --target."
    hosts = [urlsplit(url) for url in (own, asked)]
    if all(is_loopback(host.hostname or "") for host in hosts):
        fix += (
            " If these are sandboxes, the earlier one's links are gone with it: give the new one "
            "a ledger and an output of its own, "
            "`export INCARTS_LEDGER=sandbox-2.db`."
        )
    return fix


def _create(connection: sa.Connection, base_url: str) -> None:
    tables.metadata.create_all(connection)
    for trigger in tables.FORGET_PUBLISHED:
        connection.exec_driver_sql(trigger)
    facts = {
        "ledger_id": str(uuid.uuid4()),
        "base_url": base_url,
        "schema_version": str(tables.SCHEMA_VERSION),
        "recipe": str(RECIPE),
        "sequence": "0",
    }
    connection.execute(
        sa.insert(tables.meta), [{"name": name, "value": value} for name, value in facts.items()]
    )


def _migrate(
    connection: sa.Connection, version: int, migrations: Mapping[int, Sequence[str]]
) -> None:
    while version in migrations:
        for statement in migrations[version]:
            connection.exec_driver_sql(statement)
        version += 1
        connection.execute(
            sa.update(tables.meta)
            .where(tables.meta.c.name == "schema_version")
            .values(value=str(version))
        )


def explain(error: Exception, path: Path) -> LedgerError:
    """Return the LedgerError that says what an SQLite error means for the user."""
    text = str(getattr(error, "orig", None) or error)
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
