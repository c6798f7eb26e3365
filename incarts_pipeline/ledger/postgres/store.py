"""Store of a ledger in PostgreSQL: many hosts, whose transactions run side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.ledger.bulk_read import Reading
from incarts_pipeline.ledger.postgres import bulk_write, relocation, schema
from incarts_pipeline.ledger.postgres.clock import DatabaseClock, Offset
from incarts_pipeline.ledger.postgres.engine import (
    connect,
    connection_of,
    measure,
    open_database,
)
from incarts_pipeline.ledger.postgres.errors import ERRORS, explain
from incarts_pipeline.ledger.postgres.health import damaged_pages, health_of, soundness
from incarts_pipeline.ledger.postgres.locks import LEDGER, PUBLISHED, lock
from incarts_pipeline.ledger.postgres.queries import ask
from incarts_pipeline.ledger.postgres.stalled import end_stalled
from incarts_pipeline.ledger.postgres.writer import PostgresWriter
from incarts_pipeline.ledger.statements import Statement
from incarts_pipeline.ledger.store import Changed, RunWriter
from incarts_pipeline.settings import DatabasePlace

_NEW_IDS = "SELECT nextval('operation_op_id_seq') FROM generate_series(1, %s)"
_RESERVE = sa.text("INSERT INTO link_id SELECT unnest(CAST(:ids AS text[])) ON CONFLICT DO NOTHING")


class PostgresStore:
    """One schema of a database; what must not be done side by side is locked."""

    errors: tuple[type[Exception], ...] = ERRORS
    conflicts: tuple[type[Exception], ...] = (sa.exc.IntegrityError, psycopg.IntegrityError)
    keeps_nul = False

    def __init__(self, place: DatabasePlace) -> None:
        self._place = place
        self.migrations: Mapping[int, Sequence[str]] = schema.migrations_of(place.schema)
        self._offset = Offset()

    def explain(self, error: Exception) -> LedgerError:
        return explain(error, self._place)

    def check(self) -> None:
        pass  # a database looks after its own files

    def is_there(self) -> bool:
        try:
            with closing(connect(self._place)) as connection:
                measure(connection, self._offset)
                found = connection.execute(
                    "SELECT to_regclass(%s) IS NOT NULL", [f"{self._place.schema}.meta"]
                ).fetchone()
        except psycopg.Error as error:
            raise self.explain(error) from error
        return found == (True,)

    def create(self) -> None:
        try:
            with closing(connect(self._place)) as connection:
                self._create_schema(connection)
        except psycopg.Error as error:
            raise self.explain(error) from error

    def _create_schema(self, connection: psycopg.Connection) -> None:
        """Make the schema unless it is there, which a role may use that can't make any."""
        name = self._place.schema
        there = "SELECT FROM pg_namespace WHERE nspname = %s"
        if connection.execute(there, [name]).fetchone() is None:
            try:
                connection.execute(f'CREATE SCHEMA "{name}"'.encode())
            except (psycopg.errors.DuplicateSchema, psycopg.errors.UniqueViolation):
                return  # another process made it just now

    def create_tables(self, connection: sa.Connection) -> None:
        schema.create_tables(connection, self._place.schema)

    def has_tables(self, connection: sa.Connection) -> bool:
        return bool(connection.scalar(sa.text("SELECT to_regclass('meta') IS NOT NULL")))

    def newest_known(self) -> None:
        return None  # `writer` knows it of its own run, and what was published of the others

    def check_newest(self, known: None, facts: Mapping[str, str]) -> None:
        pass

    def sent_digests(self) -> Iterator[bytes]:
        return iter(())

    def sent_is_lost(self) -> RefusedError:
        return RefusedError(
            f"Nothing outside of the ledger {self._place} knows what was sent from it.",
            fix="Take over what was published with `incarts import links.parquet`.",
            guard="lost_sent",
        )

    def last_count(self) -> int:
        return 0

    def open(
        self, *, read_only: bool = False, pool: type[sa.Pool] = sa.pool.QueuePool
    ) -> sa.Engine:
        return open_database(
            self._place,
            self,
            self._offset,
            on_locked=partial(end_stalled, schema=self._place.schema),
            read_only=read_only,
            pool=pool,
        )

    def told(self, connection: sa.Connection) -> None:
        pass

    def reading(self, *, large: bool | None = None) -> AbstractContextManager[Reading]:
        from incarts_pipeline.ledger.postgres.bulk_read import open_reading  # loads pyarrow

        return open_reading(self._place)

    def writer(self, engine: sa.Engine, run_id: str) -> RunWriter:
        return PostgresWriter(engine, self._place, run_id)

    def locked(self, connection: sa.Connection, set_ids: Collection[int]) -> None:
        lock(connection, self._place.schema, set_ids or [LEDGER])

    def alone(self, connection: sa.Connection) -> None:
        lock(connection, self._place.schema, [PUBLISHED])

    def clock(self, own: Clock) -> Clock:
        if self._offset.measure is None:
            try:
                with closing(connect(self._place)) as connection:
                    measure(connection, self._offset)
            except psycopg.Error as error:
                raise self.explain(error) from error
        return DatabaseClock(own, self._offset)

    def new_ids(self, connection: sa.Connection, count: int) -> Iterator[int]:
        found: list[int] = []
        raw = connection_of(connection)
        raw.later(_NEW_IDS, [count], lambda cursor: found.extend(row[0] for row in cursor))

        def heard() -> Iterator[int]:
            if not found:
                raw.hear()
            yield from sorted(found)

        return heard()

    def reserve_links(self, connection: sa.Connection, link_ids: Collection[str]) -> bool:
        wanted = sorted(set(link_ids))  # in one order, so that no two wait for each other
        # Those that were not inserted are known, or were while their transaction was waited for.
        return connection.execute(_RESERVE, {"ids": wanted}).rowcount < len(wanted)

    def keep_keys(self, connection: sa.Connection, keys: Sequence[str]) -> None:
        pass

    def run_many(
        self, connection: sa.Connection, statement: Statement, rows: Sequence[Mapping[str, Any]]
    ) -> int:
        return bulk_write.run_many(connection, statement, rows)

    def run_later(
        self, connection: sa.Connection, parts: Sequence[tuple[Statement, Sequence[Any]]]
    ) -> Changed:
        return bulk_write.run_later(connection, parts)

    def settle(self, connection: sa.Connection) -> None:
        connection_of(connection).hear()

    def ask(
        self, connection: sa.Connection, queries: Sequence[tuple[sa.Select[Any], Mapping[str, Any]]]
    ) -> list[Sequence[Any]]:
        return ask(connection, queries)

    def health(self) -> list[str]:
        try:
            with closing(connect(self._place)) as connection:
                return health_of(connection, self._place)
        except psycopg.Error as error:
            raise self.explain(error) from error

    def damage(self, connection: sa.Connection, *, quick: bool = False) -> Iterator[str]:
        return damaged_pages(connection)  # it checks them itself, as it reads them

    def soundness(self, connection: sa.Connection) -> str:
        return soundness(connection)

    def seal(self, connection: sa.Connection, told: str) -> None:
        relocation.seal(connection, told)

    def unseal(self, connection: sa.Connection) -> None:
        relocation.unseal(connection)

    def rows(self, connection: sa.Connection, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
        return relocation.rows_of(connection, table)

    def load(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        relocation.load(connection, table, rows)

    def drop_tables(self, connection: sa.Connection) -> None:
        relocation.drop_tables(connection)

    def loaded(self, connection: sa.Connection) -> None:
        relocation.go_on(connection)
