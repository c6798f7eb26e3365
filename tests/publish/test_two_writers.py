"""Two writers of one dataset or Delta table: what is gone on from is of one of them, and whole."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import IncartsError
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.publish import (
    Manifest,
    Output,
    facts_of,
    files,
    metadata_of,
    read_published,
    resolve,
)
from incarts_pipeline.publish.dataset import intact
from incarts_pipeline.publish.delta_log import DeltaLog
from incarts_pipeline.publish.freshness import Noting
from incarts_pipeline.publish.manifest import noted_place
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import Stop, run_blocking
from incarts_pipeline.write import WriteOptions
from tests.support.runs import products
from tests.support.stores import Store

ROWS = 8
PLACES = {
    "a folder": "links/",
    "a store": "s3://links/set/links/?{options}",
    "a Delta table": "delta://links",
    "a Delta table on a store": "delta+s3://links/set/links?{options}",
}
MOST_STEPS = 9  # files that a run of these catalogs puts in place, and its commit


MANIFEST = "set/links/_manifest.json"


class KilledError(BaseException):
    """The end of a process."""


@dataclass
class Steps:
    """The files that one run puts in place, and its commit; before one of them, something else."""

    at: int = 0
    happens: Callable[[], object] = lambda: None
    passed: int = 0

    def pass_one(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.happens()


_STEPS: ContextVar[Steps | None] = ContextVar("steps", default=None)


@pytest.fixture(autouse=True)
def _stepwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run stop before each file, and before its commit."""
    commit = DeltaLog.commit

    def passing(*_: object) -> None:
        if (steps := _STEPS.get()) is not None:
            steps.pass_one()

    def committing(self: DeltaLog, *args: Any) -> None:
        passing()
        commit(self, *args)

    monkeypatch.setattr(files, "passing", passing)
    monkeypatch.setattr(DeltaLog, "commit", committing)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> str:
    """Where the links go."""
    place = PLACES[request.param]
    if "{options}" not in place:
        return place
    return place.format(options=request.getfixturevalue("store").options)


anywhere = pytest.mark.parametrize("target", PLACES, indirect=True)


@dataclass
class Shop:
    """Runs of one link set over catalogs that differ in quantities."""

    settings: Settings
    target: str

    def request(self, *twice: int) -> PlanRequest:
        """Write the catalog: of which products two are put into a cart."""
        catalog = products(ROWS, quantity=[2 if i in twice else 1 for i in range(ROWS)])
        pq.write_table(catalog, "shop.parquet")
        return PlanRequest(catalog="shop.parquet", link_set="test", unique_key=("sku",))

    def night(self, *twice: int, steps: Steps | None = None, **more: Any) -> bool:
        """Plan and publish; return whether the plan was of a part."""
        request, exact = self.request(*twice), more.get("exact", False)
        output = more.get("output", self.target)

        with plan_catalog(request, self.settings, output=output, exact=exact) as plan:
            options = WriteOptions(approved=plan.figures.digest)

            async def go(stop: Stop) -> None:
                _STEPS.set(steps)  # here, as it runs in a thread of its own
                await apply_plan(plan, self.settings, output, options=options, stop=stop)

            run_blocking(go)
            return plan.is_part

    def settle(self, *twice: int) -> None:
        """Publish until nothing is open."""
        for _ in range(2):  # what was made is then known to be so
            self.night(*twice)

    def check(self, *twice: int) -> bool:
        """Compare a plan with that of all rows; return whether it was of a part."""
        request = self.request(*twice)
        with (
            plan_catalog(request, self.settings) as whole,
            plan_catalog(request, self.settings, output=self.target) as plan,
        ):
            assert plan.figures == whole.figures
            return plan.is_part

    def check_published(self, *twice: int) -> None:
        """Compare what a night publishes with what is published of all rows."""
        self.night(*twice)
        self.night(*twice, output="whole.parquet")
        assert _links(self.target) == _links("whole.parquet")
        assert intact(Output(links=self.target)) is not None


def _links(target: str) -> dict[str, str]:
    columns = ["row_key", "link_id"]
    return dict(
        zip(*(read_published(target, columns)[c].to_pylist() for c in columns), strict=True)
    )


