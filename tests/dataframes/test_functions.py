"""Links from a frame in one call: what it takes, what it gives back, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import incarts_pipeline.pandas  # noqa: F401 (registers the accessor)
from incarts_pipeline import (
    Action,
    IncartsError,
    LinksResult,
    awrite_links,
    load_plan,
    plan_links,
    plan_saved,
    write_links,
)
from incarts_pipeline.errors import (
    CatalogError,
    MappingError,
    PublishError,
    RefusedError,
    SettingsError,
)
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.frames import KEY, goods
from tests.support.paths import SAMPLES
from tests.support.processes import wait_for_links
from tests.support.runs import products

WIDE = """
link_set: wide
unique_key: [sku]
links:
  walmart: {name: {column: name}, retailer: walmart, intent: add_to_cart,
            products: {retailer_product_id: {column: walmart_id}}}
  web: {name: {column: name}, retailer: target, intent: custom_url, custom_url: {column: url}}
"""


def test_plan_then_write_then_again(settings: Settings, box: Sandbox) -> None:
    """A plan sends nothing, is carried out, and carried out again finds everything done."""
    frame = goods().set_index(pd.Index([7, 7, 8, 9], name="shop"))
    with plan_links(frame, settings=settings, **KEY) as plan:
        assert box.audit().requests == 0
        text = repr(plan)
        assert text.startswith(f"LinksPlan {plan.digest}: 4 rows of test")
        assert "create     no link yet  e.g. row 0 (000000); row 1" in text
        assert "scopes needed: links:write (4), retailers:walmart (4)" in text
        assert not plan.refusals
        pilot = write_links(plan, limit=1, progress=False)
        assert pilot.counts == {"created": 1, "pending": 3}
        rest = write_links(plan, progress=False)
    assert rest.counts == {"created": 3, "unchanged": 1}
    assert rest.output == "links-test.parquet"
    assert Path(rest.output).exists()
    assert list(rest.to_pandas().index) == [7, 7, 8, 9]
    assert box.audit().links == 4
    assert "e.g." not in repr(plan), "a closed plan still has its figures"


def test_plan_with_a_budget(settings: Settings, box: Sandbox) -> None:
    """What a plan is held to, its runs are held to as well, unless one is told otherwise."""
    with plan_links(goods(), settings=settings, limit=1, **KEY) as plan:
        assert "1 of 4 links to make (the run's limit)" in repr(plan)
        assert "makes all in 4 nights, the last on 20" in repr(plan)
        assert "nights, if each makes as many" in plan._repr_html_()
        first = write_links(plan, progress=False)
        assert first.counts == {"created": 1, "pending": 3}
        assert "3 links left to make: 3 more nights of 1" in repr(first)
        assert "3 links left to make: 3 more nights of 1" in first._repr_html_()
        second = write_links(plan, progress=False)
        assert second.counts == {"created": 1, "unchanged": 1, "pending": 2}
        rest = write_links(plan, limit=2, progress=False)
    assert rest.counts == {"created": 2, "unchanged": 2}
    assert box.audit().links == 4
    with pytest.raises(SettingsError, match="limit can't be -1"):
        plan_links(goods(), settings=settings, limit=-1, **KEY)


def test_every_kind_of_frame(near: Settings, tmp_path: Path) -> None:
    """All kinds of tables make the same links, and get their own rows back."""
    frame = goods()
    duck = duckdb.connect()
    frame.to_csv(tmp_path / "frame.csv", index=False)
    table = products(4)
    kinds: dict[str, object] = {
        "pandas": frame,
        "indexed": frame.set_index("sku"),
        "polars": pl.from_arrow(table),
        "lazy": pl.LazyFrame(pl.from_arrow(table)),
        "duckdb": duck.from_arrow(table),
        "arrow": table,
        "batch": table.to_batches()[0],
        "reader": table.to_reader(),
        "dataset": ds.dataset(table),
        "scanner": ds.dataset(table).scanner(),
        "list": table.to_pylist(),
        "file": tmp_path / "frame.csv",
    }
    links = set()
    for kind in ("pandas", "lazy", "duckdb", "reader", "file"):
        made = write_links(kinds.pop(kind), settings=near, progress=False, **KEY)
        whole = made.to_arrow()
        assert whole["sku"].to_pylist() == table["sku"].to_pylist(), kind
        assert made.to_pandas()["name"].to_list() == table["name"].to_pylist()
        links.add(tuple(whole["link_id"].to_pylist()))
    assert len(links) == 1
    assert len(links.pop()) == 4
    for kind, source in kinds.items():
        with plan_links(source, settings=near, **KEY) as plan:
            assert plan.figures.rows_by_action()[Action.UNCHANGED] == 4, kind


def test_wide_mappings_give_a_row_per_entry(near: Settings) -> None:
    """With several links per row each has a row of its own, under the index of the caller's row."""
    frame = pd.DataFrame(
        {
            "sku": ["a", "b"],
            "name": ["A", "B"],
            "walmart_id": ["11", None],
            "url": ["https://example.com/a", "https://example.com/b"],
        },
        index=["x", "y"],
    )
    made = write_links(frame, WIDE, settings=near, progress=False)
    assert made.output == "links-wide.parquet"
    whole = made.to_pandas()
    assert list(whole.index) == ["x", "x", "y", "y"]
    assert list(zip(whole["sku"], whole["link_set"], whole["status"], strict=True)) == [
        ("a", "wide/walmart", "created"),
        ("a", "wide/web", "created"),
        ("b", "wide/walmart", "skipped"),
        ("b", "wide/web", "created"),
    ]
    pd.testing.assert_frame_equal(frame.join(made.links), whole)
    assert made.failed.empty


