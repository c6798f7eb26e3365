"""Database of the ledger: making it, opening it, and refusing one that isn't ours."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError, LedgerForeignError
from incarts_pipeline.identity import RECIPE
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.relocation_marks import check_moved
from incarts_pipeline.ledger.store import Store, database_of
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.settings import FACT, LedgerPlace, TrustedHost, is_loopback
from incarts_pipeline.text import Option, OptionText

if TYPE_CHECKING:
    from incarts_pipeline.ledger.bulk_read import Reading


def open_engine(
    place: LedgerPlace, *, read_only: bool = False, pool: type[sa.Pool] = sa.pool.QueuePool
) -> sa.Engine:
    """Return an engine on the ledger; a transaction of it waits its turn, and lasts once committed.

    Dispose of it when its work is done, which closes the ledger; one with a `NullPool` has it open
    only within a transaction.

    Raises:
        LedgerError: the ledger can't be opened; one that isn't there is not made.
    """
    return store_at(place).open(read_only=read_only, pool=pool)


@contextmanager
def transaction(
    engine: sa.Engine, place: LedgerPlace, *, marked: bool = True
) -> Iterator[sa.Connection]:
    """Run a block in one transaction; the witness is told of it, unless `marked` is false.

    Raises:
        LedgerError: it can't be read or written; nothing of the block is on disk. Or all of it is,
            and the witness can't be told: the error says so.
    """
    store = store_at(place)
    try:
        with engine.connect() as connection:
            with connection.begin():
                yield connection
            if marked:
                _tell(store, connection)
    except store.errors as error:
        raise store.explain(error) from error


def _tell(store: Store, connection: sa.Connection) -> None:
    try:
        store.told(connection)
    except LedgerError as error:
        error.message = f"{error.message} What was to be recorded is recorded all the same."
        raise


@contextmanager
def once(place: LedgerPlace, *, read_only: bool = False) -> Iterator[sa.Connection]:
    """Open the ledger for one transaction; raises as `transaction` does."""
    with transaction(_closing_engine(place, read_only=read_only), place) as connection:
        yield connection


def reading(place: LedgerPlace, *, large: bool | None = None) -> AbstractContextManager[Reading]:
    """Open the ledger for bulk reads that change nothing; `large` None looks at its size.

    Raises:
        LedgerError: it can't be read.
    """
    return store_at(place).reading(large=large)


def clock_of(place: LedgerPlace, own: Clock) -> Clock:
    """Return the clock that decides how old something in the ledger is.

    Raises:
        LedgerError: its database isn't reached.
    """
    return store_at(place).clock(own)


def lock_sets(connection: sa.Connection, set_ids: Collection[int]) -> None:
    """Wait until no other transaction claims or moves rows of link sets, and keep it so.

    What is read after it, as whether another run lives, is what all others have left.
    """
    database_of(connection).locked(connection, set_ids)


def is_there(place: LedgerPlace) -> bool:
    """Say whether there is a ledger; raises LedgerError when its database isn't reached."""
    return store_at(place).is_there()


def health_of(place: LedgerPlace) -> list[str]:
    """Return what is to be known of how safe what is written to the ledger is.

    Raises:
        LedgerError: it is not safe.
    """
    return store_at(place).health()


@lru_cache(maxsize=16)
def _closing_engine(place: LedgerPlace, *, read_only: bool) -> sa.Engine:
    """Return an engine that leaves nothing open: what is kept is the text of its statements.

    A run opens the ledger for a dozen single transactions, and to make an engine and translate
    their statements takes longer than to carry them out.
    """
    return open_engine(place, read_only=read_only, pool=sa.pool.NullPool)


