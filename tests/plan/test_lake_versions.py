"""Versions of lake tables: told by a plan, and read again by whoever carries its file out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from incarts_pipeline.display.summary import figures_lines
from incarts_pipeline.errors import CatalogError, RefusedError
from incarts_pipeline.pipeline import apply_plan, plan_catalog, plan_saved
from incarts_pipeline.plan import PlanRequest, load_plan, save_plan
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from tests.support.runs import products


def saved(settings: Settings, catalog: str | Path) -> str:
    """Plan a catalog into a file; return what the plan says of the catalog's version."""
    request = PlanRequest(catalog=catalog, link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, "plan.incarts")
        told = plan.figures.catalog_version
        assert told is not None
        assert f"the catalog is {told}" in figures_lines(plan.figures)
        return told


def apply_saved(settings: Settings) -> list[str]:
    """Carry the plan file out; return the keys of the rows that have a link."""
    with plan_saved(load_plan("plan.incarts"), settings) as plan:
        run_blocking(lambda stop: apply_plan(plan, settings, "links.parquet", stop=stop))
    return sorted(pq.read_table("links.parquet")["sku"].to_pylist())


@pytest.mark.parametrize("catalog", ["shop", "delta://shop", "delta://shop?version=0"])
def test_a_saved_plan_reads_the_version_that_was_planned(settings: Settings, catalog: str) -> None:
    """Though the table has moved on since, and from another folder."""
    write_deltalake("shop", products(5))
    assert saved(settings, catalog) == "Delta version 0"
    named = json.loads(Path("plan.incarts").read_text())["catalog"]
    assert named == f"delta://{Path('shop').absolute()}?version=0"
    write_deltalake("shop", products(7), mode="overwrite")
    assert apply_saved(settings) == [f"{i:06d}" for i in range(5)]


def test_a_version_that_is_gone_is_refused(settings: Settings, box: Sandbox) -> None:
    """Its files are vacuumed, or its log is: nothing is sent."""
    write_deltalake("shop", products(5))
    saved(settings, "shop")
    write_deltalake("shop", products(7), mode="overwrite")
    DeltaTable("shop").vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(CatalogError, match=r"delta://.*/shop can't be read"):
        apply_saved(settings)
    DeltaTable("shop").create_checkpoint()
    Path("shop/_delta_log/00000000000000000000.json").unlink()
    with pytest.raises(CatalogError, match=r"in its version 0 can't be read.*plan the newest one"):
        apply_saved(settings)
    assert box.audit().requests == 0


def test_a_table_that_moves_on_while_it_is_carried_out(settings: Settings) -> None:
    """It is a changed catalog, as a file is; a version that was asked for is not."""
    write_deltalake("shop", products(5))
    for catalog, is_pinned in (("shop", False), ("delta://shop?version=0", True)):
        request = PlanRequest(catalog=catalog, link_set="test", unique_key=("sku",))
        with plan_catalog(request, settings) as plan:
            write_deltalake("shop", products(7), mode="overwrite")
            if is_pinned:
                run_blocking(
                    lambda stop, p=plan: apply_plan(p, settings, "links.parquet", stop=stop)
                )
            else:
                with pytest.raises(CatalogError, match="changed after its reading began"):
                    run_blocking(
                        lambda stop, p=plan: apply_plan(p, settings, "links.parquet", stop=stop)
                    )
    assert pq.read_table("links.parquet").num_rows == 5


def test_a_plan_of_another_version_is_another_plan(settings: Settings) -> None:
    """A file that somebody points at the newest version isn't what was approved."""
    write_deltalake("shop", products(5))
    saved(settings, "shop")
    content = json.loads(Path("plan.incarts").read_text())
    content["catalog"] = content["catalog"].replace("version=0", "version=1")
    Path("plan.incarts").write_text(json.dumps(content))
    write_deltalake("shop", products(7), mode="overwrite")
    with pytest.raises(RefusedError) as refused:
        apply_saved(settings)
    assert refused.value.guard == "plan_edited"


def test_iceberg_snapshots(settings: Settings, tmp_path: Path) -> None:
    """By the metadata file, which may know several."""
    (tmp_path / "warehouse").mkdir()
    uri, warehouse = f"sqlite:///{tmp_path}/c.db", f"file://{tmp_path}/warehouse"
    shop = SqlCatalog("shop", uri=uri, warehouse=warehouse)
    shop.create_namespace("eu")
    rows = products(3)
    table = shop.create_table("eu.products", schema=rows.schema)
    table.append(rows)
    first = table.current_snapshot()
    assert first is not None
    table.append(products(5).slice(3))
    place = table.metadata_location.removeprefix("file://")
    one = f"Iceberg snapshot {first.snapshot_id}"
    assert saved(settings, place) != one
    assert len(apply_saved(settings)) == 5
    assert saved(settings, f"{place}?snapshot={first.snapshot_id}") == one
    assert apply_saved(settings) == [f"{i:06d}" for i in range(3)]
    with pytest.raises(CatalogError, match="in its version 7 can't be read: there is no snapshot"):
        saved(settings, f"{place}?snapshot=7")
    with pytest.raises(CatalogError, match="'x' is no snapshot"):
        saved(settings, f"{place}?snapshot=x")
    shop.close()


def test_a_version_is_a_number(settings: Settings) -> None:
    """Whatever else is said is refused with what to say."""
    write_deltalake("shop", pa.table({"sku": ["1"]}))
    with pytest.raises(CatalogError, match="'newest' is no version of a Delta table"):
        saved(settings, "delta://shop?version=newest")
    with pytest.raises(CatalogError, match="in its version 9 can't be read"):
        saved(settings, "delta://shop?version=9")
