"""Digests: equal for equal plans, however they were computed."""

from __future__ import annotations

import hashlib
from functools import cache

import duckdb
from hypothesis import given, strategies as st

from incarts_pipeline.plan.digest import RowSum, digest_of, row_sum

# action, reason, link set, row key, content hash
Row = tuple[str, str, str, str | None, bytes | None]

_ROWS = "SELECT * FROM row"
_TEXTS = st.text(st.sampled_from("a1:-|ä"), max_size=3)
_KEYS = st.none() | _TEXTS
_HASHES = st.none() | st.binary(min_size=2, max_size=2)
_LISTS = st.lists(
    st.tuples(st.sampled_from(["create", "missing"]), st.just("new"), _TEXTS, _KEYS, _HASHES),
    max_size=8,
)


def in_duckdb(rows: list[Row]) -> RowSum:
    """Return the sum as planning computes it."""
    with _database().cursor() as db:
        db.execute("DELETE FROM row")
        if rows:
            db.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?)", rows)
        return row_sum(db, _ROWS)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Return the database of all examples: opening one takes longer than what they do in it."""
    database = duckdb.connect()
    columns = "action TEXT, reason TEXT, link_set TEXT, row_key TEXT, content_hash BLOB"
    database.execute(f"CREATE TABLE row ({columns})")
    return database


def in_python(rows: list[Row]) -> RowSum:
    """Return it by the words of `RowSum`."""
    total = 0
    for *texts, content in rows:
        parts = [*texts, content.hex().upper() if content is not None else None]
        encoded = [b"-" if p is None else f"{len(p.encode())}:{p}".encode() for p in parts]
        total += int.from_bytes(hashlib.md5(b"".join(encoded)).digest(), "little")
    return RowSum(rows=sum(row[0] != "missing" for row in rows), total=total % 2**128)


@given(rows=_LISTS, others=_LISTS)
def test_parts_add_up_in_any_order(rows: list[Row], others: list[Row]) -> None:
    """Of any two parts, in DuckDB as in Python, and the other way round."""
    whole = in_duckdb([*rows, *others])
    assert whole == in_duckdb(list(reversed([*rows, *others]))) == in_python([*rows, *others])
    assert whole == in_duckdb(rows) + in_python(others) == in_python(others) + in_duckdb(rows)
    assert digest_of({}, whole) == digest_of({}, in_python(others) + in_python(rows))


def test_nothing_cancels_and_nothing_runs_together() -> None:
    """Pairs, nulls, and texts that are the same side by side."""
    row: Row = ("create", "new", "set", "key", b"ab")
    other: Row = ("create", "new", "set", "key", b"ba")
    sums = [
        in_duckdb(rows)
        for rows in (
            [],
            [row],
            [row, row],
            [other, other],
            [("create", "new", "setk", "ey", b"ab")],
            [("create", "new", "set", "", b"ab")],
            [("create", "new", "set", None, b"ab")],
            [("create", "new", "set", "-", b"ab")],
            [("create", "new", "set", "key", None)],
            [("replace", "new", "set", "key", b"ab")],
        )
    ]
    assert len({(one.rows, one.total) for one in sums}) == len(sums)


def test_a_digest_stays_what_it_is() -> None:
    """Whoever prepares the same rows with another version of DuckDB approves the same plan."""
    rows: list[Row] = [("create", "new", "nightly", "0012", b"\x00\xff")]
    assert digest_of({"project_id": "demo"}, in_duckdb(rows)) == "88ac42b69473"
