"""Plans that are enqueued, carried out by workers, and published, on a ledger of each kind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from incarts_pipeline.cli.show import tell_result
from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.dataframes.result import how_to_go_on
from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.ledger import (
    LedgerReader,
    LivingRun,
    Operation,
    Process,
    Task,
    claim_enqueued,
    end_run,
    living_runs,
    start_run,
    tables,
)
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Reason, State, Status
from incarts_pipeline.pipeline import RunResult, plan_catalog, plan_saved
from incarts_pipeline.plan import PlanRequest, load_plan, save_plan
from incarts_pipeline.sandbox import ApiKey, Faults, Sandbox
from incarts_pipeline.settings import DatabasePlace, LedgerPlace, Settings
from incarts_pipeline.sync import Stop, run_blocking
from incarts_pipeline.workers import EnqueueResult, enqueue_plan, publish_plan, work
from incarts_pipeline.write import WorkOptions, WorkResult, WriteOptions, work as working
from tests.support.ledgers import ON_ONE_KIND, said
from tests.support.runs import Run, products, run_until

MAPPING: dict[str, Any] = {
    "link_set": "test",
    "unique_key": ["sku"],
    "link": {
        "name": {"column": "name"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "retailer_product_id"}},
    },
}

Enqueue = Callable[..., EnqueueResult]
Work = Callable[..., WorkResult]
Publish = Callable[..., RunResult]


@pytest.fixture
def ledger(place: LedgerPlace) -> LedgerPlace:
    """The place of the ledger, of each kind."""
    return place


def request_of(catalog: object, **planning: Any) -> PlanRequest:
    """Return what to plan of a catalog that needs no mapping."""
    return PlanRequest(
        **{"link_set": "test", "unique_key": ("sku",), "catalog": catalog} | planning
    )


@pytest.fixture
def enqueue(settings: Settings) -> Enqueue:
    """Plan a catalog and enqueue what it calls for, without a key."""
    keyless = settings.model_copy(update={"api_key": None})

    def go(catalog: object, *, planning: dict[str, Any] | None = None, **options: Any) -> Any:
        with plan_catalog(request_of(catalog, **planning or {}), keyless) as plan:
            asked = WriteOptions(**options)
            return run_blocking(
                lambda stop: enqueue_plan(plan, keyless, "links.parquet", options=asked, stop=stop)
            )

    return go


@pytest.fixture
def worker(settings: Settings) -> Work:
    """Work on what is enqueued; with `until`, out of time after so many requests."""

    def go(until: int | None = None, **options: Any) -> WorkResult:
        used = settings.model_copy(
            update={k: options.pop(k) for k in list(options) if k in Settings.model_fields}
        )
        asked = WorkOptions(**options)
        return run_until(
            until, lambda stop, metrics: work(used, options=asked, metrics=metrics, stop=stop)
        )

    return go


@pytest.fixture
def publish(settings: Settings) -> Publish:
    """Plan a catalog and publish what the ledger says of it, without a key."""
    keyless = settings.model_copy(update={"api_key": None})

    def go(catalog: object, output: str = "links.parquet", **planning: Any) -> RunResult:
        with plan_catalog(request_of(catalog, **planning), keyless) as plan:
            return run_blocking(lambda _: publish_plan(plan, keyless, output))

    return go


def told(output: str = "links.parquet") -> Counter[tuple[str, str]]:
    """Count a published table's rows by status and reason."""
    rows = pq.read_table(output, columns=["status", "reason"]).to_pylist()
    return Counter((row["status"], row["reason"]) for row in rows)


def operations(ledger: LedgerPlace) -> list[Any]:
    """Return all operations, in order."""
    query = tables.operation.select().order_by(tables.operation.c.op_id)
    return LedgerReader(ledger).read(lambda c: c.execute(query).all())


