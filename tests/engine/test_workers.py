"""What an engine's tasks do: their plan is that of the same rows here, whatever becomes of them."""

from __future__ import annotations

import pickle
import random
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from incarts_pipeline import plan_links, write_links
from incarts_pipeline.dataframes import EnginePlan, Planning, plan_frame, planned_on
from incarts_pipeline.engine import What, Work, batch_of
from incarts_pipeline.engine.row_numbers import RowNumbers
from incarts_pipeline.errors import CatalogError, RefusedError
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan import SEEN_ROWS, PlanRequest
from incarts_pipeline.prepare import Partition
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import LedgerPlace, Settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.workers import work
from tests.support.engines import LocalEngine, in_partitions
from tests.support.runs import products

_KEY: dict[str, Any] = {"link_set": "s", "unique_key": "sku"}
_KEYS = ["00012", "00034", "12", "34", "9", "0007", "a", "b", "c", "d", "NA", None]
_LINK: dict[str, Any] = {
    "name": {"column": "name"},
    "retailer": "walmart",
    "intent": "add_to_cart",
    "products": {
        "retailer_product_id": {"column": "item"},
        "quantity": {"column": "quantity", "default": 1},
    },
}
_MAPPINGS: list[dict[str, Any]] = [
    {"link": _LINK},
    {"link": _LINK, "pinned": {"column": "printed"}},
    {"link": {**_LINK, "basket": True}},
    {"link": _LINK, "first_of_key": True},
    {"link": _LINK, "where": "printed = 'yes'"},
    {"links": {"a": _LINK, "b": {**_LINK, "name": "{name} b"}}},
]


def _table(chance: random.Random) -> pa.Table:
    n = chance.randint(0, 20)
    rows = {
        "sku": [chance.choice(_KEYS) for _ in range(n)],
        "name": [chance.choice(["one", "two", "N/A"]) for _ in range(n)],
        "item": [chance.choice(["500001", "500002", "x", None]) for _ in range(n)],
        "quantity": [chance.choice([1, 2, None]) for _ in range(n)],
        "printed": [chance.choice(["yes", "no"]) for _ in range(n)],
        "nobodys": [{"deep": [1]} for _ in range(n)],
    }
    deep = pa.struct([("deep", pa.list_(pa.int64()))])
    kinds = {"quantity": pa.int64(), "nobodys": deep}
    return pa.table({k: pa.array(v, kinds.get(k, pa.string())) for k, v in rows.items()})


def _changed(table: pa.Table, chance: random.Random) -> pa.Table:
    """Return a catalog of the next night: rows that left, changed, and new ones."""
    rows = [row for row in table.to_pylist() if chance.random() < 0.9]
    for row in rows:
        if chance.random() < 0.1:
            row["name"] = chance.choice(["one", "two", "three"])
        if chance.random() < 0.05:
            row["sku"] = chance.choice(_KEYS)
    return pa.Table.from_pylist(rows, schema=table.schema)


def _figures(plan: Any) -> dict[str, Any]:
    figures = plan.figures
    names = ("digest", "counts", "calls", "doubts", "missing", "scopes", "refusals", "rows")
    return {name: getattr(figures, name) for name in names}


def _planned(frame: LocalEngine, settings: Settings, **given: Any) -> EnginePlan:
    return plan_frame(frame, Planning(settings=settings, **given))


@pytest.mark.slow
@pytest.mark.parametrize("mapping", _MAPPINGS, ids=lambda one: ", ".join(one))
def test_plan_is_that_of_the_same_rows(
    settings: Settings, box: Sandbox, mapping: dict[str, Any]
) -> None:
    """Whatever the partitions, the order of rows between tasks, and how often tasks are killed."""
    mapping = mapping | {"unique_key": ["sku"], "link_set": "s"}
    for seed in range(2):
        chance = random.Random(f"{mapping}{seed}")
        table = _table(chance)
        for _ in range(2):
            _same(table, mapping, settings, chance)
            with plan_links(table, mapping, settings=settings, allow_empty=True) as here:
                some = chance.choice([None, 2])
                write_links(here, approve=here.digest, progress=False, limit=some)
            table = _changed(table, chance)
        _same(table, mapping, settings, chance)
    assert box.audit().duplicates == 0


def _same(
    table: pa.Table, mapping: dict[str, Any], settings: Settings, chance: random.Random
) -> None:
    with plan_links(table, mapping, settings=settings, allow_empty=True) as here:
        # Rows before the first 10,000 are always given; these would be all.
        for before in (0, SEEN_ROWS):
            parts, seed = in_partitions(table, chance), chance.random()
            frame = LocalEngine(parts, seed=seed, before=before)
            with _planned(frame, settings, mapping=mapping, allow_empty=True) as there:
                assert _figures(there) == _figures(here)
                assert before or list(there.figures.warnings) == list(here.figures.warnings)


