"""Bulk reads of the ledger: both ways give the same, and neither lets go of anybody's lock."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from incarts_pipeline.errors import LedgerDamagedError, LedgerError
from incarts_pipeline.ledger import bulk_queries, bulk_read
from tests.support.runs import Run, products

_WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("query", "schema"),
    [
        (bulk_queries.ROWS, bulk_queries.ROWS_SCHEMA),
        (bulk_queries.UNLINKED, bulk_queries.UNLINKED_SCHEMA),
        (bulk_queries.PAST, bulk_queries.PAST_SCHEMA),
        (bulk_queries.CURRENT, bulk_queries.CURRENT_SCHEMA),
        (bulk_queries.MEMBERS, bulk_queries.MEMBERS_SCHEMA),
    ],
    ids=["rows", "unlinked", "past", "current", "members"],
)
def test_both_ways_read_the_same(run: Run, tmp_path: Path, query: str, schema: pa.Schema) -> None:
    """A process of its own with ADBC, and sqlite3 here: the same rows, the same types."""
    run(products(30), limit=20)
    run(products(30, quantity=[2] * 5 + [1] * 25), limit=0, refuse_over=None)
    found = []
    for large in (False, True):
        with bulk_read.reading(tmp_path / "ledger.db", large=large) as ledger:
            found.append(bulk_read.scan(ledger, query, schema, 1).read_all().sort_by("row_key"))
            assert bulk_read.scan(ledger, query, schema, 99).read_all().num_rows == 0
    assert found[0].equals(found[1])
    assert found[0].schema == schema
    if schema is bulk_queries.ROWS_SCHEMA:
        assert found[0].num_rows == 20


@pytest.mark.parametrize("large", [False, True])
def test_reading_keeps_our_locks(run: Run, tmp_path: Path, large: bool) -> None:
    """While a transaction is open here, a read that ends doesn't let other processes write.

    An SQLite library beside Python's would: closing a file drops the process's locks on it.
    """
    run(products(3))
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with bulk_read.reading(path, large=large) as ledger:
        assert (
            bulk_read.scan(ledger, bulk_queries.ROWS, bulk_queries.ROWS_SCHEMA, 1)
            .read_all()
            .num_rows
            == 3
        )
    other = subprocess.run(
        [sys.executable, "-c", _WRITE, str(path)], capture_output=True, text=True, check=True
    )
    connection.close()
    assert other.stdout.strip() == "database is locked"


@pytest.mark.parametrize("large", [False, True])
def test_ledger_that_cannot_be_read(tmp_path: Path, large: bool) -> None:
    """What is wrong with the file is said, whoever reads it."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database at all" * 100)
    with (
        pytest.raises(LedgerDamagedError, match="not a database"),
        bulk_read.reading(path, large=large) as ledger,
    ):
        list(ledger.batches(bulk_queries.ROWS, (1,), bulk_queries.ROWS_SCHEMA))


@pytest.mark.parametrize("large", [False, True])
def test_query_that_fails(run: Run, tmp_path: Path, large: bool) -> None:
    """An error in the middle is an error, not the end of the rows."""
    run(products(3))
    with (
        pytest.raises(LedgerError, match="no such table"),
        bulk_read.reading(tmp_path / "ledger.db", large=large) as ledger,
    ):
        list(ledger.batches("SELECT * FROM nowhere", (), bulk_queries.ROWS_SCHEMA))


def test_a_large_ledger_is_read_elsewhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run over a ledger beyond the bound changes nothing and sends nothing again."""
    run(products(30))
    monkeypatch.setattr(bulk_read, "_LARGE_BYTES", 0)
    again = run(products(30, quantity=[2] + [1] * 29))
    assert again.written.requests == 1
