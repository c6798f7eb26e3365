"""Merged parts: equal to what a publication of the whole catalog makes, and healed when broken."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import PublishError
from incarts_pipeline.ledger import LedgerReader
from incarts_pipeline.models import Rekeyed
from incarts_pipeline.pipeline import RunResult, apply_plan, plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.publish import (
    Output,
    buckets as buckets_module,
    parts_of_history,
    read_published,
)
from incarts_pipeline.publish.dataset import intact
from incarts_pipeline.publish.publish import publish
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write import WriteOptions, left_over
from tests.support.runs import products
from tests.support.stores import Store

LINKS, DELTA = Output(links="links/"), Output(links="delta://links")
_KEYS = [None, "12", "34", "00056", *(f"{n:05d}" for n in range(20))]
_FIELDS = {
    "name": "{name}",
    "retailer": "walmart",
    "intent": "add_to_cart",
    "products": {
        "retailer_product_id": {"column": "retailer_product_id"},
        "quantity": {"column": "quantity"},
    },
}
_TWO_SETS: dict[str, Any] = {
    "link_set": "test",
    "unique_key": ["sku"],
    "links": {"a": _FIELDS, "b": _FIELDS | {"name": "{name} b"}},
}


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let twenty products be four buckets."""
    monkeypatch.setattr(buckets_module, "BUCKET_ROWS", 5)


class Nights:
    """Nights over one dataset, of each of which the whole publication stands beside it."""

    def __init__(
        self, settings: Settings, mapping: dict[str, Any] | None = None, output: Output = LINKS
    ) -> None:
        self.settings, self.output = settings, output
        given = {"link_set": "test", "unique_key": ("sku",)} if mapping is None else {}
        self.given: dict[str, Any] = given | {"mapping": mapping, "allow_empty": True}
        self.parts = 0

    def run(self, catalog: pa.Table, **more: Any) -> RunResult:
        """Apply a part where one will do, and publish the whole of the same run beside it."""
        limit = more.pop("limit", None)
        request = PlanRequest(catalog=write(catalog), **self.given | more)
        with (
            plan_catalog(request, self.settings) as whole,
            plan_catalog(request, self.settings, output=self.output.links) as plan,
        ):
            self.parts += plan.is_part
            assert plan.figures == whole.figures
            options = WriteOptions(limit=limit, approved=plan.figures.digest)
            result = run_blocking(
                lambda stop: apply_plan(
                    plan, self.settings, self.output.links, options=options, stop=stop
                )
            )
            self.publish_whole(whole, result, options)
        return result

    def publish_whole(self, whole: Any, result: RunResult, options: WriteOptions) -> None:
        """Publish what the run came to in one file, from the plan over everything."""
        reader = LedgerReader(self.settings.ledger)
        sets = whole.options.link_sets
        set_ids = reader.set_ids(whole.options.project_id, sets, whole.kind)
        list(whole.calls(set_ids, limit=options.limit))  # which a run numbers, too
        publish(
            whole,
            Output(links="whole.parquet"),
            ledger=self.settings.ledger,
            set_ids=set_ids,
            left=left_over(result.written, options),
            facts={
                "run_id": result.written.run_id,
                "ledger_id": reader.ledger_id,
                "ledger_sequence": "1",
            },
        )


def write(catalog: pa.Table) -> str:
    """Write a catalog as two files; one that is as it was is left alone."""
    Path("shop").mkdir(exist_ok=True)
    half = catalog.num_rows // 2
    for name, rows in (("a", catalog.slice(0, half)), ("b", catalog.slice(half))):
        file = Path(f"shop/{name}.parquet")
        if not file.exists() or not pq.read_table(file).equals(rows):
            pq.write_table(rows, file)
    return "shop"


def unplaced(table: pa.Table) -> list[dict[str, Any]]:
    """Return a table's rows without their places in the catalog, in one order."""
    rows = table.drop_columns([n for n in ("catalog_row",) if n in table.column_names])
    return sorted(rows.to_pylist(), key=repr)


def history(output: Output) -> list[dict[str, Any]]:
    """Return the dataset's history: of each key the rows of the newest part."""
    found: dict[str, list[dict[str, Any]]] = {}
    for part in parts_of_history(output):
        rows = pq.read_table(part).to_pylist()
        for key in {row["idempotency_key"] for row in rows}:
            found[key] = [row for row in rows if row["idempotency_key"] == key]
    return sorted((row for rows in found.values() for row in rows), key=repr)