def test_baskets_give_each_line_its_link(near: Settings) -> None:
    """All lines of a basket carry the basket's one link, wherever they stand."""
    frame = pd.read_csv(SAMPLES / "baskets.csv", dtype=str).sample(frac=1, random_state=7)
    made = write_links(frame, SAMPLES / "baskets.yaml", settings=near, progress=False)
    whole = made.to_pandas()
    pd.testing.assert_frame_equal(whole[frame.columns], frame)
    linked = whole[whole["link_id"].notna()]
    assert (linked.groupby("basket")["link_id"].nunique() == 1).all()
    assert linked["link_id"].nunique() < len(linked)
    assert len(made.failed) == len(whole) - len(linked)


def test_accessor(near: Settings) -> None:
    """`df.incarts` plans and writes, and `df.join` puts the links beside the rows."""
    frame = goods()
    assert frame.incarts.plan(settings=near, **KEY).figures.calls == 4
    made = frame.incarts.write(settings=near, progress=False, **KEY)
    assert frame.join(made.links)["link_id"].notna().all()
    again = asyncio.run(frame.incarts.awrite(settings=near, progress=False, **KEY))
    assert again.counts == {"unchanged": 4}


def test_an_empty_frame(near: Settings) -> None:
    """No rows make no links, and a result that has the columns all the same."""
    made = write_links(goods(0), settings=near, progress=False, **KEY)
    assert made.counts == {}
    assert list(made.to_pandas().columns[:1]) == ["sku"]
    assert len(made.links) == len(made.failed) == 0


def test_a_refused_plan_is_approved_by_its_digest(near: Settings) -> None:
    """A guard's error and a plan's text name `approve`, and it lets exactly that plan through."""
    write_links(goods(30), settings=near, progress=False, **KEY)
    changed = goods(30, quantity=2)
    plan = plan_links(changed, settings=near, **KEY)
    assert f'approve="{plan.digest}"' in repr(plan)
    with pytest.raises(RefusedError) as caught:
        write_links(changed, settings=near, progress=False, **KEY)
    assert caught.value.digest == plan.digest
    assert f'approve="{plan.digest}"' in str(caught.value)
    assert "--" not in str(caught.value)
    made = write_links(changed, settings=near, approve=plan.digest, progress=False, **KEY)
    assert made.counts == {"replaced": 30}
    with pytest.raises(RefusedError, match="allow_empty=True") as empty:
        write_links(changed.iloc[:0], settings=near, progress=False, **KEY)
    assert empty.value.guard == "empty_catalog"


def test_a_saved_plan(near: Settings) -> None:
    """A frame's plan file holds its rows beside it, and the shell's `apply` takes it."""
    plan = plan_links(goods().set_index("sku"), settings=near, **KEY)
    plan.save("night.incarts")
    assert pq.read_table("night.catalog.parquet").column_names[0] == "sku"
    with plan_saved(load_plan("night.incarts"), near) as again:
        assert again.figures.digest == plan.digest


def test_rekeyed_rows_are_told_and_moved(near: Settings) -> None:
    """The plan says what may be said in Python, and the links move when it is said."""
    keywords: dict[str, Any] = {"settings": near, **KEY}
    write_links(goods(5), progress=False, **keywords)
    changed = goods(5).assign(sku=["a", "b", "c", "d", "e"])
    text = repr(plan_links(changed, **keywords))
    assert "5 new rows look re-keyed" in text
    assert "000000 → a, 000001 → b, 000002 → c, …" in text
    assert 'rekeyed="move" moves their links over' in text
    result = write_links(changed, rekeyed="move", progress=False, **keywords)
    assert result.counts == {"rekeyed": 5}


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"link_set": None}, MappingError, 'link_set="..."'),
        ({"mapping": WIDE}, MappingError, "unique_key can't"),
        ({"sample_per": "shop"}, SettingsError, "sample_per doesn't know 'shop'"),
        ({"if_running": "hope"}, SettingsError, "wait, skip, fail"),
        ({"rekeyed": "maybe"}, SettingsError, "rekeyed can't be 'maybe'"),
        ({"target": "staging"}, SettingsError, "target"),
        ({"max_duration": "soon"}, SettingsError, "not a duration"),
        ({"output": "links.csv", "mapping": "gone.yaml"}, PublishError, "end with .parquet"),
        ({"report": "no/run.html", "mapping": "gone.yaml"}, PublishError, "Create its folder"),
    ],
)
def test_arguments_that_make_no_sense(
    near: Settings, arguments: dict[str, Any], error: type[IncartsError], said: str
) -> None:
    """Wrong arguments are named as Python has them, before anything is sent."""
    with pytest.raises(error) as caught:
        write_links(goods(), **{"settings": near, "progress": False} | KEY | arguments)
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_plan_fixes_its_arguments(near: Settings) -> None:
    """What a plan was made with can't be said again."""
    plan = plan_links(goods(), settings=near, **KEY)
    with pytest.raises(MappingError, match="link_set, refuse_over can't be given again"):
        write_links(plan, link_set="other", refuse_over=3)
    plan.close()
    with pytest.raises(CatalogError, match="Plan again"):
        write_links(plan, progress=False)


