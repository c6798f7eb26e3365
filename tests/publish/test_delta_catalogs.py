"""Delta tables as catalogs of datasets: their files are known again, and the old ones not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.engine.nights import Night
from incarts_pipeline.engine.snapshot import File
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.prepare import Placed
from incarts_pipeline.publish import read_published
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from tests.support.runs import products


def night(settings: Settings, output: str) -> bool:
    """Publish the shop; return whether a part of it was planned, equal to the whole."""
    request = PlanRequest(catalog="shop", link_set="test", unique_key=("sku",))
    with (
        plan_catalog(request, settings, output=output) as plan,
        plan_catalog(request, settings) as whole,
    ):
        assert plan.figures == whole.figures
        run_blocking(lambda stop: apply_plan(plan, settings, output, stop=stop))
        return plan.is_part


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose rows are hashed, from now on."""
    names: list[str] = []
    chosen_of = Night._chosen_of

    def noted(self: Night, name: str, file: File) -> Iterator[Placed]:
        names.append(name)
        return chosen_of(self, name, file)

    monkeypatch.setattr(Night, "_chosen_of", noted)
    return names


def test_files_of_the_last_version_are_not_looked_at(
    settings: Settings, looked_at: list[str]
) -> None:
    """A version with one file more costs that file, and the first rows of all."""
    write_deltalake("shop", products(20))
    for _ in range(2):
        night(settings, "links/")
    [old] = (one.name for one in Path("shop").glob("*.parquet"))
    write_deltalake("shop", products(23).slice(20), mode="append")
    looked_at.clear()
    request = PlanRequest(catalog="shop", link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings, output="links/") as plan:
        assert (plan.is_part, plan.figures.rows, plan.figures.calls) == (True, 23, 3)
        told = plan.figures
    [new] = (one.name for one in Path("shop").glob("*.parquet") if one.name != old)
    assert looked_at == [new]
    with plan_catalog(request, settings) as whole:
        assert whole.figures == told


def test_a_changed_row_costs_the_file_that_it_is_in(
    settings: Settings, looked_at: list[str]
) -> None:
    """Which is written again whole; the table's change feed lies beside its rows, and is none."""
    feed = {"delta.enableChangeDataFeed": "true"}
    for start in (0, 10, 20):
        rows = products(start + 10).slice(start)
        write_deltalake("shop", rows, mode="append", configuration=feed)
    for _ in range(2):
        night(settings, "links/")
    before = set(DeltaTable("shop").file_uris())
    looked_at.clear()
    DeltaTable("shop").update(updates={"name": "'Another'"}, predicate="sku = '000013'")
    assert [*Path("shop", "_change_data").iterdir()]
    assert night(settings, "links/")
    [new] = set(DeltaTable("shop").file_uris()) - before
    assert looked_at == [Path(new).name]


@pytest.mark.parametrize("output", ["links/", "delta://links"])
def test_nights_over_a_table_that_moves_on(settings: Settings, output: str) -> None:
    """Rows that come, go and change, by whole files and within them; compacted, too."""
    write_deltalake("shop", products(12))
    write_deltalake("shop", products(20).slice(12), mode="append")
    for _ in range(2):
        night(settings, output)
    parts = 0
    for change in (
        lambda: DeltaTable("shop").delete("sku = '000003'"),
        lambda: DeltaTable("shop").update(updates={"quantity": "2"}, predicate="sku = '000013'"),
        lambda: write_deltalake("shop", products(24).slice(20), mode="append"),
        lambda: DeltaTable("shop").optimize.compact(),
        lambda: None,
    ):
        change()
        parts += night(settings, output)
    assert parts == 5
    rows = read_published(output).to_pylist()
    assert sorted(row["sku"] for row in rows) == [f"{i:06d}" for i in range(24) if i != 3]


def test_parts_are_the_rows_in_order() -> None:
    """With their partitions' values, in the order of the files' names."""
    rows = pa.table({"sku": ["1", "2", "3", "4"], "country": ["de", "us", "de", "us"]})
    write_deltalake("shop", rows, partition_by=["country"])
    write_deltalake("shop", pa.table({"sku": ["5"], "country": ["de"]}), mode="append")
    catalog = open_catalog("shop")
    whole = [row for batch in catalog.batches() for row in batch.to_pylist()]
    in_parts = [
        row
        for part in catalog.parts
        for batch in catalog.batches_of(part, 0)
        for row in batch.to_pylist()
    ]
    assert len(catalog.parts) == 3
    assert whole == in_parts
    assert sorted(map(str, whole)) == sorted(
        map(str, [*rows.to_pylist(), {"sku": "5", "country": "de"}])
    )
