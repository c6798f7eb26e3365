"""Database file of the ledger: making it, opening it, and refusing one that isn't ours."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as sqlite_dialect

from incarts_pipeline import sqlite
from incarts_pipeline.errors import LedgerError, LedgerForeignError
from incarts_pipeline.identity import RECIPE
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.ledger_file import check_file, create_empty, is_there
from incarts_pipeline.ledger.migrations import MIGRATIONS
from incarts_pipeline.ledger.publications import forget_before_inserts
from incarts_pipeline.ledger.witness import check_mark, count_commits, last_mark, write_mark
from incarts_pipeline.settings import FACT, TrustedHost, is_loopback
from incarts_pipeline.sqlite import explain, write_ahead
from incarts_pipeline.text import Option, OptionText


def open_engine(
    path: Path, *, read_only: bool = False, pool: type[sa.Pool] = sa.pool.QueuePool
) -> sa.Engine:
    """Return an engine on the file: WAL, `synchronous=FULL`, one immediate transaction at a time.

    Dispose of it when its work is done, which closes the file; one with a `NullPool` has it open
    only within a transaction.

    Raises:
        LedgerError: the file can't be opened; one that isn't there is not made.
    """
    mode = "ro" if read_only else "rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=sqlite.BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if not read_only:
                write_ahead(connection)
                connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()  # nobody else has it yet
            raise
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=pool, hide_parameters=True)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A deferred transaction that turns into a write can fail at once when another process
        # writes; an immediate one waits its turn.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    forget_before_inserts(engine)
    count_commits(engine)
    return engine


@contextmanager
def transaction(engine: sa.Engine, path: Path, *, marked: bool = True) -> Iterator[sa.Connection]:
    """Run a block in one transaction; the witness is told of it, unless `marked` is false.

    Raises:
        LedgerError: it can't be read or written; nothing of the block is on disk.
    """
    try:
        with engine.connect() as connection:
            with connection.begin():
                yield connection
            mark = connection.info["mark"]
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        raise explain(error, path) from error
    if marked:
        write_mark(path, mark)


@contextmanager
def once(path: Path, *, read_only: bool = False) -> Iterator[sa.Connection]:
    """Open the ledger for one transaction; raises as `transaction` does."""
    with transaction(_closing_engine(path, read_only=read_only), path) as connection:
        yield connection


@lru_cache(maxsize=16)
def _closing_engine(path: Path, *, read_only: bool) -> sa.Engine:
    """Return an engine that leaves no file open: what is kept is the text of its statements.

    A run opens the ledger for a dozen single transactions, and to make an engine and translate
    their statements takes longer than to carry them out.
    """
    return open_engine(path, read_only=read_only, pool=sa.pool.NullPool)


def prepare_file(
    path: Path,
    base_url: str,
    *,
    migrations: Mapping[int, Sequence[str]] = MIGRATIONS,
    may_be_older: bool = False,
) -> sa.Engine:
    """Open the ledger for writing, making or migrating it as needed; return its engine.

    With `may_be_older` its witness is neither asked nor told: the caller's own transaction takes
    the loss into account.

    Raises:
        RefusedError: it is older than its witness says, or can't be kept where it is.
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
    check_file(path)
    mark = None if may_be_older else last_mark(path)
    if not is_there(path):
        check_mark(path, mark, {})
        create_empty(path)
    engine = open_engine(path)
    try:
        with transaction(engine, path, marked=not may_be_older) as connection:
            facts = read_facts(connection)
            if not facts:
                _create(connection, base_url)
            else:
                check_facts(facts, base_url, path)
                check_mark(path, mark, facts)
                migrate(connection, int(facts["schema_version"]), migrations)
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
        migrate(connection, int(read_facts(connection)["schema_version"]))


def read_facts(connection: sa.Connection) -> dict[str, str]:
    """Return the ledger's name → value facts, empty when the file is new."""
    if not sa.inspect(connection).has_table("meta"):
        return {}
    # Whom it trusts is nobody's business who only looks.
    found = sa.select(tables.meta).where(~tables.meta.c.name.startswith(FACT))
    return {row.name: row.value for row in connection.execute(found)}


def keep_word(connection: sa.Connection, trusted: TrustedHost) -> None:
    """Let the ledger speak for the host of a run's key, where nothing else remembers it."""
    fact = {"name": FACT + trusted.fingerprint, "value": trusted.proof}
    insert = sqlite_dialect.insert(tables.meta).values(fact)
    connection.execute(
        insert.on_conflict_do_update(index_elements=["name"], set_={"value": trusted.proof})
    )


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
    fix = OptionText(
        "Set INCARTS_LEDGER to that target's own ledger, or choose another ",
        Option(name="target"),
        ".",
    )
    hosts = [urlsplit(url) for url in (own, asked)]
    if all(is_loopback(host.hostname or "") for host in hosts):
        fix = OptionText(
            fix,
            " If these are sandboxes, the earlier one's links are gone with it: give the new one "
            "a ledger and an output of its own, "
            "`export INCARTS_LEDGER=sandbox-2.db`.",
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
        "commits": "0",
    }
    connection.execute(
        sa.insert(tables.meta), [{"name": name, "value": value} for name, value in facts.items()]
    )


def migrate(
    connection: sa.Connection, version: int, migrations: Mapping[int, Sequence[str]] = MIGRATIONS
) -> None:
    """Bring a ledger of some version to this one's, in the caller's transaction."""
    while version in migrations:
        for statement in migrations[version]:
            connection.exec_driver_sql(statement)
        version += 1
        connection.execute(
            sa.update(tables.meta)
            .where(tables.meta.c.name == "schema_version")
            .values(value=str(version))
        )
