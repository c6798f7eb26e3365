"""Ray datasets: planned by workers, equal to the byte to the same rows in any other frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import incarts_pipeline
from incarts_pipeline import ray
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support import ray as clusters
from tests.support.engines import BASKETS
from tests.support.pages import blocks_of
from tests.support.runs import products

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # Ray takes a minute to start where others are at work
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::Warning:dagster"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KEY: dict[str, Any] = {"link_set": "s", "unique_key": "sku"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray, where it is installed."""
    if why := clusters.why_not():
        pytest.skip(why)
    with clusters.cluster() as made:
        yield made


def _dying(do: Callable[..., Any], mark: Path) -> Callable[..., Any]:
    """Let the worker that has done the first of some tasks die before it can say so."""

    def attempt(rows: pa.Table, work: Any) -> Any:
        import os as system

        done = do(rows, work)
        done = done if isinstance(done, pa.Table) else pa.concat_tables(done)
        try:
            mark.touch(exist_ok=False)
            system._exit(1)
        except FileExistsError:
            return done

    return attempt


def test_plans_are_equal_and_tasks_that_are_killed_change_nothing(
    cluster: Any,
    settings: Settings,
    box: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Night after night, with twins in different blocks; no worker makes a link."""
    monkeypatch.setattr(ray, "prepared_block", _dying(ray.prepared_block, tmp_path / "prepared"))
    monkeypatch.setattr(ray, "compared", _dying(ray.compared, tmp_path / "compared"))
    same = {"sku": ["000000"] * 4, "name": ["Product 0"] * 4, "retailer_product_id": ["500000"] * 4}
    keyless = products(1, sku=[None]).cast(products(1).schema)
    table = pa.concat_tables([products(40), products(4, **same), keyless])
    for night in range(2):
        dataset = cluster.data.from_arrow([table.slice(0, 25), table.slice(25)])
        with incarts_pipeline.plan_links(table, settings=settings, **KEY) as here:
            plan = ray.plan_links(dataset, settings=settings, **KEY)
            assert plan.digest == here.digest
            assert plan.figures.counts == here.figures.counts
        assert {one.name for one in tmp_path.glob("*ared")} == {"prepared", "compared"}
        assert box.audit().requests == 40 * night
        if night == 0:
            result = ray.write_links(plan, progress=False)
            assert result.table["catalog_row"].to_pylist() == [*range(45)]
            made = {row["sku"]: row["link_id"] for row in result.links.take_all()}
            assert len(set(made.values()) - {None}) == 40
            assert {row["sku"] for row in result.failed.take_all()} == {None}
        names = [f"New {i}" if i % 4 == 0 else f"Product {i}" for i in range(40)]
        table = pa.concat_tables([products(40, name=names), *[keyless] * 5])
    assert (box.audit().requests, box.audit().duplicates) == (40, 0)


def test_lines_of_a_basket_come_from_all_blocks(cluster: Any, settings: Settings) -> None:
    """They are folded as if they had stood one below the other."""
    lines = products(30, sku=[f"cart {i % 6}" for i in range(30)])
    dataset = cluster.data.from_arrow([lines.slice(0, 13), lines.slice(13)])
    with incarts_pipeline.plan_links(lines, BASKETS, settings=settings) as here:
        assert ray.plan_links(dataset, BASKETS, settings=settings).digest == here.digest


def test_rows_of_a_value_are_read_alone(cluster: Any) -> None:
    """As a partition's are; a row without a value is one of the value ""."""
    table = products(6).append_column("shop", pa.array(["1", "2", None, "1", "", "x'y"]))
    frame = ray.RayFrame(cluster.data.from_arrow([table.slice(0, 2), table.slice(2)]))
    assert frame.values("shop") == {"1": 2, "2": 1, "": 2, "x'y": 1}
    assert frame.having("shop", "1").collected() == table.take([0, 3])
    assert frame.having("shop", "x'y").collected() == table.take([5])


def test_blocks_may_have_types_of_their_own(cluster: Any, settings: Settings) -> None:
    """A column without a value has none, whichever block comes first; others must agree."""
    first = products(3).append_column("utm", pa.nulls(3))
    second = products(6).slice(3).append_column("utm", pa.array(["a", "b", None]))
    mapping = {
        "link_set": "s",
        "unique_key": ["sku"],
        "link": {
            "name": {"column": "name"},
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "retailer_product_id"}},
            "tracking": {"utm": {"source": {"column": "utm"}}},
        },
    }
    rows = pa.concat_tables([first, second], promote_options="default")
    dataset = cluster.data.from_arrow([first, second])
    with incarts_pipeline.plan_links(rows, mapping, settings=settings) as here:
        assert ray.plan_links(dataset, mapping, settings=settings).digest == here.digest
    numbers = pa.table(
        {**dict(zip(first.column_names, first.columns, strict=True)), "sku": [7, 8, 9]}
    )
    with pytest.raises(CatalogError, match="sku has incompatible types: string vs int64"):
        ray.plan_links(cluster.data.from_arrow([first, numbers]), mapping, settings=settings)
    large = first.set_column(0, "sku", first["sku"].cast(pa.large_string()))
    with pytest.raises(CatalogError, match=r"'sku' as .*string in one block, and as .*string"):
        ray.plan_links(cluster.data.from_arrow([first, large]), mapping, settings=settings)