class _SharedPool(sa.pool.QueuePool):
    """A pool that closes also what comes back to it after it was disposed of."""

    _disposed = False

    def dispose(self) -> None:
        self._disposed = True
        super().dispose()

    def recreate(self) -> sa.pool.QueuePool:
        self.dispose()  # two that dispose of their engine at once leave one of the pools behind
        return super().recreate()

    def _do_return_conn(self, record: sa.pool.ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        if self._disposed:
            super().dispose()


@lru_cache(maxsize=16)
def _engine(place: LedgerPlace) -> sa.Engine:
    """Return the engine of this process's runs on a ledger, one after the other or side by side.

    Each disposes of it, which closes its connections; what is kept is the text of its statements.
    """
    return open_engine(place, pool=_SharedPool)


def prepare_file(
    place: LedgerPlace,
    base_url: str,
    *,
    may_be_older: bool = False,
) -> sa.Engine:
    """Open the ledger for writing, making or migrating it as needed; return its engine.

    With `may_be_older` its witness is neither asked nor told: the caller's own transaction takes
    the loss into account.

    Raises:
        RefusedError: it is older than its witness says, or can't be kept where it is.
        LedgerMovedError: it was moved to another place, or is being moved.
        LedgerForeignError: it belongs to another base URL or was made by a newer version.
        LedgerLockedError: another program holds the write lock.
        LedgerDamagedError: the file is not an intact SQLite database.
        LedgerError: the ledger can't be made or written.
    """
    store = store_at(place)
    store.check()
    known = None if may_be_older else store.newest_known()
    if not store.is_there():
        store.check_newest(known, {})
        store.create()
    engine = _engine(place)
    try:
        with transaction(engine, place, marked=not may_be_older) as connection:
            store.locked(connection, ())
            facts = read_facts(connection)
            if not facts:
                _create(connection, base_url)
            else:
                check_facts(facts, base_url, place)
                store.check_newest(known, facts)
                migrate(connection, int(facts["schema_version"]))
    except BaseException:
        engine.dispose()
        raise
    return engine


def lift(place: LedgerPlace) -> None:
    """Bring a ledger of an older version to this one's, so that it can be read.

    Raises:
        LedgerError: the ledger can't be written.
    """
    with once(place) as connection:
        database_of(connection).locked(connection, ())
        migrate(connection, int(read_facts(connection)["schema_version"]))


def read_facts(connection: sa.Connection) -> dict[str, str]:
    """Return the ledger's name → value facts, empty when it is new."""
    if not database_of(connection).has_tables(connection):
        return {}
    # Whom it trusts is nobody's business who only looks.
    found = sa.select(tables.meta).where(~tables.meta.c.name.startswith(FACT))
    return {row.name: row.value for row in connection.execute(found)}


def keep_word(connection: sa.Connection, trusted: TrustedHost) -> None:
    """Let the ledger speak for the host of a run's key, where nothing else remembers it."""
    fact = {"name": FACT + trusted.fingerprint, "value": trusted.proof}
    insert = postgresql.insert(tables.meta).values(fact)
    connection.execute(
        insert.on_conflict_do_update(index_elements=["name"], set_={"value": trusted.proof})
    )


def check_facts(facts: Mapping[str, str], base_url: str | None, place: LedgerPlace) -> None:
    """Refuse a ledger that was moved, of a newer version, another recipe or base URL, when given.

    Raises:
        LedgerMovedError, LedgerForeignError: as said.
    """
    check_moved(facts, place)
    if int(facts["schema_version"]) > tables.SCHEMA_VERSION:
        raise LedgerForeignError(
            f"The ledger {place} was made by a newer version of incarts-pipeline "
            f"(schema {facts['schema_version']}, this one knows {tables.SCHEMA_VERSION}).",
            fix="Upgrade incarts-pipeline.",
        )
    if int(facts["recipe"]) != RECIPE:
        raise LedgerForeignError(
            f"The ledger {place} was written with recipe {facts['recipe']} of bodies and keys, "
            f"this version has {RECIPE}: every link would look changed.",
            fix="Use the version of incarts-pipeline that wrote it.",
        )
    if base_url is not None and facts["base_url"] != base_url:
        raise LedgerForeignError(
            f"The ledger {place} belongs to {facts['base_url']}, not to {base_url}.",
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
    database_of(connection).create_tables(connection)
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


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring a ledger of some version to this one's, in the caller's transaction."""
    migrations = database_of(connection).migrations
    while version in migrations:
        for statement in migrations[version]:
            connection.exec_driver_sql(statement)
        version += 1
        connection.execute(
            sa.update(tables.meta)
            .where(tables.meta.c.name == "schema_version")
            .values(value=str(version))
        )
