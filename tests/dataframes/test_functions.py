"""Links from a frame in one call: what it takes, what it gives back, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
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
from tests.support.paths import SAMPLES
from tests.support.processes import wait_for_links
from tests.support.runs import products

KEY: dict[str, Any] = {"link_set": "test", "unique_key": "sku"}
WIDE = """
link_set: wide
unique_key: [sku]
links:
  walmart: {name: {column: name}, retailer: walmart, intent: add_to_cart,
            products: {retailer_product_id: {column: walmart_id}}}
  web: {name: {column: name}, retailer: target, intent: custom_url, custom_url: {column: url}}
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """A sandbox for tests that don't count what it made."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def near(shared: Sandbox, tmp_path: Path) -> Settings:
    """Settings for the shared sandbox and a ledger of the test's own."""
    return settings_for(shared, tmp_path)


def settings_for(sandbox: Sandbox, folder: Path) -> Settings:
    return Settings(
        INCARTS_API_BASE_URL=sandbox.base_url,
        INCARTS_API_KEY=sandbox.api_key,
        INCARTS_PROJECT_ID=sandbox.project_id,
        INCARTS_LEDGER=folder / "ledger.db",
        INCARTS_RATE="fixed:none",
        INCARTS_MAX_RPS=None,
    )


def goods(n: int = 4, **columns: object) -> pd.DataFrame:
    """Return products as a DataFrame."""
    return products(n).to_pandas().assign(**columns)


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


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"link_set": None}, MappingError, "unique_key"),
        ({"mapping": WIDE}, MappingError, "unique_key can't"),
        ({"sample_per": "shop"}, SettingsError, "sample_per doesn't know 'shop'"),
        ({"if_running": "hope"}, SettingsError, "wait, skip, fail"),
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


