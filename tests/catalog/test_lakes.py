"""Delta and Iceberg tables: the rows that their logs have, of one version; nothing deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

ROWS = pa.table({"sku": ["0012", "0013", "0014"], "n": [1, 2, 3]})
LEFT = [{"sku": "0012", "n": 1}, {"sku": "0014", "n": 3}]


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    rows = [row for batch in catalog.batches() for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: str(row["sku"]))


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A Delta table of which a row was deleted, so that its folder has more than it says."""
    path = tmp_path / "delta"
    write_deltalake(path, ROWS)
    DeltaTable(path).delete("sku = '0013'")
    return path


def test_deleted_rows_of_a_delta_table_are_not_read(delta: Path) -> None:
    """The folder is the table; its old files are no rows of it."""
    assert len(list(delta.glob("*.parquet"))) == 2
    assert rows_of(delta) == rows_of(delta, format="delta") == LEFT


def test_a_delta_table_that_moves_on_is_noticed(delta: Path) -> None:
    """A new version between plan and call is a changed catalog."""
    catalog = open_catalog(delta)
    assert catalog.fingerprint is not None
    assert list(catalog.fingerprint.states.values()) == [(1,)]
    catalog.fingerprint.check()
    write_deltalake(delta, ROWS, mode="append")
    with pytest.raises(CatalogError, match="changed after its reading began"):
        list(catalog.batches())
    assert len(rows_of(delta)) == 5


def test_delta_features_that_hide_rows_are_refused(tmp_path: Path) -> None:
    """A table with deletion vectors isn't read without them."""
    path = tmp_path / "delta"
    write_deltalake(path, ROWS, configuration={"delta.enableDeletionVectors": "true"})
    with pytest.raises(CatalogError, match="deletionVectors"):
        open_catalog(path)


def test_a_file_that_begins_like_a_delta_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is a file."""
    monkeypatch.chdir(tmp_path)
    Path("delta+x.csv").write_text("sku\n1\n", encoding="utf-8")
    assert rows_of("delta+x.csv") == [{"sku": "1"}]
    with pytest.raises(CatalogError, match="There is no folder in delta://"):
        open_catalog("delta://")


def test_a_delta_table_at_home(delta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that a plan keeps is of the table there."""
    monkeypatch.setenv("HOME", str(delta.parent))
    for source in ("~/delta", "delta://~/delta"):
        catalog = open_catalog(source)
        assert catalog.version is not None
        assert rows_of(catalog.version.source) == LEFT


def test_a_folder_above_a_delta_table_is_refused(delta: Path) -> None:
    """Files of a table inside of a folder are not taken for rows."""
    with pytest.raises(CatalogError, match=r"is a Delta table.* Pass the folder of the table"):
        open_catalog(delta.parent)


def test_iceberg_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is read by its metadata file or by its catalog; its folder alone doesn't tell."""
    (tmp_path / "warehouse").mkdir()
    uri, warehouse = f"sqlite:///{tmp_path}/c.db", f"file://{tmp_path}/warehouse"
    shop = SqlCatalog("shop", uri=uri, warehouse=warehouse)
    shop.create_namespace("eu")
    table = shop.create_table("eu.products", schema=ROWS.schema)
    table.append(ROWS)
    table.delete("sku = '0013'")
    assert rows_of(table.metadata_location) == LEFT

    monkeypatch.setenv("PYICEBERG_CATALOG__SHOP__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__SHOP__URI", uri)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", _environment())
    catalog = open_catalog("iceberg://shop/eu.products")
    assert rows_of(catalog) == LEFT
    table.append(ROWS)
    with pytest.raises(CatalogError, match="changed after its reading began"):
        list(catalog.batches())
    with pytest.raises(CatalogError, match=r"is an Iceberg table.* iceberg://CATALOG"):
        open_catalog(tmp_path / "warehouse/eu/products")
    with pytest.raises(CatalogError, match="can't be read"):
        open_catalog("iceberg://shop/eu.nothing")
    shop.close()


def _environment() -> Any:
    from pyiceberg.utils.config import Config

    return Config()  # which pyiceberg reads once, when it is loaded