def test_quiet_rows_stay_where_they_are(settings: Settings) -> None:
    """Of a night in which one row changed, hashes go from task to task, its request to the driver.

    A night on which nothing changed is read once.
    """
    write_links(products(60), settings=settings, progress=False, **_KEY)
    for names, keys in ((["Product 0"], []), (["Another"], [["000000"]])):
        table = products(60, name=[*names, *(f"Product {i}" for i in range(1, 60))])
        frame = LocalEngine([table.slice(0, 30), table.slice(30)], before=SEEN_ROWS)
        with _planned(frame, settings, **_KEY) as plan:
            assert plan.figures.rows == 60
        first, *second = frame.passes
        assert {row["what"] for row in first} == {What.COUNTS, What.HASHES, What.QUIET}
        found = [batch_of(row["payload"]) for row in chain(*second) if row["what"] == What.REQUESTS]
        assert [one["row_key"].to_pylist() for one in found] == keys


def test_rows_that_change_between_two_readings_are_refused(settings: Settings) -> None:
    """What is given must be what was compared, row by row."""
    write_links(products(9), settings=settings, progress=False, **_KEY)
    first, other = (products(9, name=[f"{new} {i}" for i in range(9)]) for new in ("One", "Two"))
    for later in (other, first.take([1, 0, *range(2, 9)]), first.slice(0, 8)):
        frame = LocalEngine([first], before=SEEN_ROWS)
        frame.then = [later]
        with pytest.raises(CatalogError, match="has other rows each time it is read"):
            _planned(frame, settings, **_KEY)


@pytest.mark.parametrize("where", [None, "name != 'Product 4'"])
@pytest.mark.parametrize("column", ["shop", "number"])
def test_partition_is_read_alone(settings: Settings, column: str, where: str | None) -> None:
    """By a column of text, unless tasks alone know which rows count; the plan is that of here."""
    table = products(12).append_column("shop", pa.array(["1", "2", None] * 4))
    table = table.append_column("number", pa.array([1, 2, None] * 4)).append_column(
        "item", table["retailer_product_id"]
    )
    mapping = {"link_set": "s", "unique_key": ["sku"], "link": {**_LINK, "name": "{name}"}}
    partition = Partition(value="1", column=column)
    request = PlanRequest(
        catalog=table, mapping=mapping | ({"where": where} if where else {}), partition=partition
    )
    frame = LocalEngine([table.slice(0, 5), table.slice(5)])
    with (
        planned_on(frame, request, settings, whole=True) as there,
        plan_catalog(request, settings) as here,
    ):
        assert there.figures.digest == here.figures.digest
        assert there.chosen is not None
        assert here.chosen is not None
        assert (there.chosen.rows, there.chosen.others) == (here.chosen.rows, here.chosen.others)
    assert (frame.attempts == 0) is (column == "shop" and where is None)


def test_rows_that_an_engine_takes_for_a_partitions_are_in_no_plan(settings: Settings) -> None:
    """As under a collation, for which `US` is `us`; each row is in the partition of its bytes."""
    table = products(6).append_column("shop", pa.array(["us", "US", "Us", "US", None, "x"]))
    for value, rows in (("us", 1), ("US", 2)):
        request = PlanRequest(
            catalog=table,
            link_set="s",
            unique_key=("sku",),
            partition=Partition(value=value, column="shop"),
        )
        frame = LocalEngine([table.slice(0, 3), table.slice(3)])
        frame.tells_case = False
        with (
            planned_on(frame, request, settings, whole=True) as there,
            plan_catalog(request, settings) as here,
        ):
            assert there.figures.digest == here.figures.digest
            assert there.figures.rows == rows
            assert there.chosen is not None
            assert here.chosen is not None
            assert there.chosen.rows == rows
            assert there.chosen.others == here.chosen.others


def test_part_of_a_frame_may_have_no_row_with_a_key(settings: Settings) -> None:
    """It has no hashes to pass on; its rows are told as those of any other part."""
    table = pa.concat_tables([products(2), products(2, sku=[None, None]).cast(products(1).schema)])
    with (
        plan_links(table, settings=settings, **_KEY) as here,
        _planned(LocalEngine([table.slice(0, 2), table.slice(2)]), settings, **_KEY) as there,
    ):
        assert _figures(there) == _figures(here)
        assert there.figures.rows == 4


