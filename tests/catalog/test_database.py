"""Queries of databases: rows of one SELECT, in the database's types, and nothing is changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

QUERY = "SELECT sku, n FROM products WHERE n > 1 ORDER BY sku"
EXPECTED = [{"sku": "0013", "n": 2}, {"sku": "0014", "n": 2**62}]


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


@pytest.fixture(params=["duckdb", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each kind with the same table; its name tells nothing."""
    path = tmp_path / "shop data.db"
    connect: Any = duckdb.connect if request.param == "duckdb" else sqlite3.connect
    connection = connect(str(path))
    connection.execute("CREATE TABLE products (sku TEXT, n BIGINT)")
    connection.execute(f"INSERT INTO products VALUES ('0012', 1), ('0013', 2), ('0014', {2**62})")
    connection.commit()
    connection.close()
    return path


def test_rows_of_a_query(database: Path) -> None:
    """Text stays text, whole numbers stay whole, and the rows can be read again."""
    catalog = open_catalog(database, query=QUERY)
    assert rows_of(catalog) == rows_of(catalog) == EXPECTED
    assert rows_of(database, query="SELECT sku FROM products WHERE n < 0") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("DELETE FROM products", "not one SELECT"),
        ("SELECT 1; DELETE FROM products", "not one SELECT"),
        ("COPY products TO 'stolen.csv'", "not one SELECT"),
        ("SELECT nothing FROM products", "nothing"),
        ("SELEC sku FROM products", "can't be read"),
        ("", "not one SELECT"),
    ],
)
def test_only_one_select_runs(database: Path, query: str, message: str) -> None:
    """Whatever would write is refused before the database is opened, a wrong one in words."""
    with pytest.raises(CatalogError, match=message):
        open_catalog(database, query=query)
    assert len(rows_of(database, query="SELECT * FROM products")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "SELECT content FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('/**')",
        "SELECT * FROM read_csv('https://stranger.example/x.csv')",
        "SELECT * FROM products",
    ],
)
def test_a_query_reads_its_database_alone(tmp_path: Path, query: str) -> None:
    """Neither a query nor a view that came with the file opens another one, or a connection."""
    secret = tmp_path / "secret.csv"
    secret.write_text("ic_live_key\n")
    with duckdb.connect(str(tmp_path / "shop.db")) as made:
        made.execute(f"CREATE VIEW products AS SELECT * FROM read_csv('{secret}')")
    with pytest.raises(CatalogError, match="disabled by configuration"):
        rows_of(tmp_path / "shop.db", query=query.format(secret=secret))


def test_a_database_that_changes_is_noticed(database: Path) -> None:
    """Rows that come in between are another catalog."""
    catalog = open_catalog(database, query=QUERY)
    connect: Any = duckdb.connect if b"DUCK" in database.read_bytes()[:16] else sqlite3.connect
    connection = connect(str(database))
    connection.execute("INSERT INTO products VALUES ('0015', 9)")
    connection.commit()
    connection.close()
    with pytest.raises(CatalogError, match="changed after its reading began"):
        list(catalog.batches())


def test_a_query_needs_a_database(tmp_path: Path) -> None:
    """A file of another kind, and one that isn't there, are told in words."""
    with pytest.raises(CatalogError, match="There is no database"):
        open_catalog(tmp_path / "a.db", query=QUERY)
    (tmp_path / "a.csv").write_text("sku,n\n1,2\n")
    with pytest.raises(CatalogError, match="is no database of DuckDB or SQLite"):
        open_catalog(tmp_path / "a.csv", query=QUERY)