def check_equal(output: Output = LINKS) -> None:
    """Compare the dataset with the whole publication, and its manifest with its files."""
    assert unplaced(read_published(output.links)) == unplaced(pq.read_table("whole.parquet"))
    missing = pq.read_table("links/_missing/missing.parquet")
    assert missing.equals(pq.read_table("whole.missing.parquet"))
    assert history(output) == sorted(pq.read_table("whole.history.parquet").to_pylist(), key=repr)
    manifest = intact(output)
    assert manifest is not None
    rows = read_published(output.links).to_pylist()
    counted: dict[tuple[str, str], int] = {}
    for row in rows:
        kind = row["status"], row["reason"]
        counted[kind] = counted.get(kind, 0) + 1
    assert {(s.value, r.value): n for (s, r), n in manifest.counts.items()} == counted
    assert manifest.keyless == sum(row["row_key"] is None for row in rows)
    for number in range(manifest.buckets):
        own = pq.read_table(f"links/{manifest.bucket_names()[number]}").to_pylist()
        order = [(r["link_set"], r["row_key"] is None, r["row_key"]) for r in own]
        assert order == sorted(order, key=lambda one: (one[0], one[1], one[2] or ""))


def catalogs(chance: random.Random) -> Iterator[pa.Table]:
    """Yield a catalog night by night: rows change, go, come back, and share keys."""
    rows = {key: (chance.randrange(6), 1) for key in chance.sample(_KEYS, 14)}
    while True:
        yield _table(chance, rows)
        for key in chance.sample(
            sorted(rows, key=str), min(len(rows), chance.choice([0, 0, 1, 3]))
        ):
            if chance.random() < 0.4:
                del rows[key]
            else:
                rows[key] = (rows[key][0], chance.choice([0, 1, 2]))
        for key in chance.sample(_KEYS, chance.choice([0, 1, 2])):
            rows.setdefault(key, (chance.randrange(6), 1))


def _table(chance: random.Random, rows: dict[str | None, tuple[int, int]]) -> pa.Table:
    found = [(key, item, n) for key, (item, n) in rows.items()]
    if found and chance.random() < 0.3:  # twins, which are one link or all wrong
        key, item, n = chance.choice(found)
        found.append((key, item, chance.choice([n, 3])))
    if chance.random() < 0.3:
        chance.shuffle(found)
    return products(
        len(found),
        sku=pa.array([key for key, _, _ in found], pa.string()),
        name=[f"Product {item}" for _, item, _ in found],
        retailer_product_id=[str(500_000 + item) for _, item, _ in found],
        quantity=pa.array([n for _, _, n in found], pa.int64()),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "output", "mapping"),
    [(0, LINKS, _TWO_SETS), (1, LINKS, None), (2, DELTA, None), (3, DELTA, _TWO_SETS)],
)
def test_nights_of_parts_are_those_of_the_whole(
    settings: Settings, box: Sandbox, seed: int, output: Output, mapping: dict[str, Any] | None
) -> None:
    """Whatever is made, changed, gone, back, doubled, refused, held or in doubt."""
    chance = random.Random(seed)
    nights = Nights(settings, mapping, output)
    given = catalogs(chance)
    for number in range(8):
        more: dict[str, Any] = {"limit": chance.choice([None, None, None, 2])}
        if chance.random() < 0.2:
            more["rekeyed"] = chance.choice(list(Rekeyed))
        fault = chance.choice([None, None, "lost_before", "lost_after"])
        if fault is not None and number:
            box.fail_next(fault, times=2)
        nights.run(next(given), **more)
        check_equal(output)
    assert nights.parts >= 3
    assert box.audit().duplicates == 0


_APPLY = """
import sys
from incarts_pipeline import load_settings, plan_catalog, PlanRequest, apply_plan, run_blocking
from incarts_pipeline.publish import buckets

buckets.BUCKET_ROWS = 5
request = PlanRequest(catalog="shop", link_set="test", unique_key=("sku",), allow_empty=True)
settings = load_settings(rate="fixed:none", max_rps=None)
with plan_catalog(request, settings, output=sys.argv[1]) as plan:
    run_blocking(lambda stop: apply_plan(plan, settings, sys.argv[1], stop=stop))
"""