def test_task_is_given_the_row_numbers_of_its_partition_alone() -> None:
    """Those of all others may be many; a partition without one has no entry."""
    numbers = np.array([12, 3, 12, 9, 25])
    given = RowNumbers.by_partition(numbers, {4: 20, 1: 0, 2: 10, 3: 13})
    assert {at: one.unpacked().tolist() for at, one in given.items()} == {
        1: [3, 9],
        2: [12],
        4: [25],
    }
    assert RowNumbers.by_partition(numbers[:0], {1: 0}) == RowNumbers.by_partition(numbers[:0], {})


def test_whole_plan_is_carried_out(settings: Settings, box: Sandbox) -> None:
    """Only then all rows are got; a frame that has changed since is refused."""
    table = products(9)
    frame = LocalEngine([table.slice(0, 4), table.slice(4)])
    with _planned(frame, settings, **_KEY) as plan:
        assert box.audit().requests == 0
        result = write_links(plan, progress=False)
        assert result.counts == {"created": 9}
        assert result.links["link_id"].null_count == 0
        assert result.to_arrow()["sku"].to_pylist() == table["sku"].to_pylist()
        again = write_links(plan, progress=False)
        assert again.counts == {"unchanged": 9}
    with _planned(frame, settings, **_KEY) as plan:
        frame._partitions = [products(10)]
        with pytest.raises(RefusedError, match="has changed since it was planned"):
            write_links(plan, progress=False)
    assert box.audit().requests == 9


def test_plan_is_enqueued_and_published(
    settings: Settings, place: LedgerPlace, box: Sandbox
) -> None:
    """Of a changed night, workers make what its open rows call for; all rows are published."""
    settings = settings.model_copy(update={"ledger": place})
    keyless = settings.model_copy(update={"api_key": None})
    write_links(products(20), settings=settings, progress=False, **_KEY)
    table = products(22, retailer_product_id=["9", *(str(500_000 + i) for i in range(1, 22))])
    frame = LocalEngine([table.slice(0, 9), table.slice(9)], before=SEEN_ROWS)
    with _planned(frame, keyless, **_KEY) as plan:
        enqueued = plan.enqueue().enqueued
        assert (enqueued.links, enqueued.is_whole, box.audit().requests) == (3, True, 20)
        assert plan.plan.is_part
        frame._before = 0
        assert plan.publish().counts == {"unchanged": 19, "pending": 3}
        worked = run_blocking(lambda stop: work(settings, stop=stop))
        assert (worked.made, box.audit().requests, box.audit().duplicates) == (3, 23, 0)
        result = plan.publish()
    assert result.counts == {"unchanged": 19, "created": 2, "replaced": 1}
    assert result.links["link_id"].null_count == 0


def test_part_of_a_plan_is_published_nowhere(settings: Settings, box: Sandbox) -> None:
    """The plan behind it, which lacks rows, can't be carried out by itself."""
    with (
        _planned(LocalEngine([products(3)]), settings, **_KEY) as plan,
        pytest.raises(RefusedError, match="can't be"),
    ):
        run_blocking(lambda stop: apply_plan(plan.plan, settings, "links.parquet", stop=stop))
    assert box.audit().requests == 0


def test_error_of_a_task_is_ours(settings: Settings) -> None:
    """It names the row in the whole frame, and the column."""
    table = products(6, quantity=["1", "2", "3", "4", "many", "6"])
    mapping = {"link_set": "s", "unique_key": ["sku"], "link": _LINK, "where": "quantity > 2"}
    table = table.append_column("item", table["retailer_product_id"])
    frame = LocalEngine([table.slice(0, 2), table.slice(2)])
    with pytest.raises(CatalogError, match=r"Row 4 .* 'many' in the column 'quantity'") as raised:
        _planned(frame, settings, mapping=mapping)
    assert (raised.value.row, raised.value.column) == (4, "quantity")


def test_frame_with_other_rows_each_time_is_refused(settings: Settings) -> None:
    """Whoever counts rows and then reads others would number them wrongly."""
    frame = LocalEngine([products(3), products(4)])
    counts = frame.counts([])
    frame._partitions = [products(4), products(3)]
    frame.counts = lambda _: counts  # type: ignore[method-assign]
    with pytest.raises(CatalogError, match=r"where it had 3, it now has 4"):
        _planned(frame, settings, **_KEY)


def test_work_is_small(settings: Settings) -> None:
    """It goes with each task."""
    seen: list[Work] = []

    class Spied(LocalEngine):
        def found(self, work: Work, known: pa.Table) -> Any:
            seen.append(pickle.loads(pickle.dumps(work)))
            return super().found(seen[0], known)

    _planned(Spied([products(3)]), settings, **_KEY).close()
    assert len(pickle.dumps(seen[0])) < 6_000