@pytest.fixture
def shop(settings: Settings, target: str) -> Shop:
    """A shop whose links are published at a target."""
    return Shop(settings, target)


@pytest.mark.slow
@anywhere
def test_a_late_loser_leaves_nothing_that_is_read(shop: Shop) -> None:
    """Before each of its files another run publishes; then it goes on, or is told, or dies."""
    # Each time the plans and what is published are compared, until a run has no more steps.
    assert any(_overtaken(shop, at) < at for at in range(1, MOST_STEPS))


@pytest.mark.parametrize("target", ["a Delta table on a store"], indirect=True)
def test_what_a_loser_saw_is_not_taken_for_what_the_winner_saw(shop: Shop) -> None:
    """Its snapshot is as large as the winner's, and came no later than the winner's manifest."""
    assert _overtaken(shop, at=2) >= 2


def _overtaken(shop: Shop, at: int) -> int:
    """Let another run publish before one of a run's steps; return how many steps that had."""
    shop.settle(3)
    steps = Steps(at, lambda: shop.night(3, 7))
    with suppress(IncartsError):
        shop.night(3, at % 3, steps=steps)
    # Row 7 as the first run saw it, which the second one gave another link.
    shop.check(3, at % 3)
    shop.check(3, 7)
    shop.check_published(3, at % 3)
    return steps.passed


@pytest.mark.slow
@anywhere
def test_a_run_may_die_at_each_step(shop: Shop) -> None:
    """Alone, or after another one came between: the next plan is that of all rows."""

    def die() -> None:
        raise KilledError

    def overtaken() -> None:
        shop.night(3, 7)
        raise KilledError

    for at in range(1, MOST_STEPS):
        both = (die, overtaken)
        # In turn where a night takes several times as long.
        for happens in both if shop.target == PLACES["a folder"] else both[at % 2 :][:1]:
            shop.settle(3)
            steps = Steps(at, happens)
            with suppress(KilledError):
                shop.night(3, at % 3, steps=steps)
            shop.check(3, at % 3)
            shop.check(3, 7)
            shop.check_published(3, at % 3)
        if steps.passed < at:
            return
    raise AssertionError("a run has more steps")


@pytest.mark.slow
@anywhere
def test_a_stalled_run_goes_on_within_another(shop: Shop) -> None:
    """What the one had still to write comes between two files of the other, a part or the whole."""
    parts = 0
    # Every third pair of steps in a folder; elsewhere a night takes ten times as long.
    apart = 3 if shop.target == PLACES["a folder"] else 9
    for at in range(1, MOST_STEPS):
        for then in range(1 + at % apart, MOST_STEPS, apart):
            shop.settle(3)
            first = Stalled(shop, at)
            others = Steps(then, first.end)
            with suppress(IncartsError):
                shop.night(3, 7, steps=others, exact=at % 2 == 1)
            first.end()
            parts += shop.check(3, 7)
            shop.check(3, at % 3)
            shop.check_published(3, at % 3)
            if others.passed < then:
                break
        if first.steps.passed < at:
            break
    assert parts, "nothing was gone on from"


class Stalled:
    """A run that waits before one of its steps until it is let go on."""

    def __init__(self, shop: Shop, at: int) -> None:
        """Start it, and wait until it waits, or is over."""
        self._stalled, self._go_on = threading.Event(), threading.Event()
        self.steps = Steps(at, self._stall)
        self._thread = threading.Thread(target=self._run, args=(shop, at % 3))
        self._thread.start()
        while self._thread.is_alive() and not self._stalled.wait(0.01):
            pass

    def _run(self, shop: Shop, twice: int) -> None:
        with suppress(IncartsError):
            shop.night(3, twice, steps=self.steps)

    def _stall(self) -> None:
        self._stalled.set()
        self._go_on.wait(60)

    def end(self) -> None:
        """Let it go on to its end."""
        self._go_on.set()
        self._thread.join(60)