@ON_ONE_KIND
def test_publishing_says_how_to_go_on(
    enqueue: Enqueue, worker: Work, publish: Publish, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits for a worker, and what nobody enqueued, is told apart; what others made isn't."""
    told = enqueue(products(3))
    assert str(told) == repr(told) == "enqueued: 3 links. Make them with `incarts work`."
    result = publish(products(5))
    tell_result(result, (), as_json=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "2 rows are not enqueued: `incarts apply --enqueue` does that" in said
    assert "3 rows wait for a worker: run `incarts work`, then publish again" in said
    assert "run the same command again" not in said
    in_python = how_to_go_on(result)
    assert in_python[:2] == [
        "2 rows are not enqueued: plan.enqueue() does that.",
        "3 rows are enqueued: run `incarts work`, then plan.publish() again.",
    ]
    worker()
    tell_result(publish(products(3)), (), as_json=False)
    said = capsys.readouterr().err
    assert "created" in said
    assert "0 requests in" in said
    assert "0 links for" not in said


def test_three_steps_are_one_apply(
    run: Run, enqueue: Enqueue, worker: Work, publish: Publish, box: Sandbox, tmp_path: Any
) -> None:
    """What is enqueued, made and published is what apply publishes, column by column."""
    run(products(30), output="applied.parquet")
    enqueued = enqueue(products(30), planning={"link_set": "other"}).enqueued
    assert (enqueued.links, enqueued.doubts, box.audit().links) == (30, 0, 30)
    result = worker()
    assert (result.made, result.requests, result.exit_code()) == (30, 30, 0)
    assert publish(products(30), link_set="other").exit_code() == 0
    assert box.audit().links == 60
    own = (
        "link_set",
        "link_id",
        "short_link",
        "short_id",
        "qr_code_id",
        "qr_image_url",
        "qr_encoded_url",
    )
    times = ("link_created_at", "settled_at", "settled_run_id", "idempotency_key", "correlation_id")
    ours = pq.read_table("links.parquet").drop_columns([*own, *times])
    theirs = pq.read_table("applied.parquet").drop_columns([*own, *times])
    assert ours.to_pylist() == theirs.to_pylist()


@ON_ONE_KIND
def test_nothing_is_enqueued_that_a_lost_ledger_knew(
    enqueue: Enqueue, run: Run, settings: Settings, box: Sandbox
) -> None:
    """The published table knows its links: they are not left to workers to be made again."""
    run(products(5), output="links.parquet")
    another = settings.model_copy(update={"ledger": Path("another.db")})
    with (
        plan_catalog(request_of(products(5)), another) as plan,
        pytest.raises(RefusedError, match="5 links"),
    ):
        run_blocking(lambda stop: enqueue_plan(plan, another, "links.parquet", stop=stop))
    assert box.audit().links == 5


def test_enqueued_twice_is_made_once(
    enqueue: Enqueue, worker: Work, box: Sandbox, ledger: LedgerPlace
) -> None:
    """The same plan again records nothing more; once it is made, nothing is left to enqueue."""
    enqueue(products(20))
    before = [op.idempotency_key for op in operations(ledger)]
    assert enqueue(products(20)).enqueued.links == 20
    assert [op.idempotency_key for op in operations(ledger)] == before
    worker()
    assert enqueue(products(20)).enqueued.links == 0
    assert worker().requests == 0
    assert box.audit().links == 20


def test_outdated_content_is_never_sent(
    enqueue: Enqueue, worker: Work, publish: Publish, box: Sandbox, ledger: LedgerPlace
) -> None:
    """Changed rows are made as they are now, rows that left not at all."""
    enqueue(products(10))
    changed = products(10, quantity=[5] * 10).slice(0, 6)
    assert enqueue(changed).enqueued.links == 6
    assert worker().made == 6
    assert publish(changed).published.by_status[Status.CREATED] == 6
    assert box.audit().links == 6
    rows = pq.read_table("links.parquet").to_pylist()
    assert all(str(row["target_url"]).endswith("_5") for row in rows)
    assert Counter(op.state for op in operations(ledger)) == {"done": 6}


def test_a_doubt_is_settled_before_a_change(
    enqueue: Enqueue, worker: Work, publish: Publish, box: Sandbox
) -> None:
    """A row that is in doubt and changed is settled first; enqueued again, its change is made."""
    enqueue(products(3))
    box.reconfigure(faults=Faults(lost_before=1.0))
    assert worker(until=3).exit_code() in (3, 4)
    box.reconfigure(faults=Faults())
    changed = products(3, quantity=[2] * 3)
    first = enqueue(changed)
    behind = first.enqueued.doubts
    assert behind
    assert (first.enqueued.behind_doubts, first.exit_code()) == (behind, 4)
    assert worker().exit_code() == 0
    assert enqueue(changed).exit_code() == 0
    assert worker().exit_code() == 0
    assert publish(changed).exit_code() == 0
    assert told().keys() <= {("replaced", "changed"), ("created", "new")}
    assert not box.audit().duplicates


def test_a_row_that_has_a_link_by_now_is_left_alone(
    enqueue: Enqueue, worker: Work, box: Sandbox, settings: Settings, ledger: LedgerPlace
) -> None:
    """A link that was taken over after its row was enqueued is the row's; none is made.

    Nothing beside a database says that it is the newest, so taking over empties its queue.
    """
    enqueue(products(2))
    made = pa.table({"sku": ["000000"], "link_id": ["lnk_by_hand"]})
    pq.write_table(made, "made.parquet")
    import_links("made.parquet", settings, unique_key=("sku",), link_set="test")
    if isinstance(ledger, DatabasePlace):
        assert worker().made == 0
        enqueue(products(2))
    assert worker().made == 1
    assert box.audit().links == 1


def test_apply_takes_over_what_is_enqueued(
    enqueue: Enqueue, worker: Work, run: Run, box: Sandbox, ledger: LedgerPlace
) -> None:
    """A plan that is applied is newer: what it makes, or doesn't want, is no worker's any more."""
    enqueue(products(10))
    assert run(products(10).slice(2), limit=3).exit_code() == 4
    assert box.audit().links == 3
    assert worker().requests == 0
    assert run(products(10).slice(2)).exit_code() == 0
    assert box.audit().links == 8
    assert all(op.turn is None for op in operations(ledger))


def test_published_while_workers_are_at_it(
    enqueue: Enqueue, worker: Work, publish: Publish
) -> None:
    """A table that is published meanwhile has what is made, and says what waits for whom."""
    enqueue(products(8), limit=6)
    assert worker(limit=2).exit_code() == 4
    assert publish(products(8)).exit_code() == 4
    assert told() == {
        ("created", "new"): 2,
        ("pending", "enqueued"): 4,
        ("pending", "not_enqueued"): 2,
    }
    assert worker().exit_code() == 0
    assert publish(products(8)).exit_code() == 4
    assert told() == {("created", "new"): 6, ("pending", "not_enqueued"): 2}
    enqueue(products(8))
    worker()
    assert publish(products(8)).exit_code() == 0
    assert told() == {("unchanged", "same"): 6, ("created", "new"): 2}
    first = pq.read_table("links.parquet")
    publish(products(8))
    assert pq.read_table("links.parquet").equals(first)


def test_priority_decides_the_turn(enqueue: Enqueue, worker: Work, publish: Publish) -> None:
    """What has the highest priority is made first, by whichever worker."""
    catalog = products(6, margin=[1, 5, 3, 6, 2, 4])
    mapping = MAPPING | {"priority": {"column": "margin"}}
    planning = {"mapping": mapping, "link_set": None, "unique_key": ()}
    enqueue(catalog, planning=planning)
    worker(limit=3)
    publish(catalog, **planning)
    rows = pq.read_table("links.parquet").to_pylist()
    assert [row["status"] for row in rows] == [
        "pending", "created", "pending", "created", "pending", "created"
    ]  # fmt: skip


@ON_ONE_KIND
def test_a_mass_change_is_approved_once(
    enqueue: Enqueue, worker: Work, publish: Publish, box: Sandbox
) -> None:
    """What was let through when it was enqueued needs no second word, also in part; more does."""
    enqueue(products(40))
    worker()
    changed = products(40, quantity=[7] * 40)
    with pytest.raises(RefusedError) as refused:
        enqueue(changed)
    assert refused.value.guard == "mass_change"
    enqueue(changed, approved=refused.value.digest)
    enqueue(changed)
    worker(limit=10)
    assert publish(changed).published.by_status[Status.REPLACED] == 10
    with pytest.raises(RefusedError):
        enqueue(products(40, quantity=[8] * 40))
    assert worker().made == 30
    assert publish(changed).published.by_status[Status.REPLACED] == 40
    assert box.audit().links == 80


@ON_ONE_KIND
def test_a_plan_file_is_enqueued_and_published(
    settings: Settings, worker: Work, box: Sandbox
) -> None:
    """A plan file knows what workers have made of it: it goes on, and is published at the end."""
    pq.write_table(products(9), "catalog.parquet")
    request = request_of("catalog.parquet")
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, "plan.incarts")
    saved = load_plan("plan.incarts")
    for limit in (4, None):
        with plan_saved(saved, settings) as plan:
            run_blocking(
                lambda stop, plan=plan: enqueue_plan(plan, settings, "links.parquet", stop=stop)
            )
        worker(limit=limit)
    with plan_saved(saved, settings) as plan:
        result = run_blocking(lambda _: publish_plan(plan, settings, "links.parquet"))
    assert result.exit_code() == 0
    assert box.audit().links == 9
    pq.write_table(products(9, quantity=[3] * 9), "catalog.parquet")
    with pytest.raises(RefusedError, match="moved"):
        plan_saved(saved, settings)


def test_workers_share_what_there_is(
    enqueue: Enqueue, settings: Settings, publish: Publish, box: Sandbox
) -> None:
    """Several workers at once make each link once, with faults of every kind."""
    box.reconfigure(faults=Faults.spread(0.3), late_seconds=0.05, stall_seconds=0.05)
    enqueue(products(120))

    async def all_at_once() -> list[WorkResult]:
        return await asyncio.gather(*(work(settings) for _ in range(3)))

    results = asyncio.run(all_at_once())
    assert sum(result.made for result in results) == 120
    assert {result.exit_code() for result in results} == {0}
    assert publish(products(120)).exit_code() == 0
    assert box.audit().links == 120
    assert not box.audit().duplicates


def test_what_a_run_leaves_behind_as_it_ends_is_carried_out(
    enqueue: Enqueue, worker: Work, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is the last one claims nothing, and then sees nobody at work any more."""
    enqueue(products(2))
    started = ended = False

    def living(connection: sa.Connection, me: Process, now: Stamp) -> dict[str, LivingRun]:
        nonlocal started
        if not started:
            start_run(connection, "other", [], me, now, task=Task.WORK)
            connection.execute(sa.update(tables.operation).values(run_id="other"))
            started = True
        return living_runs(connection, me, now)

    def claimed(connection: sa.Connection, *asked: Any) -> list[Operation]:
        nonlocal ended
        found = claim_enqueued(connection, *asked)
        if not ended:
            end_run(connection, "other", "finished", Clock().now())
            ended = True
        return found

    monkeypatch.setattr(working, "living_runs", living)
    monkeypatch.setattr(working, "claim_enqueued", claimed)
    assert worker().made == 2
    assert (box.audit().links, box.audit().duplicates) == (2, 0)


def test_a_worker_leaves_to_others_what_goes_out_later(
    enqueue: Enqueue, settings: Settings, box: Sandbox
) -> None:
    """From its first claim on, when it doesn't know yet what pace it is given."""
    enqueue(products(200))
    slow = settings.model_copy(update={"rate": "fixed:5"})

    async def beside() -> int:
        stop = Stop()
        at_work = asyncio.create_task(work(slow, stop=stop))
        while box.audit().requests < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        counts = "SELECT count(*) FROM operation WHERE run_id IS NOT NULL"
        [(claimed,)] = await asyncio.to_thread(said, settings.ledger, counts)
        stop.request(Reason.STOPPED)
        await at_work
        return int(claimed)

    assert 0 < asyncio.run(beside()) <= 40


def test_nothing_to_do(enqueue: Enqueue, worker: Work, settings: Settings, run: Run) -> None:
    """Without a ledger a worker refuses; with nothing in it for its project and sets it ends."""
    with pytest.raises(LedgerError, match="no ledger"):
        worker()
    enqueue(products(2))
    assert worker(project_id="another").exit_code() == 0
    assert worker(link_sets=("nosuch",)).exit_code() == 0
    assert worker(link_sets=("test",)).made == 2
    assert worker(wait_for_work=0.1).exit_code() == 0


def test_a_worker_waits_for_more(enqueue: Enqueue, settings: Settings, box: Sandbox) -> None:
    """What is enqueued while a worker waits, it makes; also of a link set that wasn't there."""
    enqueue(products(1))

    async def beside() -> WorkResult:
        waiting = asyncio.create_task(
            work(settings, options=WorkOptions(wait_for_work=300, limit=3))
        )
        while box.audit().links < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.to_thread(lambda: enqueue(products(2), planning={"link_set": "later"}))
        return await waiting

    assert asyncio.run(beside()).made == 3


@ON_ONE_KIND
def test_what_incarts_refuses_is_parked(
    enqueue: Enqueue, worker: Work, publish: Publish, box: Sandbox
) -> None:
    """A row that Incarts refuses is rejected, and not enqueued again."""
    box.reconfigure(max_quantity=3)
    bad = products(3, quantity=[1, 5, 1])
    enqueue(bad)
    result = worker()
    assert result.settled[State.REJECTED] == 1
    assert (result.exit_code(), result.exit_code((Status.REJECTED,))) == (0, 3)
    assert enqueue(bad).enqueued.links == 0
    publish(bad)
    assert told()["rejected", "refused_by_api"] == 1


@ON_ONE_KIND
def test_a_forbidden_kind_stays_enqueued(enqueue: Enqueue, worker: Work, box: Sandbox) -> None:
    """A 403 leaves that kind alone; the others are made, and the worker ends."""
    box.reconfigure(keys=(ApiKey(scopes=frozenset({"links:write", "retailers:walmart"})),))
    mixed = products(
        40,
        retailer=["walmart", "shop"] * 20,
        intent=["add_to_cart", "custom_url"] * 20,
        custom_url=[None, "https://shop.example/1"] * 20,
    )
    enqueue(mixed)
    result = worker()
    assert (result.made, result.pending, result.exit_code()) == (20, 20, 4)
    box.reconfigure(keys=(ApiKey(),))
    assert (worker().made, box.audit().links) == (20, 40)


@ON_ONE_KIND
def test_a_key_that_may_not_leaves_it_pending(enqueue: Enqueue, worker: Work, box: Sandbox) -> None:
    """Without the scope nothing is made, and what is enqueued stays so."""
    enqueue(products(4))
    result = worker(api_key=SecretStr("isk_of_nobody"))
    assert (result.exit_code(), result.pending) == (1, 4)
    assert worker().made == 4
