"""A plan as a file: applied as it was seen, or refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.errors import CatalogError, RefusedError
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import RunResult, apply_plan, plan_catalog, plan_saved
from incarts_pipeline.plan.plan_file import load_plan, save_plan
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write.options import WriteOptions
from tests.support.runs import Run, products, run_until

MAPPING = {
    "link_set": "wide",
    "unique_key": ["sku"],
    "links": {
        "walmart": {
            "name": "{name} for {sku}",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "retailer_product_id"}},
        }
    },
    "on_change": {"label": "hold"},
}


def saved(settings: Settings, catalog: str, **keywords: object) -> str:
    """Plan a catalog into a file."""
    fields = {"link_set": "test", "unique_key": ("sku",)} | keywords
    request = PlanRequest(catalog=catalog, **fields)  # type: ignore[arg-type]
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, "plan.incarts")
    return "plan.incarts"


@pytest.fixture
def catalog() -> str:
    """A catalog of 5 products in a file."""
    pacsv.write_csv(products(5), "catalog.csv")
    return "catalog.csv"


@pytest.mark.parametrize("mapped", [False, True])
def test_saved_plan_is_carried_out(
    settings: Settings, box: Sandbox, catalog: str, mapped: bool
) -> None:
    """It plans the same, also with a mapping of many parts, and from another folder."""
    keywords = {"mapping": MAPPING, "link_set": None, "unique_key": ()} if mapped else {}
    path = saved(settings, catalog, **keywords)
    plan = load_plan(path)
    with plan_saved(plan, settings) as again:
        result = run_blocking(lambda stop: apply_plan(again, settings, "out.parquet", stop=stop))
    assert result.exit_code() == 0
    assert result.figures.digest == plan.digest
    assert box.audit().links == 5


def test_moved_catalog_is_refused(settings: Settings, box: Sandbox, catalog: str) -> None:
    """A row more, or another content, is not what was looked at."""
    path = saved(settings, catalog)
    pacsv.write_csv(products(5, quantity=[1, 1, 2, 1, 1]), "catalog.csv")
    with pytest.raises(RefusedError, match="has moved"):
        plan_saved(load_plan(path), settings)
    assert box.audit().requests == 0


def test_moved_ledger_is_refused(settings: Settings, run: Run, catalog: str) -> None:
    """Links that were made meanwhile make it another plan."""
    path = saved(settings, catalog)
    run(products(2))
    with pytest.raises(RefusedError, match="has moved"):
        plan_saved(load_plan(path), settings)


def test_another_target_is_refused(settings: Settings, catalog: str) -> None:
    """A plan for staging isn't carried out on production."""
    path = saved(settings, catalog)
    other = settings.model_copy(update={"base_url": "https://api.incarts.example"})
    with pytest.raises(RefusedError, match="The plan is for demo at http"):
        plan_saved(load_plan(path), other)


def test_catalog_in_memory_can_not_be_saved(settings: Settings) -> None:
    """A plan file needs a catalog that can be read again."""
    request = PlanRequest(catalog=products(1), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan, pytest.raises(CatalogError, match="read again"):
        save_plan(plan, request, settings, "plan.incarts")
    assert not Path("plan.incarts").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"format": "incarts plan 1"})])
def test_other_files_are_refused(text: str) -> None:
    """A file that is no plan says how to make one."""
    Path("other.incarts").write_text(text)
    with pytest.raises(CatalogError, match="incarts plan --out"):
        load_plan("other.incarts")


def test_plan_holds_no_secret(settings: Settings, box: Sandbox, catalog: str) -> None:
    """The file can be mailed around."""
    assert box.api_key not in Path(saved(settings, catalog)).read_text()


def test_rows_in_another_order_are_the_same_plan(settings: Settings, catalog: str) -> None:
    """What would be done to which row counts, not where the row stands."""
    path = saved(settings, catalog)
    table = products(5)
    pacsv.write_csv(pa.concat_tables([table.slice(3), table.slice(0, 3)]), "catalog.csv")
    with plan_saved(load_plan(path), settings) as plan:
        assert (plan.figures.calls, plan.figures.digest) == (5, load_plan(path).digest)


def carry_out(
    settings: Settings, path: str, until: int | None = None, **options: object
) -> RunResult:
    """Plan a plan file again and apply it, as the fixture `run` does."""
    with plan_saved(load_plan(path), settings) as plan:
        options_ = WriteOptions(**options)  # type: ignore[arg-type]
        work = partial(apply_plan, plan, settings, "out.parquet", options=options_)
        return run_until(until, lambda stop, metrics: work(stop=stop, metrics=metrics))


def test_a_plan_file_goes_on(settings: Settings, box: Sandbox, run: Run) -> None:
    """What its own runs did is put back as the file had it: made, replaced, refused, in doubt."""
    run(products(4))
    box.reconfigure(max_quantity=3)
    pacsv.write_csv(products(12, quantity=[2, 2, 1, 1, 5, *[1] * 7]), "catalog.csv")
    path = saved(settings, "catalog.csv")
    assert carry_out(settings, path, limit=4).exit_code() == 4
    box.fail_next("error_after", times=50)
    broken_off = carry_out(settings, path, limit=4, until=4)
    assert broken_off.published.by_status[Status.IN_DOUBT] == 4
    box.fail_next("error_after", times=0)
    assert carry_out(settings, path, limit=2).figures.digest == load_plan(path).digest
    last = carry_out(settings, path)
    assert last.exit_code() == 0
    assert last.published.by_status[Status.REJECTED] == 1
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (4 + 2 + 8 - 1, 0)


