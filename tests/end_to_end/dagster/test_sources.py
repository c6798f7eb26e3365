"""Catalogs that Dagster has: what an upstream asset returns, and tables in DuckDB."""

from __future__ import annotations

from typing import Any

import dagster as dg
import duckdb
import pytest

from incarts_pipeline.dagster import DuckDbTable
from incarts_pipeline.dagster.sources import output_place
from tests.end_to_end.dagster.conftest import (
    Materialize,
    links_asset,
    metadata_of,
    write_catalog,
)
from tests.support.runs import products

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")


@pytest.mark.parametrize("kind", ["frame", "table", "path"])
def test_upstream_asset_is_the_catalog(materialize: Materialize, kind: str) -> None:
    """Its value may be a DataFrame, an Arrow table or a path; columns are traced to it."""
    table = products(4)

    @dg.asset(name="products")
    def upstream() -> Any:
        made = {"frame": table.to_pandas(), "table": table, "path": write_catalog(table)}
        return made[kind]

    asset = links_asset(
        dg.AssetKey("products"),
        mapping={
            "link_set": "shop",
            "unique_key": ["sku"],
            "link": {
                "name": {"column": "name"},
                "retailer": "walmart",
                "intent": "add_to_cart",
                "products": {"retailer_product_id": {"column": "retailer_product_id"}},
            },
        },
        link_set=None,
        unique_key=(),
    )
    result = materialize(upstream, asset)
    found = metadata_of(result)
    assert found["incarts/created"] == 4
    lineage = found["dagster/column_lineage"].deps_by_column
    assert lineage["sku"] == [dg.TableColumnDep(dg.AssetKey("products"), "sku")]
    assert {dep.column_name for dep in lineage["content_hash"]} >= {"name", "retailer_product_id"}


def test_duckdb_table_is_the_catalog(materialize: Materialize) -> None:
    """As a dbt model leaves it: a table or view in a schema of its own."""
    with duckdb.connect("warehouse.duckdb") as db:
        db.register("incoming", products(4))
        db.execute("CREATE SCHEMA marts; CREATE VIEW marts.v AS SELECT 1")
        db.execute("CREATE TABLE marts.products AS SELECT * FROM incoming")
    asset = links_asset(DuckDbTable("warehouse.duckdb", "marts.products"))
    assert metadata_of(materialize(asset))["incarts/created"] == 4


@pytest.mark.parametrize(
    ("output", "placed"),
    [
        ("links.parquet", "{partition}/links.parquet"),
        ("data/links.parquet", "data/{partition}/links.parquet"),
        ("/data/links.parquet", "/data/{partition}/links.parquet"),
        ("links/", "links/{partition}/"),
        ("links/{partition}.parquet", "links/{partition}.parquet"),
        ("s3://bucket/links.parquet", "s3://bucket/{partition}/links.parquet"),
        ("s3://bucket/links.parquet?a=b/c", "s3://bucket/{partition}/links.parquet?a=b/c"),
        ("s3://bucket/links/?a=b/c", "s3://bucket/links/{partition}/?a=b/c"),
        ("s3://bucket", "s3://bucket/{partition}/"),
        ("delta://links", "delta://links/{partition}"),
        ("delta:///data/links/", "delta:///data/links/{partition}"),
        ("delta+s3://bucket", "delta+s3://bucket/{partition}"),
        ("delta+s3://bucket/links?a=b/c", "delta+s3://bucket/links/{partition}?a=b/c"),
        ("delta+file:///data/links", "delta+file:///data/links/{partition}"),
    ],
)
def test_a_partitions_place(output: str, placed: str) -> None:
    """Below the host, within a folder, and before the options."""
    assert output_place(output, partitioned=True) == placed
    assert output_place(output, partitioned=False) == output