def apply_and_die(box: Sandbox, failpoint: str, output: Output) -> bool:
    """Run a night in a process that dies at a failpoint; say whether it did."""
    own = {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_LEDGER": "ledger.db",
        "INCARTS_FAILPOINT": failpoint,
    }
    done = subprocess.run(
        [sys.executable, "-c", _APPLY, output.links],
        env=os.environ | own,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode != 0


def links_of(output: Output) -> dict[str, str]:
    """Return each published row's link."""
    rows = read_published(output.links).to_pylist()
    return {row["row_key"]: row["link_id"] for row in rows}


def quantities(n: int, *twice: int) -> pa.Table:
    """Return products of which some are asked for twice."""
    return products(n, quantity=[2 if i in twice else 1 for i in range(n)])


@pytest.mark.slow
@pytest.mark.parametrize("output", [LINKS, DELTA], ids=["a folder", "a Delta table"])
@pytest.mark.parametrize("is_first", [False, True], ids=["a part", "the first time"])
def test_a_night_that_is_killed_is_put_right(
    settings: Settings, box: Sandbox, is_first: bool, output: Output
) -> None:
    """Before each of the files that it puts in place, the manifest too: the next run heals it."""
    nights = Nights(settings, output=output)
    if not is_first:
        for _ in range(2):
            nights.run(quantities(20))
    for file in (1, 4, 20):  # `test_two_writers` stops before each, in this process
        catalog = quantities(20 - file % 2, file % 9, file % 9 + 1)
        write(catalog)
        before = {} if is_first else links_of(output)
        died = apply_and_die(box, f"mid_publish:{file}", output)
        found = {} if is_first else links_of(output)
        nights.run(catalog)
        check_equal(output)
        if output is DELTA and not is_first:
            assert found in (before, links_of(output)), "a version is whole"
        if is_first:
            shutil.rmtree("links")
        assert died == (file < 20)
    assert box.audit().duplicates == 0


def publish_to(store: Store, settings: Settings) -> tuple[bool, list[str]]:
    """Publish the shop to a store; return whether as a part, and what was put there."""
    target = f"s3://links/parts/links/?{store.options}"
    request = PlanRequest(catalog="shop", link_set="test", unique_key=("sku",))
    store.writes()
    with plan_catalog(request, settings, output=target) as plan:
        run_blocking(lambda stop: apply_plan(plan, settings, target, stop=stop))
        return plan.is_part, [path[19:] for method, path in store.writes() if method == "PUT"]


def test_a_store_gets_what_changed(settings: Settings, store: Store) -> None:
    """Nothing on a quiet night, also over files that were written again as they were."""
    write(products(20))
    for _ in range(2):
        publish_to(store, settings)
    tags = store.tags()
    assert publish_to(store, settings) == (True, [])
    for file in Path("shop").iterdir():
        pq.write_table(pq.read_table(file), file)
    assert publish_to(store, settings) == (True, [])
    assert store.tags() == tags
    write(quantities(20, 7))
    is_part, put = publish_to(store, settings)
    assert is_part
    assert [name.split("/")[0].split("-")[0] for name in put] == [
        "bucket",
        "_state",
        "_history",
        "_manifest.json",
    ]


def test_a_part_is_not_merged_into_another_table(settings: Settings) -> None:
    """What was changed since the plan was made is made anew by the next run."""
    nights = Nights(settings)
    for _ in range(2):
        nights.run(quantities(20))
    write(quantities(20, 3))
    request = PlanRequest(catalog="shop", **nights.given)
    with plan_catalog(request, settings, output=LINKS.links) as plan:
        assert plan.is_part
        Path("links/_manifest.json").unlink()
        with pytest.raises(PublishError, match="was changed after its rows were compared"):
            run_blocking(lambda stop: apply_plan(plan, settings, LINKS.links, stop=stop))
    nights.run(quantities(20, 3))
    check_equal()


@pytest.mark.slow
def test_doubts_are_settled_by_a_later_night(settings: Settings, box: Sandbox) -> None:
    """Of a row that is there, and of one that has left: its link is missing from then on."""
    nights = Nights(settings)
    for _ in range(2):
        nights.run(products(20))
    box.fail_next("lost_after", times=50)
    nights.run(products(22))
    check_equal()
    nights.run(products(21))
    box.fail_next("lost_after", times=0)
    assert nights.run(products(21)).written.requests == 2
    check_equal()
    assert pq.read_table("links/_missing/missing.parquet")["row_key"].to_pylist() == ["000021"]
    assert nights.parts >= 3
