"""PostgreSQL's part of a move: a ledger's schema sealed, read whole, and filled by COPY."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.postgres.engine import connection_of

SEALED = "IN001"  # the code of what a sealed ledger says
_BATCH_ROWS = 5_000
_DIALECT: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]
_REFUSE = """CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $refuse$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = '{told}';
END $refuse$"""
_TRIGGER = """CREATE TRIGGER sealed BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON "{table}"
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_LINK_IDS = "INSERT INTO link_id SELECT DISTINCT link_id FROM link"
_GO_ON = """SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max("{column}"))
    FROM "{table}" HAVING max("{column}") > 0"""


def seal(connection: sa.Connection, told: str) -> None:
    """Have a ledger refuse every change but those of its facts, and say why.

    Waits for transactions that are changing it; those that come later wait for this one.
    """
    said = told.replace("'", "''").replace("%", "%%")
    connection.exec_driver_sql(_REFUSE.format(code=SEALED, told=said))
    for table in _sealed():
        connection.exec_driver_sql(_TRIGGER.format(table=table.name))


def unseal(connection: sa.Connection) -> None:
    """Let a ledger take changes again."""
    connection.exec_driver_sql("DROP FUNCTION refuse_change() CASCADE")


def _sealed() -> list[sa.Table]:
    return [table for table in tables.metadata.sorted_tables if table is not tables.meta]


def rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Yield a table's rows by its primary key, some thousands at once."""
    query = sa.select(table).order_by(*table.primary_key).compile(dialect=_DIALECT)
    is_yes = [n for n, column in enumerate(table.c) if isinstance(column.type, sa.Boolean)]
    with connection_of(connection).cursor("relocation", binary=True) as cursor:
        cursor.execute(str(query).encode())
        while rows := cursor.fetchmany(_BATCH_ROWS):
            yield [_as_numbers(row, is_yes) for row in rows] if is_yes else rows


def _as_numbers(row: tuple[Any, ...], which: Sequence[int]) -> tuple[Any, ...]:
    """Return a row with yes and no as SQLite has them."""
    return tuple(
        int(value) if n in which and value is not None else value for n, value in enumerate(row)
    )


def load(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Copy rows that have all columns of a table."""
    names = ", ".join(f'"{column.name}"' for column in table.c)
    kinds = [_kind_of(column.type) for column in table.c]
    is_yes = [n for n, kind in enumerate(kinds) if kind == "bool"]
    text = f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT BINARY)'
    raw = connection_of(connection)
    raw.hear()  # a COPY takes nothing along
    with raw.cursor() as cursor, cursor.copy(text.encode()) as copy:
        copy.set_types(kinds)
        for row in rows:
            copy.write_row(_as_booleans(row, is_yes) if is_yes else row)


def _as_booleans(row: tuple[Any, ...], which: Sequence[int]) -> tuple[Any, ...]:
    return tuple(
        bool(value) if n in which and value is not None else value for n, value in enumerate(row)
    )


def _kind_of(kind: sa.types.TypeEngine[Any]) -> str:
    """Return what PostgreSQL calls a column's type."""
    kinds: dict[type[sa.types.TypeEngine[Any]], str] = {
        sa.Boolean: "bool",
        sa.Text: "text",
        sa.LargeBinary: "bytea",
        sa.Float: "float8",
        sa.BigInteger: "int8",
        sa.Integer: "int4",
    }
    return next(name for ours, name in kinds.items() if isinstance(kind, ours))


def drop_tables(connection: sa.Connection) -> None:
    """Drop all tables of a ledger's schema, and what belongs to them."""
    names = ", ".join(f'"{name}"' for name in connection.exec_driver_sql(_TABLES).scalars())
    if names:
        connection.exec_driver_sql(f"DROP TABLE {names} CASCADE")
    connection.exec_driver_sql("DROP FUNCTION IF EXISTS forget_published(), refuse_change()")


def go_on(connection: sa.Connection) -> None:
    """Let new ids go on behind those that are there, and know each link's id."""
    connection.exec_driver_sql(_LINK_IDS)
    for table in tables.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None:
            connection.exec_driver_sql(_GO_ON.format(table=table.name, column=column.name))
