"""Bulk writes to PostgreSQL: a statement for many rows at once, as columns of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import cache, partial
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql import visitors

from incarts_pipeline.ledger.postgres.engine import connection_of
from incarts_pipeline.ledger.statements import Statement
from incarts_pipeline.ledger.store import Changed

_DIALECT: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]

Rows = Sequence[Mapping[str, Any]]


def run_many(connection: sa.Connection, statement: Statement, rows: Rows) -> int:
    """Execute a statement for many rows; return how many it changed in all.

    Raises:
        KeyError: a row lacks a parameter.
        ValueError: a row for an insert has other columns, which would be dropped.
    """
    changed = run_later(connection, [(statement, rows)])
    connection_of(connection).hear()
    return changed.first or 0


def run_later(connection: sa.Connection, parts: Sequence[tuple[Statement, Rows]]) -> Changed:
    """Execute statements in their order, along with what comes next; raises as `run_many` does."""
    changed = Changed()
    counts = [0] * len(parts)
    said = [(number, *words) for number, part in enumerate(parts) for words in _said(*part)]
    if not said:
        changed.counts = counts

    def heard(cursor: psycopg.Cursor[Any], *, number: int, is_last: bool) -> None:
        counts[number] += cursor.rowcount
        if is_last:
            changed.counts = counts

    for at, (number, text, columns) in enumerate(said, 1):
        told = partial(heard, number=number, is_last=at == len(said))
        connection_of(connection).later(text, columns, told)
    return changed


def _said(statement: Statement, rows: Rows) -> Iterator[tuple[str, dict[str, str]]]:
    names = statement.names
    if names is not None and rows and rows[0].keys() != set(names):
        raise ValueError(f"columns {sorted(set(names) ^ rows[0].keys())} don't match")
    text, parameters = _compiled(statement)
    for wave in waves(rows, statement.key):
        yield text, {name: word([row[name] for row in wave]) for name, word in parameters.items()}


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


# Arrays as PostgreSQL writes them. psycopg takes ten times as long, half of all that a link costs:
# it looks at each element by itself.


def _array(words: Iterable[str]) -> str:
    return f"{{{','.join(words)}}}"


def _texts(values: Sequence[Any]) -> str:
    """Write texts; nearly all are plain, and need no look at each."""
    with suppress(TypeError):  # one isn't there, or is no text
        joined = '","'.join(values)
        has_quotes = joined.count('"') > 2 * len(values) - 2
        if values and not (has_quotes or "\\" in joined or "\0" in joined):
            return f'{{"{joined}"}}'
    return _array(["NULL" if one is None else _quoted(one) for one in values])


def _quoted(text: Any) -> str:
    plain = str(text.value if isinstance(text, Enum) else text)
    # It has no NUL, which a server's message may hold.
    plain = plain.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\ufffd")
    return f'"{plain}"'


def _bytes(values: Sequence[Any]) -> str:
    return _array(["NULL" if one is None else f'"\\\\x{one.hex()}"' for one in values])


def _others(values: Sequence[Any]) -> str:
    return _array(["NULL" if one is None else str(one) for one in values])


def _word(kind: Any) -> Callable[[Sequence[Any]], str]:
    """Return what writes an array of a type."""
    if isinstance(kind, sa.LargeBinary):
        return _bytes
    return _texts if isinstance(kind, sa.String) else _others


@cache
def _compiled(statement: Statement) -> tuple[str, Mapping[str, Callable[[Sequence[Any]], str]]]:
    """Return a statement that takes an array for each of its parameters, and what writes these."""
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
    words = {name: _word(kind) for name, kind in given.items()}
    return str(clause.compile(dialect=_DIALECT)), words


def _binds(clause: Any) -> Iterator[sa.BindParameter[Any]]:
    for element in visitors.iterate(clause):
        if isinstance(element, sa.BindParameter):
            yield element


def _values(types: Mapping[str, Any]) -> Any:
    arrays = [sa.bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
    columns = [sa.column(name, kind) for name, kind in types.items()]
    return sa.func.unnest(*arrays).table_valued(*columns).render_derived(name="given")
