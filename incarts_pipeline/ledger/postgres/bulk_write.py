"""Bulk writes to PostgreSQL: a statement for many rows at once, as columns of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql import visitors

from incarts_pipeline.ledger.statements import Statement

_DIALECT: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]

Rows = Sequence[Mapping[str, Any]]


def run_many(connection: sa.Connection, statement: Statement, rows: Rows) -> int:
    """Execute a statement for many rows; return how many it changed in all.

    Raises:
        KeyError: a row lacks a parameter.
        ValueError: a row for an insert has other columns, which would be dropped.
    """
    names = statement.names
    if names is not None and rows and rows[0].keys() != set(names):
        raise ValueError(f"columns {sorted(set(names) ^ rows[0].keys())} don't match")
    text, parameters = _compiled(statement)
    changed = 0
    for wave in waves(rows, statement.key):
        columns = {name: [_plain(row[name]) for row in wave] for name in parameters}
        changed += connection.exec_driver_sql(text, columns).rowcount
    return changed


def run_all(connection: sa.Connection, parts: Sequence[tuple[Statement, Rows]]) -> list[int]:
    """Execute statements on different tables in one round trip; return what each changed.

    Where a key is twice among the rows of one, each is executed by itself.
    """
    alone = [len(list(waves(rows, statement.key))) > 1 for statement, rows in parts]
    if any(alone):
        return [run_many(connection, *part) for part in parts]
    used = [number for number, (_, rows) in enumerate(parts) if rows]
    counts = [0] * len(parts)
    if not used:
        return counts
    text, names = _together(tuple(parts[number][0] for number in used))
    columns = {
        f"{own}_{name}": [_plain(row[name]) for row in parts[number][1]]
        for own, (number, parameters) in enumerate(zip(used, names, strict=True))
        for name in parameters
    }
    found = connection.exec_driver_sql(text, columns).one()
    for number, count in zip(used, found, strict=True):
        counts[number] = count
    return counts


@cache
def _together(statements: tuple[Statement, ...]) -> tuple[str, Sequence[Sequence[str]]]:
    """Return one statement that executes several, and counts; each has parameters of its own."""
    compiled = [_compiled(statement) for statement in statements]
    parts = [
        f"part_{own} AS ({text.replace('%(', f'%({own}_')} RETURNING 1)"
        for own, (text, _) in enumerate(compiled)
    ]
    counts = [f"(SELECT count(*) FROM part_{own})" for own in range(len(compiled))]  # noqa: S608
    text = f"WITH {', '.join(parts)} SELECT {', '.join(counts)}"
    return text, [names for _, names in compiled]


def waves(rows: Rows, key: Sequence[str]) -> Iterator[Rows]:
    """Part rows so that no key is twice in one part, and rows of one key stay in their order.

    One statement joins a row of a table with one of its new values, and which of several is not
    said.
    """
    parts: list[list[Mapping[str, Any]]] = []
    seen: dict[tuple[Any, ...], int] = {}
    for row in rows:
        own = tuple(row[name] for name in key)
        number = seen[own] = seen.get(own, -1) + 1
        if number == len(parts):
            parts.append([])
        parts[number].append(row)
    yield from parts


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


@cache
def _compiled(statement: Statement) -> tuple[str, Sequence[str]]:
    """Return a statement that takes an array for each of its parameters, and their names."""
    clause: Any = statement.clause
    if statement.names is not None:
        columns = clause.table.c
        given = {name: columns[name].type for name in statement.names}
        values = _values(given)
        chosen = sa.select(*(values.c[name] for name in given))
        clause = clause.from_select(list(given), chosen)
    else:
        given = {bind.key: bind.type for bind in _binds(clause)}
        values = _values(given)

        def of_values(element: Any, **_: Any) -> Any:
            is_bind = isinstance(element, sa.BindParameter) and element.key in given
            return values.c[element.key] if is_bind else None

        clause = visitors.replacement_traverse(clause, {}, of_values)
    return str(clause.compile(dialect=_DIALECT)), tuple(given)


def _binds(clause: Any) -> Iterator[sa.BindParameter[Any]]:
    for element in visitors.iterate(clause):
        if isinstance(element, sa.BindParameter):
            yield element


def _values(types: Mapping[str, Any]) -> Any:
    arrays = [sa.bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
    columns = [sa.column(name, kind) for name, kind in types.items()]
    return sa.func.unnest(*arrays).table_valued(*columns).render_derived(name="given")
