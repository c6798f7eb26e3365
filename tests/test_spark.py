"""Spark frames: planned by executors, equal to the byte to the same rows in any other frame."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import incarts_pipeline
from incarts_pipeline import spark
from incarts_pipeline.engine import prepared
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support import spark as sessions
from tests.support.engines import BASKETS
from tests.support.pages import blocks_of
from tests.support.runs import products

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KEY: dict[str, Any] = {"link_set": "s", "unique_key": "sku"}


@pytest.fixture(scope="module", params=[sessions.SAIL, sessions.SPARK])
def session(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A session of each kind that there is."""
    if why := sessions.why_not(request.param):
        pytest.skip(why)
    with sessions.session(request.param) as made:
        yield made


def test_plans_are_equal_and_links_are_made_once(
    session: Any, settings: Settings, box: Sandbox
) -> None:
    """Night after night, with twins in different partitions, and rows that break a rule."""
    same = {"sku": ["000000"] * 4, "name": ["Product 0"] * 4, "retailer_product_id": ["500000"] * 4}
    keyless = products(1, sku=[None]).cast(products(1).schema)
    table = pa.concat_tables([products(40), products(4, **same), keyless])
    for night in range(2):
        frame = session.createDataFrame(table).repartition(5, "name")
        with incarts_pipeline.plan_links(table, settings=settings, **KEY) as here:
            plan = spark.plan_links(frame, settings=settings, **KEY)
            assert plan.digest == here.digest
            assert plan.figures.counts == here.figures.counts
        result = spark.write_links(plan, progress=False)
        assert result.output == "links-s.parquet"
        assert result.table.num_rows == 45
        made = {row["sku"]: row["link_id"] for row in result.links.collect()}
        assert len(set(made.values()) - {None}) == 40
        assert {row["sku"] for row in result.failed.collect()} == {None}
        assert box.audit().requests == 40 + 10 * night
        names = [f"New {i}" if i % 4 == 0 else f"Product {i}" for i in range(40)]
        ids = [str(600_000 + i) if i % 4 == 0 else str(500_000 + i) for i in range(40)]
        table = pa.concat_tables(
            [products(40, name=names, retailer_product_id=ids), *[keyless] * 5]
        )
    assert box.audit().duplicates == 0


def test_lines_of_a_basket_come_from_all_partitions(session: Any, settings: Settings) -> None:
    """They are folded as if they had stood one below the other."""
    lines = products(30, sku=[f"cart {i % 6}" for i in range(30)])
    frame = session.createDataFrame(lines).repartition(4, "retailer_product_id")
    with incarts_pipeline.plan_links(lines, BASKETS, settings=settings) as here:
        assert spark.plan_links(frame, BASKETS, settings=settings).digest == here.digest


def test_tasks_that_are_killed_change_nothing(
    session: Any,
    settings: Settings,
    box: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """The first attempt of each task dies in the middle; the plan is the same, and no link made."""
    if request.node.callspec.params["session"] == sessions.SAIL:
        pytest.skip("Sail doesn't try a task again when the process dies that serves everything")
    killed = str(tmp_path / "killed-{}")

    def preparing(batches: Iterable[pa.RecordBatch], work: Any) -> Iterator[pa.RecordBatch]:
        import os as system
        from pathlib import Path as File

        first, *rest = list(batches)
        mark = File(killed.format(first["incarts_row_number"][0].as_py()))
        for done in prepared([first, *rest], work):
            if not mark.exists():
                mark.touch()
                system._exit(1)
            yield done

    monkeypatch.setattr(spark, "prepared", preparing)
    table = products(60)
    frame = session.createDataFrame(table).repartition(3, "name")
    with incarts_pipeline.plan_links(table, settings=settings, **KEY) as here:
        plan = spark.plan_links(frame, settings=settings, **KEY)
        assert plan.digest == here.digest
    assert len([*tmp_path.glob("killed-*")]) >= 2
    assert box.audit().requests == 0
    assert spark.write_links(plan, progress=False).counts == {"created": 60}
    assert box.audit().requests == 60


def test_frame_that_changes_is_refused(
    session: Any, settings: Settings, box: Sandbox, tmp_path: Path
) -> None:
    """What is written must be what was planned."""
    pq.write_table(products(5), tmp_path / "catalog.parquet")
    frame = session.read.parquet(str(tmp_path / "catalog.parquet"))
    plan = spark.plan_links(frame, settings=settings, **KEY)
    pq.write_table(products(6), tmp_path / "catalog.parquet")
    changed = session.read.parquet(str(tmp_path / "catalog.parquet"))
    plan.kept.frame._frame = changed
    with pytest.raises(RefusedError, match="has changed since it was planned"):
        spark.write_links(plan, progress=False)
    assert box.audit().requests == 0


def test_columns_of_any_name_and_type(session: Any, settings: Settings) -> None:
    """Dots and backticks in names, dates in keys, and columns that nobody maps."""
    table = products(6).append_column("on", pa.array([dt.date(2026, 5, i) for i in range(1, 7)]))
    table = table.append_column("odd`name", pa.array([f"x {i}" for i in range(6)]))
    table = table.append_column("price", pa.array([{"value": i} for i in range(6)]))
    mapping = {
        "link_set": "s",
        "unique_key": ["sku", "on"],
        "link": {
            "name": "{odd`name} {price.value}",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "retailer_product_id"}},
        },
    }
    frame = session.createDataFrame(table)
    with incarts_pipeline.plan_links(table, mapping, settings=settings) as here:
        plan = spark.plan_links(frame, mapping, settings=settings)
        assert (plan.digest, plan.figures.calls) == (here.digest, 6)


def test_rows_of_a_value_are_read_alone(session: Any) -> None:
    """As a partition's are; a row without a value is one of the value ""."""
    table = products(6).append_column("shop", pa.array(["us", "US", None, "us", "", "x'y"]))
    frame = spark.SparkFrame(session.createDataFrame(table))
    assert frame.values("shop") == {"us": 2, "US": 1, "": 2, "x'y": 1}
    assert frame.having("shop", "us").collected() == table.take([0, 3])
    assert frame.having("shop", "x'y").collected() == table.take([5])


def test_the_samples_of_the_page_run(
    session: Any, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, with a mapping file and settings of the environment."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    Path("mapping.yaml").write_text(
        "link_set: s\nunique_key: [sku]\nlink:\n  name: {column: name}\n  retailer: walmart\n"
        "  intent: add_to_cart\n  products: {retailer_product_id: {column: retailer_product_id}}\n"
    )
    samples = {one.title: one.text for one in blocks_of("scale.md") if one.language == "python"}
    names: dict[str, Any] = {"frame": session.createDataFrame(products(3))}
    exec(samples[""], names)
    assert names["result"].links.count() == 3
    exec(samples["left to workers"], names)
    assert names["result"].counts == {"unchanged": 3}
    assert box.audit().links == 3
