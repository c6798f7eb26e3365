"""Partitioned links: single-run backfills, a file for each, and partial success."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.conftest import (
    KEY,
    OP,
    QUIET,
    Materialize,
    checks_of,
    failure_of,
    links_asset,
    write_catalog,
)
from tests.support.runs import products

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")

SHOPS = dg.StaticPartitionsDefinition(["north", "south/west"])


def shops(n: int = 30, **columns: list[object]) -> str:
    """Write a catalog whose rows alternate between two shops."""
    shop = [SHOPS.get_partition_keys()[i % 2] for i in range(n)]
    return write_catalog(products(n, **({"shop": shop} | columns)))


def asset_by_shop(catalog: str | None = None, **keywords: Any) -> dg.AssetsDefinition:
    """Return the links asset, partitioned by shop."""
    spec = dg.AssetSpec(KEY, partitions_def=SHOPS)
    source = catalog or shops()
    return links_asset(source, spec=spec, partition_column="shop", **keywords)


def backfill(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, **config: object) -> Any:
    """Run all partitions in one run, as a single-run backfill does."""
    first, *_, last = SHOPS.get_partition_keys()
    tags = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }
    return dg.materialize(
        [asset],
        instance=instance,
        tags=tags,
        run_config={"ops": {OP: {"config": config}}, "loggers": QUIET},
        raise_on_error=False,
    )


def test_one_partition_has_a_file_of_its_own(materialize: Materialize, box: Sandbox) -> None:
    """Its rows and nothing else, with the characters of its key made fit for a path."""
    result = materialize(asset_by_shop(), partition_key="south/west")
    assert result.success
    [event] = result.asset_materializations_for_node(OP)
    assert (event.partition, event.metadata["dagster/row_count"].value) == ("south/west", 15)
    assert pq.read_table("south%2Fwest/links.parquet").num_rows == 15
    assert box.audit().links == 15


def test_backfill_is_one_run(instance: dg.DagsterInstance, box: Sandbox) -> None:
    """Every partition has its own counts, and its missing rows are its own."""
    result = backfill(instance, asset_by_shop())
    assert result.success
    events = result.asset_materializations_for_node(OP)
    rows = {e.partition: e.metadata["dagster/partition_row_count"].value for e in events}
    assert rows == {"north": 15, "south/west": 15}
    assert checks_of(result)["no_row_lost"].metadata["catalog_rows"].value == 30
    fewer = backfill(instance, asset_by_shop(shops(29)))
    missing = {
        e.partition: e.metadata["incarts/missing"].value
        for e in fewer.asset_materializations_for_node(OP)
    }
    assert missing == {"north": 0, "south/west": 1}
    assert (box.audit().links, box.audit().duplicates) == (30, 0)


def test_backfill_keeps_what_went_well(instance: dg.DagsterInstance, box: Sandbox) -> None:
    """One partition is refused by its guard: the other one is made and recorded, the run fails."""
    backfill(instance, asset_by_shop(shops(60)))
    quantity: list[object] = [1 if i % 2 else 3 for i in range(60)]
    result = backfill(instance, asset_by_shop(shops(62, quantity=[*quantity, 3, 1])))
    assert not result.success
    assert [e.partition for e in result.asset_materializations_for_node(OP)] == ["south/west"]
    text = failure_of(result)
    assert text.startswith("north: ")
    assert "approve: " in text
    assert box.audit().links == 61
    assert checks_of(result)["no_row_lost"].passed
    digest = text.rsplit('approve: "', 1)[1].strip('"')
    assert backfill(instance, asset_by_shop("catalog.parquet"), approve=digest).success


def test_rows_of_no_partition_are_told(materialize: Materialize) -> None:
    """They would be lost without a word otherwise."""
    shop: list[object] = ["north", "north", "east", None]
    asset = asset_by_shop(write_catalog(products(4, shop=shop)))
    check = checks_of(materialize(asset, partition_key="north"))["no_row_lost"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "2 rows are in no partition" in str(check.description)
    assert "(null) (1), east (1)" in str(check.description)


def test_each_partition_may_have_its_own_catalog(materialize: Materialize) -> None:
    """The partition's key is filled into the catalog's path and the output's."""
    for name in ("north", "east"):
        Path(name).mkdir()
        pq.write_table(products(3), f"{name}/products.parquet")
    spec = dg.AssetSpec(KEY, partitions_def=dg.StaticPartitionsDefinition(["north", "east"]))
    asset = links_asset(
        "{partition}/products.parquet", spec=spec, output="links-{partition}.parquet"
    )
    assert materialize(asset, partition_key="east").success
    assert pq.read_table("links-east.parquet").num_rows == 3


def test_two_partitions_at_once_share_the_ledger(environment: None, box: Sandbox) -> None:
    """Two runs in two threads: every link once, one ledger."""
    results = []

    def run(key: str) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            results.append(
                dg.materialize(
                    [asset], instance=instance, partition_key=key, run_config={"loggers": QUIET}
                )
            )

    asset = asset_by_shop()
    threads = [threading.Thread(target=run, args=(key,)) for key in SHOPS.get_partition_keys()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [result.success for result in results] == [True, True]
    assert (box.audit().links, box.audit().duplicates) == (30, 0)


def test_column_needs_partitions() -> None:
    """A column without partitions is refused when the code location loads."""
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="partitions_def"):
        links_asset(shops(), partition_column="shop")


ODD = ["..", ".", "a/b", "a%2Fb", "../x", "CON", "con.txt", "x" * 300, "x" * 301, "é", "_x", "a."]


def test_no_partition_leaves_its_folder(materialize: Materialize) -> None:
    """Whatever its key, it is written to a folder of its own, within that of the output."""
    spec = dg.AssetSpec(KEY, partitions_def=dg.StaticPartitionsDefinition(ODD))
    catalog = write_catalog(products(len(ODD), shop=list(ODD)))
    asset = links_asset(catalog, spec=spec, partition_column="shop", output="in/out/links.parquet")
    for key in ODD:
        assert materialize(asset, partition_key=key).success
    found = [file.relative_to("in/out") for file in Path().rglob("links.parquet")]
    assert {len(file.parts) for file in found} == {2}
    rows = [pq.read_table(Path("in/out") / file)["sku"].to_pylist() for file in found]
    assert sorted(rows) == [[f"{i:06d}"] for i in range(len(ODD))]


def test_partitions_that_some_disks_mix_up(materialize: Materialize, box: Sandbox) -> None:
    """Keys that differ in case alone are refused by name before anything is sent."""
    spec = dg.AssetSpec(KEY, partitions_def=dg.StaticPartitionsDefinition(["us", "US", "eu"]))
    catalog = write_catalog(products(3, shop=["us", "US", "eu"]))
    asset = links_asset(catalog, spec=spec, partition_column="shop")
    failure = failure_of(materialize(asset, partition_key="US"))
    assert "'US' and 'us' differ in case alone" in failure
    assert box.audit().requests == 0
    assert materialize(asset, partition_key="eu").success
