"""Queries of PostgreSQL that are asked together: one round trip for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import namedtuple_row
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql import operators, visitors

from incarts_pipeline.ledger.postgres.engine import connection_of

_DIALECT: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def ask(
    connection: sa.Connection, queries: Sequence[tuple[sa.Select[Any], Mapping[str, Any]]]
) -> list[Sequence[Any]]:
    """Execute queries in their order; return the rows of each."""
    raw = connection_of(connection)
    found: list[Sequence[Any]] = []

    def heard(cursor: psycopg.Cursor[Any]) -> None:
        cursor.row_factory = namedtuple_row
        found.append(cursor.fetchall())

    for query, values in queries:
        text, own = _compiled(query)
        raw.later(text, {**own, **values}, heard)
    raw.hear()
    return found


@cache
def _compiled(query: sa.Select[Any]) -> tuple[str, Mapping[str, Any]]:
    """Return a query that takes each list as one array, and the values of its own constants."""

    def of_array(element: Any, **_: Any) -> Any:
        if not isinstance(element, sa.BinaryExpression):
            return None
        bind: Any = element.right
        if not isinstance(bind, sa.BindParameter) or not bind.expanding:
            return None
        kind: Any = ARRAY(element.left.type)
        array: Any = sa.bindparam(bind.key, bind.value, kind, required=bind.required)
        if element.operator is operators.in_op:
            return element.left == sa.any_(array)
        return element.left != sa.all_(array)

    of_arrays: Any = visitors.replacement_traverse(query, {}, of_array)
    compiled = of_arrays.compile(dialect=_DIALECT)
    return str(compiled), compiled.params
