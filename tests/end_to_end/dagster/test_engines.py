"""Assets whose catalog an engine reads: the same checks, metadata and links as without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.dagster import SparkTable
from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.conftest import (
    KEY,
    OP,
    Materialize,
    checks_of,
    failure_of,
    links_asset,
    metadata_of,
)
from tests.support import spark as sessions
from tests.support.runs import products

pytestmark = [
    pytest.mark.filterwarnings("ignore::Warning:dagster"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """A session of Sail, which runs take as Spark's."""
    if why := sessions.why_not(sessions.SAIL):
        pytest.skip(why)
    with sessions.session(sessions.SAIL) as made:
        yield made


def test_upstream_frame_is_planned_where_it_is(
    materialize: Materialize, session: Any, box: Sandbox
) -> None:
    """What is recorded is what the same rows as a path record, but for the run's own times."""
    table = products(30, name=[None, *(f"Product {i}" for i in range(1, 30))])

    @dg.asset(name="products")
    def upstream() -> Any:
        return session.createDataFrame(table).repartition(3)

    memory = {"io_manager": dg.mem_io_manager}
    links = links_asset(dg.AssetKey("products"), engine="spark")
    planned = materialize(upstream, links, config={"mode": "plan"}, resources=memory)
    [seen] = planned.filter_events(lambda event: event.is_asset_observation)
    observed = seen.asset_observation_data.asset_observation.metadata
    assert observed["incarts/plan/create"].value == 29
    assert box.audit().requests == 0
    result = materialize(upstream, links, resources=memory)
    assert (result.success, box.audit().links) == (True, 29)
    pq.write_table(table, "same.parquet")
    other = links_asset("same.parquet", link_set="other", output="other.parquet")
    here = materialize(other, op="incarts__other")
    found, wanted = metadata_of(result), metadata_of(here, "incarts__other")
    assert found.keys() - {"dagster/column_lineage"} == wanted.keys()
    counted = [name for name in wanted if isinstance(wanted[name], int) and "second" not in name]
    assert {n: found[n] for n in counted} == {n: wanted[n] for n in counted}
    for name, check in checks_of(here).items():
        same = checks_of(result)[name]
        assert (same.passed, same.description) == (check.passed, check.description)
    assert pq.read_table("links.parquet").num_rows == 30


def test_dynamic_partitions_are_parts_of_a_table(
    materialize: Materialize, session: Any, instance: dg.DagsterInstance, box: Sandbox
) -> None:
    """One for each bucket; a bucket that is no partition is told, one that is added gets links."""
    rows = products(30, bucket=[i % 3 for i in range(30)])
    session.createDataFrame(rows).createOrReplaceTempView("products")
    buckets = dg.DynamicPartitionsDefinition(name="buckets")
    asset = links_asset(
        SparkTable("products"),
        engine="spark",
        spec=dg.AssetSpec(KEY, partitions_def=buckets),
        partition_column="bucket",
    )
    instance.add_dynamic_partitions("buckets", ["0", "1"])
    for bucket in ("0", "1"):
        result = materialize(asset, partition_key=bucket)
        check = checks_of(result)["no_row_lost"]
        assert (check.passed, check.metadata["rows"].value) == (False, 10)
        assert "2 (10)" in str(check.description)
        [event] = result.asset_materializations_for_node(OP)
        assert (event.partition, event.metadata["dagster/row_count"].value) == (bucket, 10)
    instance.add_dynamic_partitions("buckets", ["2"])
    assert checks_of(materialize(asset, partition_key="2"))["no_row_lost"].passed
    tables = [pq.read_table(f"{bucket}/links.parquet") for bucket in range(3)]
    assert len(set(pa.concat_tables(tables)["link_id"].to_pylist())) == box.audit().links == 30


def test_guard_refuses_what_an_engine_found(materialize: Materialize, session: Any) -> None:
    """Before anything is sent, as for any other catalog."""
    session.createDataFrame(products(30)).createOrReplaceTempView("products")
    asset = links_asset(SparkTable("products"), engine="spark")
    assert materialize(asset).success
    session.createDataFrame(products(12)).createOrReplaceTempView("products")
    assert "approve" in failure_of(materialize(asset))
    session.catalog.dropTempView("products")
    assert "can't be read" in failure_of(materialize(asset))
