"""Plan files in Dagster: a run carries out what was approved, and nothing else."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest, new_keys, save_plan
from incarts_pipeline.prepare import Partition
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import load_settings
from tests.end_to_end.dagster.conftest import (
    KEY,
    Materialize,
    failure_of,
    links_asset,
    write_catalog,
)
from tests.support.runs import products

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")


def saved(catalog: str, partition: Partition | None = None) -> str:
    """Plan what the asset would do into a file that is signed."""
    request = PlanRequest(
        catalog=catalog, link_set="shop", unique_key=("sku",), partition=partition
    )
    settings = load_settings()
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, "night.incarts", sign="approver.key")
    return "night.incarts"


def test_only_what_is_signed_is_carried_out(
    materialize: Materialize, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its plan file the asset sends nothing; with it, all that was signed."""
    monkeypatch.setenv("INCARTS_REQUIRE_SIGNATURE", new_keys("approver.key"))
    catalog = write_catalog(products(4))
    asset = links_asset(catalog)
    assert "it isn't signed" in failure_of(materialize(asset))
    assert box.audit().requests == 0
    plan_file = saved(catalog)
    assert materialize(asset, config={"plan_file": plan_file}).success
    assert box.audit().links == 4
    write_catalog(products(5))
    assert "has moved" in failure_of(materialize(asset, config={"plan_file": plan_file}))
    assert box.audit().links == 4


def test_a_plan_file_is_of_its_partition(materialize: Materialize, box: Sandbox) -> None:
    """A plan of one partition is none of another's."""
    new_keys("approver.key")
    catalog = write_catalog(products(4, shop=["a", "a", "b", "b"]))
    spec = dg.AssetSpec(KEY, partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    asset = links_asset(catalog, spec=spec, partition_column="shop")
    config: dict[str, object] = {"plan_file": saved(catalog, Partition(value="a", column="shop"))}
    refused = failure_of(materialize(asset, partition_key="b", config=config))
    assert "is not of the partition 'b'" in refused
    assert box.audit().requests == 0
    assert materialize(asset, partition_key="a", config=config).success
    assert box.audit().links == 2
    [file] = Path().rglob("links.parquet")
    assert pq.read_table(file).num_rows == 2
