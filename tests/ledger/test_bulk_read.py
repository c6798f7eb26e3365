"""Bulk reads of the ledger: both ways give the same, and neither lets go of anybody's lock."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from incarts_pipeline.errors import LedgerDamagedError, LedgerError
from incarts_pipeline.ledger import Query, bulk_queries, reading
from incarts_pipeline.ledger.bulk_read import scan
from incarts_pipeline.ledger.sqlite import bulk_read
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.schemas import HISTORY
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

_WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "query",
    [
        bulk_queries.ROWS,
        bulk_queries.UNLINKED,
        bulk_queries.PAST,
        bulk_queries.CURRENT,
        bulk_queries.MEMBERS,
    ],
    ids=["rows", "unlinked", "past", "current", "members"],
)
def test_both_ways_read_the_same(run: Run, tmp_path: Path, query: Query) -> None:
    """A process of its own with ADBC, and sqlite3 here: the same rows, the same types."""
    run(products(30), limit=20)
    run(products(30, quantity=[2] * 5 + [1] * 25), limit=0, refuse_over=None)
    found = []
    for large in (False, True):
        with reading(tmp_path / "ledger.db", large=large) as ledger:
            found.append(scan(ledger, query, 1).read_all().sort_by("row_key"))
            assert scan(ledger, query, 99).read_all().num_rows == 0
    assert found[0].equals(found[1])
    assert found[0].schema == query.schema
    if query is bulk_queries.ROWS:
        assert found[0].num_rows == 20


def test_both_ways_read_the_same_history(run: Run, tmp_path: Path) -> None:
    """With its moments, small integers, and nulls where nothing is known."""
    run(products(5), limit=3)
    run(products(5, quantity=[2, 1, 1, 1, 1]), limit=1, refuse_over=None)
    history = bulk_queries.History(set_ids={"nightly": 1, "other": 99})
    found = []
    for large in (False, True):
        with reading(tmp_path / "ledger.db", large=large) as ledger:
            found.append(pa.Table.from_batches(history.batches(ledger), HISTORY))
    assert found[0].equals(found[1])
    assert found[0]["row_key"].to_pylist() == ["000000", "000000", "000001", "000002"]
    assert found[0]["replaces_link_id"].null_count == 3


@pytest.mark.parametrize("large", [False, True])
def test_nulls_before_all_values(run: Run, tmp_path: Path, large: bool) -> None:
    """A column's first value comes after more nulls than anybody looks at to guess its type."""
    run(products(1))
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    values = {
        "text": (pa.string(), "'late'", "late"),
        "hash": (pa.binary(), "x'00ff'", b"\x00\xff"),
        "real": (pa.float64(), "0.5", 0.5),
        "whole": (pa.int32(), "7", 7),
        "yes": (pa.bool_(), "1", True),
        "moment": (pa.timestamp("us", "UTC"), str(round(at.timestamp() * 1e6)), at),
    }
    columns = ", ".join(f"CASE WHEN i = 30000 THEN {sql} END" for _, sql, _ in values.values())
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)"
    query = Query(
        sql=f"{numbers} SELECT {columns} FROM n",
        schema=pa.schema([(name, kind) for name, (kind, _, _) in values.items()]),
    )
    with reading(tmp_path / "ledger.db", large=large) as ledger:
        found = scan(ledger, query).read_all()
    assert found.num_rows == 30_000
    assert {column.null_count for column in found.columns} == {29_999}
    assert found.slice(29_999).to_pylist() == [{name: v for name, (_, _, v) in values.items()}]


@pytest.mark.parametrize("large", [False, True])
def test_reading_keeps_our_locks(run: Run, tmp_path: Path, large: bool) -> None:
    """While a transaction is open here, a read that ends doesn't let other processes write.

    An SQLite library beside Python's would: closing a file drops the process's locks on it.
    """
    run(products(3))
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with reading(path, large=large) as ledger:
        assert scan(ledger, bulk_queries.ROWS, 1).read_all().num_rows == 3
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
        reading(path, large=large) as ledger,
    ):
        list(ledger.batches(bulk_queries.ROWS, 1))


