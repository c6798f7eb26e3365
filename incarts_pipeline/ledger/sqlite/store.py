"""Store of a ledger in one SQLite file, whose witness stands beside it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.relocation_marks import sealed_error
from incarts_pipeline.ledger.sqlite import relocation
from incarts_pipeline.ledger.sqlite.engine import FORGET_PUBLISHED, open_file
from incarts_pipeline.ledger.sqlite.ledger_file import check_file, create_empty, is_there
from incarts_pipeline.ledger.sqlite.migrations import MIGRATIONS
from incarts_pipeline.ledger.sqlite.witness import (
    Mark,
    check_mark,
    keep_keys,
    last_mark,
    sent_digests,
    sent_is_lost,
    write_mark,
)
from incarts_pipeline.ledger.sqlite.writer import SqliteWriter
from incarts_pipeline.ledger.statements import Statement
from incarts_pipeline.ledger.store import Changed, RunWriter
from incarts_pipeline.sqlite import explain

if TYPE_CHECKING:
    from incarts_pipeline.ledger.bulk_read import Reading

_DIALECT = sqlite.dialect(paramstyle="qmark")
# One parameter for all ids, so that the statement is the same for each group.
_ANSWERED = sa.func.json_each(sa.bindparam("answered")).table_valued("value")
_ANY_HOLDER: sa.Select[Any] = (
    sa.select(sa.literal_column("1"))
    .select_from(_ANSWERED.join(tables.link, tables.link.c.link_id == _ANSWERED.c.value))
    .limit(1)
)
_FEW = 3  # complaints of a quick look
_MOST = 10  # complaints of each kind; one damaged page may have spoilt thousands


class SqliteStore:
    """One file; whoever writes it is alone, so that nothing has to be locked within it."""

    errors: tuple[type[Exception], ...] = (sa.exc.DatabaseError, sqlite3.DatabaseError)
    conflicts: tuple[type[Exception], ...] = (sa.exc.IntegrityError,)
    migrations: Mapping[int, Sequence[str]] = MIGRATIONS
    keeps_nul = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def explain(self, error: Exception) -> LedgerError:
        _, sealed, told = str(error).partition(relocation.SEALED)
        return sealed_error(self._path, told) if sealed else explain(error, self._path)

    def check(self) -> None:
        check_file(self._path)

    def is_there(self) -> bool:
        return is_there(self._path)

    def create(self) -> None:
        if not self._path.parent.is_dir():
            raise LedgerError(
                f"The ledger's folder {self._path.parent} doesn't exist.",
                fix="Create it, or set INCARTS_LEDGER to another file.",
            )
        create_empty(self._path)

    def create_tables(self, connection: sa.Connection) -> None:
        tables.metadata.create_all(connection)
        for trigger in FORGET_PUBLISHED:
            connection.exec_driver_sql(trigger)

    def has_tables(self, connection: sa.Connection) -> bool:
        return sa.inspect(connection).has_table("meta")

    def newest_known(self) -> Mark | None:
        return last_mark(self._path)

    def check_newest(self, known: Mark | None, facts: Mapping[str, str]) -> None:
        check_mark(self._path, known, facts)

    def sent_digests(self) -> Iterator[bytes]:
        return sent_digests(self._path)

    def sent_is_lost(self) -> RefusedError:
        return sent_is_lost(self._path)

    def last_count(self) -> int:
        mark = last_mark(self._path)
        return mark.commits if mark is not None else 0

    def open(
        self, *, read_only: bool = False, pool: type[sa.Pool] = sa.pool.QueuePool
    ) -> sa.Engine:
        return open_file(self._path, self, read_only=read_only, pool=pool)

    def told(self, connection: sa.Connection) -> None:
        write_mark(self._path, connection.info["mark"])

    def reading(self, *, large: bool | None = None) -> AbstractContextManager[Reading]:
        # Here, because most commands read nothing in bulk, and Arrow takes long to load.
        from incarts_pipeline.ledger.sqlite.bulk_read import open_reading

        return open_reading(self._path, large=large)

    def writer(self, engine: sa.Engine, run_id: str) -> RunWriter:
        return SqliteWriter(engine, self._path, run_id)

    def locked(self, connection: sa.Connection, set_ids: Collection[int]) -> None:
        pass  # an immediate transaction is the only one that writes

    def new_ids(self, connection: sa.Connection, count: int) -> Iterator[int]:
        first = 1 + (connection.scalar(sa.select(sa.func.max(tables.operation.c.op_id))) or 0)
        return iter(range(first, first + count))

    def alone(self, connection: sa.Connection) -> None:
        pass  # it is

    def clock(self, own: Clock) -> Clock:
        return own

    def reserve_links(self, connection: sa.Connection, link_ids: Collection[str]) -> bool:
        answered = {"answered": json.dumps(list(link_ids))}
        return connection.scalar(_ANY_HOLDER, answered) is not None

    def keep_keys(self, connection: sa.Connection, keys: Sequence[str]) -> None:
        keep_keys(connection, keys)

    def run_many(
        self, connection: sa.Connection, statement: Statement, rows: Sequence[Mapping[str, Any]]
    ) -> int:
        """Execute a statement for many rows; return how many it changed in all.

        Raises:
            KeyError: a row lacks a parameter.
            ValueError: a row for an insert has other columns, which would be dropped.
        """
        if statement.names is not None and rows and rows[0].keys() != set(statement.names):
            odd = sorted(set(statement.names) ^ rows[0].keys())
            raise ValueError(f"columns {odd} don't match")
        text, values = _compiled(statement)
        return connection.exec_driver_sql(text, [values(row) for row in rows]).rowcount

    def run_later(
        self, connection: sa.Connection, parts: Sequence[tuple[Statement, Sequence[Any]]]
    ) -> Changed:
        return Changed([self.run_many(connection, *part) if part[1] else 0 for part in parts])

    def settle(self, connection: sa.Connection) -> None:
        pass  # it is

    def ask(
        self, connection: sa.Connection, queries: Sequence[tuple[sa.Select[Any], Mapping[str, Any]]]
    ) -> list[Sequence[Any]]:
        return [connection.execute(query, values).all() for query, values in queries]

    def health(self) -> list[str]:
        return []  # each connection asks for what makes it safe

    def damage(self, connection: sa.Connection, *, quick: bool = False) -> Iterator[str]:
        pragma = f"quick_check({_FEW})" if quick else f"integrity_check({_MOST})"
        check = connection.exec_driver_sql(f"PRAGMA {pragma}").scalars().all()
        if check != ["ok"]:
            yield from check
        if quick:
            return
        for table, *_ in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_MOST):
            yield f"a row of the table {table} refers to one that isn't there"

    def soundness(self, connection: sa.Connection) -> str:
        return "the file is intact"

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
        try:
            relocation.write_sent(connection, self._path)
        except OSError as error:
            raise explain(error, self._path) from error


@cache
def _compiled(statement: Statement) -> tuple[str, itemgetter[Any]]:
    """Return a statement's text, and what takes its values of a row.

    By position: sqlite3 takes twice as long to bind values by name.
    """
    names = statement.names
    compiled = statement.clause.compile(dialect=_DIALECT, column_keys=names)
    order = compiled.positiontup or ()
    if len(order) < 2:
        raise ValueError("itemgetter needs two parameters to return a row")
    return str(compiled), itemgetter(*order)
