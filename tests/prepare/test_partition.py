"""Partitions of a catalog: planned, written and counted on their own, in one ledger."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import MappingError, RefusedError
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.prepare.partition import Partition
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products

SHOPS = ["north", "south", "north", "east", "south", "north"]
NORTH, SOUTH = Partition(value="north", column="shop"), Partition(value="south", column="shop")


def catalog(shops: list[str | None] = SHOPS) -> pa.Table:  # type: ignore[assignment]
    """Return a catalog with a shop for each row."""
    return products(len(shops), shop=shops)


def test_only_the_partition_is_written(run: Run, box: Sandbox) -> None:
    """Its rows keep their places in the whole catalog."""
    result = run(catalog(), partition=NORTH)
    assert result.published.by_status[Status.CREATED] == 3
    table = pq.read_table("links.parquet")
    assert table["catalog_row"].to_pylist() == [0, 2, 5]
    assert pq.read_schema("links.parquet").metadata[b"incarts.partition"] == b"north"
    assert box.audit().links == 3


def test_partitions_share_a_set_without_missing_each_other(run: Run, box: Sandbox) -> None:
    """A row of another partition is not missing in this one, nor in its history."""
    for partition in (NORTH, SOUTH, NORTH):
        result = run(catalog(), partition=partition, output=f"{partition.value}.parquet")
        assert sum(result.figures.missing.values()) == 0
    assert result.written.requests == 0
    assert pq.read_table("south.history.parquet").num_rows == 2
    whole = run(catalog(), output="all.parquet")
    assert whole.published.by_status == {
        **dict.fromkeys(Status, 0),
        Status.UNCHANGED: 5,
        Status.CREATED: 1,
    }
    assert (box.audit().links, box.audit().duplicates) == (6, 0)


def test_row_that_left_is_missing_in_its_partition_only(run: Run) -> None:
    """Counted where it was seen last, and nowhere else."""
    for partition in (NORTH, SOUTH):
        run(catalog(), partition=partition, output=f"{partition.value}.parquet")
    shorter = catalog().slice(1)
    gone = {
        partition.value: run(shorter, partition=partition, output=f"{partition.value}.parquet")
        for partition in (NORTH, SOUTH)
    }
    assert {name: sum(r.figures.missing.values()) for name, r in gone.items()} == {
        "north": 1,
        "south": 0,
    }
    assert pq.read_table("north.missing.parquet")["row_key"].to_pylist() == ["000000"]
    assert pq.read_table("south.missing.parquet").num_rows == 0


def test_row_that_moves_keeps_its_link(run: Run, box: Sandbox) -> None:
    """Its identity is the row key: another partition finds the link that it has."""
    run(catalog(), partition=NORTH, output="north.parquet")
    moved = catalog(["south", *SHOPS[1:]])
    result = run(moved, partition=SOUTH, output="south.parquet")
    assert result.published.by_status[Status.UNCHANGED] == 1
    assert sum(run(moved, partition=NORTH, output="north.parquet").figures.missing.values()) == 0
    assert (box.audit().links, box.audit().duplicates) == (5, 0)


def test_guard_counts_the_partition(run: Run) -> None:
    """A third of one partition is a mass change, however large the set is."""
    shops: list[str | None] = ["north"] * 200 + ["south"] * 30
    for partition in (NORTH, SOUTH):
        run(catalog(shops), partition=partition, output=f"{partition.value}.parquet")
    with pytest.raises(RefusedError, match="go missing"):
        run(catalog(shops[:215]), partition=SOUTH, output="south.parquet")
    run(catalog(shops[:215]), partition=NORTH, output="north.parquet")
    with pytest.raises(RefusedError, match="empty"):
        run(catalog(shops[:200]), partition=SOUTH, output="south.parquet")


def test_values_are_compared_as_text(run: Run) -> None:
    """Numbers and categories too; null belongs nowhere, and is counted."""
    numbered = catalog().set_column(6, "shop", pa.array([1, 2, 1, None, 2, 1]))
    result = run(numbered, partition=Partition(value="1", column="shop"))
    assert result.published.by_status[Status.CREATED] == 3
    coded = catalog().set_column(6, "shop", pa.array(SHOPS).dictionary_encode())
    assert run(coded, partition=NORTH).published.by_status[Status.UNCHANGED] == 3


def test_what_is_not_in_the_partition_is_counted(settings: Settings) -> None:
    """So that rows that are in no partition can be told."""
    request = PlanRequest(
        catalog=catalog([*SHOPS[:3], None, "west"]),
        link_set="test",
        unique_key=("sku",),
        partition=NORTH,
    )
    with plan_catalog(request, settings) as plan:
        assert plan.chosen is not None
        assert (plan.chosen.rows, dict(plan.chosen.others)) == (2, {"south": 1, "": 1, "west": 1})


def test_a_catalog_can_be_a_partition(run: Run) -> None:
    """Without a column all rows are in it."""
    for name in ("north", "south"):
        table = catalog().filter(pa.compute.equal(catalog()["shop"], name))
        result = run(table, partition=Partition(value=name), output=f"{name}.parquet")
        assert sum(result.figures.missing.values()) == 0


def test_partition_needs_its_column(run: Run) -> None:
    """An unknown column is named, with those that there are."""
    with pytest.raises(MappingError, match="no column 'shp'"):
        run(catalog(), partition=Partition(value="north", column="shp"))


def test_baskets_stay_in_one_partition(run: Run) -> None:
    """The lines of a basket must not be told apart by the partition."""
    mapping = {
        "link_set": "test",
        "unique_key": ["sku"],
        "link": {
            "name": {"column": "name"},
            "retailer": "walmart",
            "intent": "add_to_cart",
            "basket": True,
            "products": {"retailer_product_id": {"column": "retailer_product_id"}},
        },
    }
    with pytest.raises(MappingError, match="basket"):
        run(catalog(), mapping=mapping, partition=NORTH)


def test_published_partition_is_imported(
    run: Run, settings: Settings, tmp_path: Path, box: Sandbox
) -> None:
    """A lost ledger is rebuilt from the partitions' files; nothing is made again."""
    for partition in (NORTH, SOUTH):
        run(catalog(), partition=partition, output=f"{partition.value}.parquet")
    Path(settings.ledger).unlink()
    for partition in (NORTH, SOUTH):
        import_links(f"{partition.value}.parquet", settings)
    for partition in (NORTH, SOUTH):
        result = run(catalog(), partition=partition, output=f"{partition.value}.parquet")
        assert result.written.requests == 0
    assert (box.audit().links, box.audit().duplicates) == (5, 0)