@pytest.mark.parametrize("large", [False, True])
def test_query_that_fails(run: Run, tmp_path: Path, large: bool) -> None:
    """An error in the middle is an error, not the end of the rows."""
    run(products(3))
    with (
        pytest.raises(LedgerError, match="no such table"),
        reading(tmp_path / "ledger.db", large=large) as ledger,
    ):
        list(ledger.batches(replace(bulk_queries.ROWS, sql="SELECT * FROM nowhere")))


def test_a_large_ledger_is_read_elsewhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run over a ledger beyond the bound changes nothing and sends nothing again."""
    run(products(30))
    monkeypatch.setattr(bulk_read, "_LARGE_BYTES", 0)
    again = run(products(30, quantity=[2] + [1] * 29))
    assert again.written.requests == 1


_ROWS = 60_000
_PAGE = 4_096  # bytes
NUMBERS = Query(
    sql="SELECT name, number FROM numbers",
    schema=pa.schema([("name", pa.string()), ("number", pa.int64())]),
)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of 4 MB that holds more rows than a pipe, and than a batch."""
    path = tmp_path_factory.mktemp("numbers") / "numbers.db"
    with opened(path) as connection:
        connection.execute("CREATE TABLE numbers (name TEXT, number INTEGER)")
        rows = ((f"the name of number {i:012d}" * 2, i) for i in range(_ROWS))
        connection.executemany("INSERT INTO numbers VALUES (?, ?)", rows)
    return path.read_bytes()


def test_a_killed_reader_is_noticed(numbers: bytes, tmp_path: Path) -> None:
    """Killed at any point, as when memory runs out, it never passes for the end of the rows."""
    path = tmp_path / "ledger.db"
    path.write_bytes(numbers)
    chance, ends = random.Random(7), []
    for _ in range(40):
        found, kill_at = 0, chance.randrange(_ROWS)
        try:
            with reading(path, large=True) as ledger:
                for batch in ledger.batches(NUMBERS):
                    found += batch.num_rows
                    if found >= kill_at:
                        ledger._process.kill()  # type: ignore[attr-defined] # as the kernel would
        except LedgerError as error:
            assert "was ended by SIGKILL" in str(error)  # noqa: PT017 - or it ends well
            ends.append("told")
        else:
            assert found == _ROWS
            ends.append("whole")
    assert ends.count("told") > 20


def test_a_reader_that_is_killed_before_it_begins(numbers: bytes, tmp_path: Path) -> None:
    """Also the query that it never took is an error of ours."""
    path = tmp_path / "ledger.db"
    path.write_bytes(numbers)
    with reading(path, large=True) as ledger:
        ledger._process.kill()  # type: ignore[attr-defined]
        ledger._process.wait()  # type: ignore[attr-defined]
        with pytest.raises(LedgerError, match="was ended by SIGKILL"):
            list(ledger.batches(NUMBERS))


@pytest.mark.parametrize("large", [False, True])
def test_a_damaged_page_is_noticed(numbers: bytes, tmp_path: Path, large: bool) -> None:
    """A page of zeros, as a bad disk gives it, doesn't end the rows early."""
    path = tmp_path / "ledger.db"
    for page in random.Random(7).sample(range(1, len(numbers) // _PAGE), 20):
        at = page * _PAGE
        path.write_bytes(numbers[:at] + bytes(_PAGE) + numbers[at + _PAGE :])
        with (
            pytest.raises(LedgerDamagedError, match=r"is damaged \(database disk image"),
            reading(path, large=large) as ledger,
        ):
            list(ledger.batches(NUMBERS))


def test_a_plan_tells_what_its_reader_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within DuckDB, which reads the rows, the error stays the ledger's, without a traceback."""
    run(products(3))
    monkeypatch.setattr(bulk_read, "_LARGE_BYTES", 0)
    monkeypatch.setattr(bulk_queries, "ROWS", replace(bulk_queries.ROWS, sql="SELECT * FROM gone"))
    workspace = Workspace()
    with pytest.raises(LedgerError, match=r"^The ledger \S+ can't be used \(\S+ .*no such table"):
        workspace.load_ledger(tmp_path / "ledger.db", {"test": 1})
    workspace.close()