@pytest.mark.parametrize("change", ["catalog", "ledger"])
def test_a_begun_plan_file_that_has_moved(
    settings: Settings, run: Run, box: Sandbox, catalog: str, change: str
) -> None:
    """A row that changed, or that another run made, is not the rest of what was looked at."""
    path = saved(settings, catalog)
    carry_out(settings, path, limit=2)
    if change == "catalog":
        pacsv.write_csv(products(5, quantity=[1, 1, 1, 1, 2]), "catalog.csv")
    else:
        run(products(3))
    made = box.audit().requests
    with pytest.raises(RefusedError, match="has moved"):
        carry_out(settings, path)
    assert box.audit().requests == made


BASKETS = {
    "link_set": "baskets",
    "unique_key": ["basket"],
    "link": {
        "name": "Basket {basket}",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "id"}},
        "basket": True,
    },
}


def baskets(first_id: int) -> pa.Table:
    """Return three baskets of two lines each."""
    ids = [str(first_id + line) for line in range(6)]
    return pa.table({"basket": ["a", "a", "b", "b", "c", "c"], "id": ids})


def test_all_products_of_even_baskets_changed(settings: Settings, box: Sandbox) -> None:
    """Lines that share a link are seen one by one: no two of them cancel each other."""
    pacsv.write_csv(baskets(500_000), "baskets.csv")
    path = saved(settings, "baskets.csv", mapping=BASKETS, link_set=None, unique_key=())
    pacsv.write_csv(baskets(600_000), "baskets.csv")
    with pytest.raises(RefusedError, match="has moved"):
        plan_saved(load_plan(path), settings)
    assert box.audit().requests == 0


def test_other_rows_that_left_the_catalog_are_another_plan(settings: Settings, run: Run) -> None:
    """What goes missing is part of what was looked at, row by row."""
    run(products(8))
    pacsv.write_csv(products(8).slice(1), "catalog.csv")
    path = saved(settings, "catalog.csv")
    pacsv.write_csv(products(7), "catalog.csv")
    with pytest.raises(RefusedError, match="has moved"):
        plan_saved(load_plan(path), settings)


def test_an_edited_plan_file_is_another_plan(settings: Settings, catalog: str) -> None:
    """The guards and the mapping are part of what was looked at."""
    path = Path(saved(settings, catalog, mapping=MAPPING, link_set=None, unique_key=()))
    content = json.loads(path.read_text())
    mapping = MAPPING | {"on_change": {"tracking": "ignore", "label": "hold"}}
    for change in ({"refuse_over": 100}, {"allow_empty": True}, {"mapping": mapping}):
        path.write_text(json.dumps(content | change))
        with pytest.raises(RefusedError, match="has moved"):
            plan_saved(load_plan(path), settings)


def test_a_plan_of_no_host_is_refused(settings: Settings, catalog: str) -> None:
    """What was planned without a base URL says nothing of the host that it would be made on."""
    path = saved(settings.model_copy(update={"base_url": None}), catalog)
    with pytest.raises(RefusedError, match="a base URL that was not set"):
        plan_saved(load_plan(path), settings)


def test_a_plan_file_of_an_earlier_form_is_refused(settings: Settings, catalog: str) -> None:
    """Its digest says less than today's."""
    path = Path(saved(settings, catalog))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": "incarts plan 1"}))
    with pytest.raises(CatalogError, match="earlier version"):
        load_plan(path)


@pytest.mark.parametrize("had_link", [False, True])
def test_a_plan_file_goes_on_past_a_doubt_of_a_missing_row(
    settings: Settings, box: Sandbox, run: Run, had_link: bool
) -> None:
    """A link that came home for a row outside of the catalog is no row that has left since."""
    run(products(3 if had_link else 2))
    box.fail_next("error_after", times=50)
    run(products(3, quantity=[1, 1, 2]), until=1)
    box.fail_next("error_after", times=0)
    pacsv.write_csv(products(8).slice(3), "catalog.csv")
    path = saved(settings, "catalog.csv")
    assert carry_out(settings, path, limit=2).exit_code() == 4
    assert carry_out(settings, path).exit_code() == 0
    assert (box.audit().links, box.audit().duplicates) == (5 + (4 if had_link else 3), 0)


@pytest.mark.parametrize("said", ['"format": "x", ', '"mapping": {"sku": 1, "sku": 2}, '])
def test_a_key_that_stands_twice(settings: Settings, catalog: str, said: str) -> None:
    """Of two values one reader sees the first and another the last: the file is refused."""
    path = Path(saved(settings, catalog))
    path.write_text(path.read_text().replace("{", "{" + said, 1))
    name = "sku" if "sku" in said else "format"
    with pytest.raises(CatalogError, match=f"has the key '{name}' twice"):
        load_plan(path)
