"""Ledgers that are moved: all that is in one, to the bit, and random ones of any content."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import sqlalchemy as sa

from incarts_pipeline.identity import RECIPE
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.database import open_engine, prepare_file
from incarts_pipeline.ledger.relocation_marks import MOVES
from incarts_pipeline.ledger.runs import Process, end_run, start_run
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.models import State
from incarts_pipeline.settings import LedgerPlace
from tests.support.ledgers import HOST, NOW, call, ours, send, settle

Content = dict[str, list[tuple[Any, ...]]]

_OWN = (MOVES, "commits")  # what a move itself changes of a ledger's facts


def content_of(place: LedgerPlace) -> Content:
    """Return all rows of all tables, each value with its type; floats by their bits."""
    engine = open_engine(place, read_only=True, pool=sa.pool.NullPool)
    try:
        with engine.connect() as connection, connection.begin():
            return {
                table.name: [
                    tuple((type(v).__name__, v.hex() if isinstance(v, float) else v) for v in row)
                    for rows in store_at(place).rows(connection, table)
                    for row in rows
                    if table is not tables.meta or row[0] not in _OWN
                ]
                for table in tables.metadata.sorted_tables
            }
    finally:
        engine.dispose()


def write_content(place: LedgerPlace, content: dict[str, list[dict[str, Any]]]) -> None:
    """Make a ledger with rows of any content."""
    prepare_file(place, HOST).dispose()
    engine = open_engine(place, pool=sa.pool.NullPool)
    try:
        with engine.connect() as connection, connection.begin():
            for table in tables.metadata.sorted_tables:
                if table is not tables.published and content.get(table.name):
                    connection.execute(sa.insert(table), content[table.name])
            if content.get("published"):
                connection.execute(sa.insert(tables.published), content["published"])
    finally:
        engine.dispose()


def used(engine: sa.Engine) -> None:
    """Let a ledger have a row in each state, and notes beside them."""
    for key, state in (("done", State.DONE), ("doubt", State.IN_DOUBT), ("no", State.REJECTED)):
        operation = ours(engine, call(key))
        assert send(engine, operation)
        settle(engine, operation, state, "lnk_1" if state is State.DONE else None)
    ours(engine, call("not sent"))
    with engine.begin() as connection:
        start_run(connection, "r1", ["s"], Process.current(), NOW)
        end_run(connection, "r1", "finished", NOW)
        note = {"place": "links.parquet", "mark": "m", "made_from": "f", "sha256": b"s" * 32}
        connection.execute(sa.insert(tables.published), note)
        connection.execute(sa.insert(tables.lost_key), {"digest": b"l" * 20})


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_BIG = st.integers(-(2**63), 2**63 - 1)
_BYTES = st.binary(max_size=12)


def _value_of(column: sa.Column[Any]) -> st.SearchStrategy[Any]:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        values: st.SearchStrategy[Any] = st.booleans()
    elif isinstance(kind, sa.BigInteger):
        values = _BIG
    elif isinstance(kind, sa.Integer):
        values = st.integers(-(2**31), 2**31 - 1)
    elif isinstance(kind, sa.Float):
        values = st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: one != 0)
    else:
        values = _BYTES if isinstance(kind, sa.LargeBinary) else _TEXTS
    return values | st.none() if column.nullable else values


@st.composite
def contents(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """Draw rows for all tables: extreme values, all that refer to others to ones that are there."""
    drawn: dict[str, list[dict[str, Any]]] = {}
    ids: dict[sa.Column[Any], list[int]] = {}
    for table in tables.metadata.sorted_tables:
        if table is tables.meta:
            continue
        own = {column.name: _value_of(column) for column in table.c}
        for column in table.c:
            for key in column.foreign_keys:
                own[column.name] = st.sampled_from(ids[key.column] or [0])
        if table is tables.operation:
            own["idempotency_key"] = st.binary(min_size=20, max_size=20).map(
                lambda raw: f"incarts1-{raw.hex()}"
            )
            own["attempts"] = st.integers(0, 3)
            own["recipe"] = st.just(RECIPE)
        if table is tables.run:
            own["ended_at"] = _BIG  # nobody is at work
        may_be = all(ids[key.column] for column in table.c for key in column.foreign_keys)
        rows = draw(st.lists(st.fixed_dictionaries(own), max_size=4 if may_be else 0))
        drawn[table.name] = _distinct(table, rows)
        for column in table.primary_key:
            ids[column] = [row[column.name] for row in drawn[table.name]]
    return drawn


def _distinct(table: sa.Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out rows that the table's keys don't let in together."""
    keys = [[c.name for c in table.primary_key]]
    keys += [
        [c.name for c in one.columns]
        for one in table.constraints
        if isinstance(one, sa.UniqueConstraint)
    ]
    for key in keys:
        rows = list({tuple(row[name] for name in key): row for row in rows}.values())
    return rows
