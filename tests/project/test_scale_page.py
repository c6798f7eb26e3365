"""Page about scale: what it reckons is what the cost model says."""

from __future__ import annotations

import duckdb
import pyarrow.parquet as pq
import yaml

from benchmarks.cost_model import ROWS, table
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.prepare import Partition
from incarts_pipeline.settings import Settings
from tests.support.pages import blocks_of
from tests.support.paths import ROOT
from tests.support.runs import products


def test_reckoned_table_is_the_cost_model_s() -> None:
    """The page has the table that the script makes of the figures measured."""
    assert table(list(ROWS), 100.0) in (ROOT / "docs" / "scale.md").read_text("utf-8")


def test_shares_of_the_keys_are_the_whole_catalog(settings: Settings) -> None:
    """The page's column puts each row in one of the page's partitions, each with some."""
    samples = {one.title: one.text for one in blocks_of("scale.md")}
    said = yaml.safe_load(samples["four runs"])["attributes"]
    pq.write_table(products(40), "products.parquet")
    duckdb.sql(samples["a share for each row"])
    calls = []
    for key in said["asset"]["partitions_def"]["partition_keys"]:
        request = PlanRequest(
            catalog=said["catalog"]["path"],
            link_set=said["link_set"],
            unique_key=tuple(said["unique_key"]),
            partition=Partition(value=key, column=said["partition_column"]),
        )
        with plan_catalog(request, settings) as plan:
            calls.append(plan.figures.calls)
    assert sum(calls) == 40
    assert min(calls) > 0