@pytest.mark.parametrize("target", ["a folder"], indirect=True)
def test_what_nobody_reads_any_more_is_removed(shop: Shop) -> None:
    """By a later run: not what the manifest before names, nor what may be of a run under way."""
    shop.settle()
    first = seen()
    shop.night(3)
    second = seen() - first
    assert first < seen(), "who planned before that night still reads them"
    one = min(first)
    theirs = Path(shutil.copy(one, one.with_name(f"{one.name[:11]}-{'0' * 32}.parquet")))
    shop.night(3)
    assert first | second | {theirs} < seen(), "they may be of a run under way"
    for one in first | second | {theirs}:
        os.utime(one, (0, 0))
    shop.night(3, 4)
    assert not seen() & (first | {theirs})
    shop.night(3, 4)
    assert not seen() & second
    assert shop.check(3, 4)


@pytest.mark.parametrize("target", ["a folder"], indirect=True)
def test_what_the_manifest_before_names_stays_though_a_file_of_it_was_changed(shop: Shop) -> None:
    """Who planned with it may still read it, however old it is."""
    shop.settle(3)
    output = Output(links=shop.target)
    before = Manifest.of(output)
    assert before is not None
    Path("links/bucket-0000.parquet").write_bytes(b"PAR1")
    for name in before.files:
        os.utime(Path("links", name), (0, 0))
    shop.night(3, 7)
    assert all(Path("links", name).is_file() for name in before.files)
    assert intact(output) is not None


@pytest.mark.parametrize("target", ["a Delta table on a store"], indirect=True)
def test_a_snapshot_that_comes_again_is_what_it_was(shop: Shop, store: Store) -> None:
    """A loser that saw the same puts it there after the winner's manifest."""
    shop.settle(3)
    manifest = Manifest.of(Output(links=shop.target))
    assert manifest is not None
    [one] = manifest.below("_state/")
    name = f"set/links/{one}"
    content = store.client.get_object(Bucket="links", Key=name)["Body"].read()
    time.sleep(1.1)  # dates are of whole seconds
    store.client.put_object(Bucket="links", Key=name, Body=content)
    assert shop.check(3)


def seen() -> set[Path]:
    """Return the files in which a dataset has what was seen of the catalog."""
    return set(Path("links/_state").iterdir())


@pytest.mark.parametrize("target", ["a store"], indirect=True)
@pytest.mark.parametrize("name", ["bucket-0000.parquet", "_missing/missing.parquet"])
def test_a_file_of_another_run_is_not_taken_for_ones_own(
    shop: Shop, store: Store, name: str
) -> None:
    """Though it is as large and no younger than the manifest: it says which run wrote it."""
    shop.settle()
    assert shop.check()
    links, companion = shop.target.split("?")
    place = f"{links}{name}?{companion}"
    table, there = published_table(place)
    other = metadata_of({**facts_of(table.schema), "run_id": "0" * 12})
    schema = table.schema.with_metadata(other)
    assert files.put_table(table.cast(schema).to_batches(), schema, place).size == there
    content = store.client.get_object(Bucket="links", Key=MANIFEST)["Body"].read()
    store.client.put_object(Bucket="links", Key=MANIFEST, Body=content)
    assert not shop.check()
    shop.settle()
    assert shop.check()


def published_table(place: str) -> tuple[pa.Table, int]:
    """Return a file's rows and its size."""
    filesystem, path = resolve(place)
    return pq.read_table(path, filesystem=filesystem), filesystem.get_file_info(path).size


@anywhere
def test_a_dataset_of_earlier_versions_is_gone_on_from(shop: Shop) -> None:
    """Its files have names that others may take: on a store all rows are planned once."""
    shop.settle(3)
    output = Output(links=shop.target)
    _as_it_was(output, shop.settings)
    assert shop.check(3) == (not shop.target.startswith(("s3", "delta+s3")))
    shop.night(3, 4)
    shop.check(3)
    shop.check_published(3, 4)
    shop.settle(3, 4)
    assert shop.check(3, 4)


def _as_it_was(output: Output, settings: Settings) -> None:
    """Name a dataset's companions as earlier versions did."""
    found = Manifest.of(output)
    assert found is not None
    filesystem, folder = resolve(output.links)
    renamed = {}
    for name, one in found.files.items():
        old = re.sub("-[0-9a-f]{32}", "", name) if "/" in name else name
        if old != name:
            filesystem.move(f"{folder}/{name}", f"{folder}/{old}")
        renamed[old] = replace(one, run_id="")
    place = noted_place(output.manifest)
    with Noting(settings.ledger, place) as noting:
        noting.made(place, "", replace(found, files=renamed).write(output).sha256)