def test_works_inside_a_running_loop(near: Settings) -> None:
    """The synchronous call works in a notebook's loop, and the other one leaves the loop alone."""

    async def notebook() -> tuple[LinksResult, LinksResult, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        first = write_links(goods(), settings=near, progress=False, **KEY)
        task = asyncio.create_task(count())
        second = await awrite_links(goods(8), settings=near, progress=False, **KEY)
        task.cancel()
        return first, second, turns

    first, second, turns = asyncio.run(notebook())
    assert first.counts == {"created": 4}
    assert second.counts == {"created": 4, "unchanged": 4}
    assert turns > 10


def test_a_cancelled_await_stops_cleanly(
    settings: Settings, box: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cancelling finishes what is in flight, publishes, says how to go on, and is raised again."""
    box.reconfigure(latency=0.1)
    slow = settings.model_copy(update={"max_in_flight": 2})
    frame = goods(100)

    async def notebook() -> None:
        task = asyncio.create_task(awrite_links(frame, settings=slow, progress=False, **KEY))
        await asyncio.to_thread(wait_for_links, box, 3)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(notebook())
    assert "Run the same cell or script again" in capsys.readouterr().err
    published = pq.read_table("links-test.parquet")["status"].to_pylist()
    assert published.count("created") == box.audit().links < 100
    assert set(published) == {"created", "pending"}
    box.reconfigure(latency=0.0)
    assert "pending" not in write_links(frame, settings=settings, progress=False, **KEY).counts
    assert (box.audit().links, box.audit().duplicates) == (100, 0)


SCRIPT = """
import pandas as pd
from incarts_pipeline import write_links
frame = pd.DataFrame({"sku": [f"{i:03}" for i in range(100)]})
frame = frame.assign(
    name="Product", retailer="walmart", intent="add_to_cart", retailer_product_id=frame["sku"]
)
result = write_links(frame, link_set="test", unique_key="sku")
print(result)
"""


@pytest.mark.slow
def test_ctrl_c_stops_a_script_and_again_goes_on(box: Sandbox, tmp_path: Path) -> None:
    """A real Ctrl-C publishes what is done and the result says how to go on, which then works."""
    box.reconfigure(latency=0.1)
    script = tmp_path / "campaign.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = os.environ | {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_RATE": "fixed:none",
        "INCARTS_MAX_IN_FLIGHT": "2",
        "PYTHONPATH": os.pathsep.join([str(SAMPLES.parent), os.environ.get("PYTHONPATH", "")]),
    }

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(script)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    process = start()
    wait_for_links(box, 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Stopped early" in err
    assert "pending    the run was stopped" in out
    statuses = pq.read_table("links-test.parquet")["status"].to_pylist()
    assert statuses.count("created") == box.audit().links < 100
    box.reconfigure(latency=0.0)
    del environment["INCARTS_MAX_IN_FLIGHT"]
    out, err = start().communicate(timeout=300)
    assert err == "", "without a terminal there is no progress"
    assert "pending" not in out
    assert (box.audit().links, box.audit().duplicates) == (100, 0)


def test_results_without_arrow_text(near: Settings) -> None:
    """Text columns of the caller keep the type that they have, object or Arrow."""
    frame = goods().astype({"name": object})
    made = write_links(frame, settings=near, progress=False, **KEY).to_pandas()
    assert made["name"].dtype == object
    assert made["sku"].dtype == frame["sku"].dtype
    assert pa.Table.from_pandas(made).num_rows == 4


def test_file_that_may_be_cut(near: Settings, tmp_path: Path) -> None:
    """What is known of a file's end is told by the plan and by the result."""
    pacsv.write_csv(pa.Table.from_pandas(goods(), preserve_index=False), "goods.csv")
    file = tmp_path / "goods.csv"
    file.write_text(file.read_text().rstrip("\n"))
    plan = plan_links(file, settings=near, **KEY)
    result = write_links(plan, progress=False)
    for shown in (repr(plan), repr(result), plan._repr_html_(), result._repr_html_()):
        assert "ends without a line end, so it may be cut off" in shown