BAD: dict[str, tuple[Callable[[], pd.DataFrame], str, str]] = {
    "float_ids": (
        lambda: goods(retailer_product_id=[123.0, None, 5.0, 6.0]),
        '"retailer_product_id" is of type double',
        "Row 0 (the first is 0) has 123.0.",
    ),
    "float_key": (
        lambda: goods(sku=[None, 1.5, 2.0, 3.0]),
        'column "sku" is of type double',
        "Row 1 (the first is 0) has 1.5.",
    ),
    "interval_key": (
        lambda: goods(sku=pd.interval_range(0, 4)),
        "'sku'",
        "row 0 (the first is 0) has Interval(0, 1",
    ),
    "delta_key": (
        lambda: goods(sku=pd.to_timedelta(range(4), unit="s")),
        '"sku" is of type duration',
        "Row 0 (the first is 0) has ",
    ),
    "mixed": (
        lambda: goods(sku=["a", 2, "c", "d"]),
        "'sku'",
        "row 1 (the first is 0) has 2: int where the first value is str",
    ),
    "mixed_categories": (
        lambda: goods(sku=pd.Categorical(["a", 2, "c", "d"])),
        "'sku'",
        "row 1 (the first is 0) has 2: int where the first value is str",
    ),
    "zone_or_none": (
        lambda: goods(
            sku=pd.Series(
                [pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-02"), None, None],
                dtype=object,
            )
        ),
        "'sku'",
        "row 1 (the first is 0) has Timestamp('2026-01-02 00:00:00')",
    ),
    "columns_twice": (
        lambda: goods().rename(columns={"quantity": "name"}),
        "both named 'name'",
        "Rename or drop",
    ),
    "column_levels": (
        lambda: pd.concat({"a": goods()}, axis=1),
        "columns of several levels",
        "df.columns = ",
    ),
    "unnamed_index": (
        lambda: goods().set_index("sku").rename_axis(index=None),
        'no column "sku"',
        "An index without a name is no column",
    ),
    "other_index": (
        lambda: goods().set_index(pd.Index(list("abcd"), name="sku")),
        "'sku' as its index and as a column",
        "Drop one",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_frames_are_refused_by_name(near: Settings, name: str) -> None:
    """The error names the column, a row for example, and the fix; the frame is as it was."""
    make, column, example = BAD[name]
    frame = make()
    before = frame.copy(deep=True)
    with pytest.raises(IncartsError) as caught:
        write_links(frame, settings=near, progress=False, **KEY)
    assert isinstance(caught.value, CatalogError | MappingError)
    assert column in str(caught.value)
    assert example in str(caught.value)
    assert caught.value.fix
    pd.testing.assert_frame_equal(frame, before)
    assert not Path(near.ledger).exists()


@pytest.mark.parametrize(
    "frame",
    [lambda: goods().rename(columns={"sku": "SKU"}), lambda: goods().set_index("name")],
    ids=["no_index", "named_index"],
)
def test_an_index_is_blamed_only_when_it_may_be_the_key(
    near: Settings, frame: Callable[[], pd.DataFrame]
) -> None:
    """One that only counts the rows, or has a name, or isn't asked for, is none of the trouble."""
    with pytest.raises(IncartsError, match="skuu") as caught:
        plan_links(frame(), unique_key="skuu", link_set="test", settings=near)
    assert "index" not in str(caught.value)


def test_an_index_is_not_blamed_for_a_field(near: Settings) -> None:
    """One without a name has nothing to do with a field that is missing."""
    unnamed = goods().drop(columns="name").set_index(pd.Index(list("abcd")))
    with pytest.raises(IncartsError, match='no column "name"') as caught:
        plan_links(unnamed, settings=near, **KEY)
    assert "index" not in str(caught.value)


def test_what_a_row_is_is_asked_for_in_python(near: Settings) -> None:
    """The arguments are named, with what they take, instead of the shell's options."""
    with pytest.raises(MappingError) as caught:
        plan_links(goods(), settings=near)
    assert caught.value.fix == 'Give unique_key=["..."] and link_set="...", or mapping="...".'


GOOD: dict[str, tuple[Callable[[], object], list[str]]] = {
    "Int64": (lambda: pd.array([1, 2, 3, None], dtype="Int64"), ["1", "2", "3"]),
    "numpy": (
        lambda: pd.Series([*map(pd.array([9]).dtype.type, [1, 2, 3, 4])], dtype=object),
        ["1"],
    ),
    "categories": (lambda: pd.Categorical(["b", "a", "c", None]), ["b", "a", "c"]),
    "whole_categories": (lambda: pd.Categorical([3, 1, 2, 9]), ["3", "1", "2", "9"]),
    "arrow": (lambda: pd.array(["a", "b", None, "d"], dtype="string[pyarrow]"), ["a", "b", "d"]),
    "zone": (
        lambda: pd.date_range("2026-03-28 23:00", periods=4, freq="D", tz="Europe/Berlin"),
        ["2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z", "2026-03-30T21:00:00Z"],
    ),
}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_unusual_keys_that_are_fine(near: Settings, name: str) -> None:
    """Nullable numbers, categories, numpy's numbers and zoned times identify rows as text."""
    make, expected = GOOD[name]
    made = write_links(goods(sku=make()), settings=near, progress=False, **KEY)
    keys = made.to_pandas()["row_key"].dropna().to_list()
    assert keys[: len(expected)] == expected
    assert made.counts.get("created", 0) == len(keys)


def test_index_levels_are_columns(near: Settings) -> None:
    """The named levels of a MultiIndex can be the key, and the result has the index still."""
    frame = goods(shop=["n", "n", "s", "s"]).drop(columns="sku")
    frame["line"] = [1, 2, 1, 2]
    frame = frame.set_index(["shop", "line"])
    made = write_links(
        frame, link_set="levels", unique_key=["shop", "line"], settings=near, progress=False
    )
    assert made.to_pandas()["row_key"].to_list() == ["n|1", "n|2", "s|1", "s|2"]
    pd.testing.assert_index_equal(made.to_pandas().index, frame.index)
    pd.testing.assert_frame_equal(frame.join(made.links), made.to_pandas())


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
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Stopped early" in err
    assert "pending    the run was stopped" in out
    statuses = pq.read_table("links-test.parquet")["status"].to_pylist()
    assert statuses.count("created") == box.audit().links < 100
    box.reconfigure(latency=0.0)
    del environment["INCARTS_MAX_IN_FLIGHT"]
    out, err = start().communicate(timeout=60)
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