def test_dataset_without_rows_is_an_empty_catalog(cluster: Any, settings: Settings) -> None:
    """Which the guard refuses over links, as in any other frame."""
    incarts_pipeline.write_links(products(3), settings=settings, progress=False, **KEY)
    dataset = cluster.data.from_arrow(products(0).cast(products(1).schema))
    plan = ray.plan_links(dataset, settings=settings, **KEY)
    assert (plan.figures.rows, dict(plan.figures.missing)) == (0, {"s": 3})
    assert [one.guard for one in plan.refusals] == ["empty_catalog"]


def test_what_is_no_dataset_is_refused(cluster: Any, settings: Settings) -> None:
    """As is one in which a task fails; both say so."""
    with pytest.raises(CatalogError, match="type Table is no Ray dataset"):
        ray.plan_links(products(3), settings=settings, **KEY)

    def broken(_: pa.Table) -> pa.Table:
        raise ValueError("the disk is gone")

    dataset = cluster.data.from_arrow(products(3)).map_batches(broken, batch_format="pyarrow")
    with pytest.raises(CatalogError, match="can't be read: ValueError: the disk is gone"):
        ray.plan_links(dataset, settings=settings, **KEY)


def test_the_sample_of_the_page_runs(
    cluster: Any, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, with a mapping file and settings of the environment."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    Path("mapping.yaml").write_text(
        "link_set: s\nunique_key: [sku]\nlink:\n  name: {column: name}\n  retailer: walmart\n"
        "  intent: add_to_cart\n  products: {retailer_product_id: {column: retailer_product_id}}\n"
    )
    Path("products").mkdir()
    pq.write_table(products(3), "products/some.parquet")
    [sample] = [one.text for one in blocks_of("scale.md") if one.title == "Ray"]
    names: dict[str, Any] = {}
    # Ray's workers are in the folder in which it was started.
    exec(sample.replace("products/", str(Path("products").resolve())), names)
    assert (names["result"].links.count(), box.audit().links) == (3, 3)


def test_asset_with_the_engine_has_the_checks_of_any_other(
    cluster: Any, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Dagster, of a path that Ray reads."""
    dagster = pytest.importorskip("dagster")
    from incarts_pipeline.dagster import build_incarts_links_asset

    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    Path("products").mkdir()
    pq.write_table(products(3), "products/some.parquet")
    place = str(Path("products").resolve())
    links = build_incarts_links_asset(
        catalog=place, engine="ray", output="links.parquet", link_set="s", unique_key=["sku"]
    )
    with dagster.DagsterInstance.ephemeral() as instance:
        result = dagster.materialize([links], instance=instance)
    assert [one.passed for one in result.get_asset_check_evaluations()] == [True] * 7
    assert box.audit().links == 3
