"""Requests whose answer is unknown: replayed under the same key, or left to a person."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from incarts_pipeline.api import client_of
from incarts_pipeline.api.probe import probe
from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.display.summary import made_line
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger import Process, claim_doubts, end_run, replay_rule, start_run
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan import Plan, replan
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import ApiKey, Limit, Sandbox
from incarts_pipeline.settings import LedgerPlace, Settings, key_fingerprint
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write import run as writing
from incarts_pipeline.write.circuit_breaker import EndKind
from tests.support.clocks import LaterClock
from tests.support.ledgers import ON_ONE_KIND, said
from tests.support.runs import Run, apply_at, products, row


def operation(ledger: LedgerPlace) -> tuple[object, ...]:
    """Return the only operation's state, error code and number of attempts."""
    query = "SELECT state, error_code, attempts FROM operation"
    [only] = said(ledger, query, read_only=True)  # a clock may ask while a run writes
    return only


def operation_of(ledger: LedgerPlace, row_key: str) -> tuple[object, ...]:
    """Return the state of a row's only operation."""
    [only] = said(ledger, "SELECT state FROM operation WHERE row_key = :key", key=row_key)
    return only


@ON_ONE_KIND
@pytest.mark.parametrize(
    "fault", ["lost_before", "lost_after", "error_before", "error_after", "half_answer", "no_id"]
)
def test_one_fault_is_settled_within_the_run(run: Run, box: Sandbox, fault: str) -> None:
    """Whatever befalls the first attempt, the replay under the same key brings one link."""
    box.fail_next(fault)
    result = run(products(1))
    assert result.exit_code() == 0
    assert row()["attempts"] == 2
    assert (box.audit().links, box.audit().duplicates) == (1, 0)


@ON_ONE_KIND
@pytest.mark.slow
@pytest.mark.parametrize("replay", ["same", "stored_errors"])
def test_error_that_keeps_coming_stays_a_doubt(run: Run, box: Sandbox, replay: str) -> None:
    """A 500 under one key is replayed under it, never under a new one, and reported as doubt."""
    box.reconfigure(replay=replay)
    box.fail_next("error_before", times=100)
    result = run(products(1), max_duration=3.0)
    assert result.exit_code() == 3
    assert row()["status"] == "in_doubt"
    keys = {one.idempotency_key for one in box.requests()}
    assert len(keys) == 1


def test_next_run_settles_a_doubt_first(run: Run, box: Sandbox) -> None:
    """What one run left in doubt, the next one settles with the same key and bytes."""
    box.fail_next("error_after", times=3)
    assert run(products(1), until=1).exit_code() == 3
    assert run(products(1)).exit_code() == 0
    assert row()["status"] == "created"
    assert len({one.idempotency_key for one in box.requests()}) == 1
    assert (box.audit().links, box.audit().second_bodies) == (1, 0)


def test_what_another_sends_until_a_plan_is_made_again_is_waited_for(
    run: Run, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan made again counts among its doubts what another had sent by then."""
    box.fail_next("error_after", times=3)
    assert run(products(1), until=1).exit_code() == 3
    planned: list[float] = []
    asked: list[float] = []

    def replanned(plan: Plan, now: Stamp) -> Plan:
        planned.append(Clock().now().wall)
        return replan(plan, now)

    def busy(*_: object, before: Stamp) -> bool:
        asked.append(before.wall)
        return False

    monkeypatch.setattr(writing, "replan", replanned)
    monkeypatch.setattr(writing, "busy_elsewhere", busy)
    assert run(products(1)).exit_code() == 0
    assert asked[-1] >= planned[-1] > asked[0]


def test_doubt_that_another_run_takes_on_meanwhile_is_waited_for(
    run: Run, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that had it dies while this one waits, and a third is faster to take it on."""
    box.fail_next("error_after", times=3)
    assert run(products(1), until=1).exit_code() == 3
    asked = 0

    def claimed(
        connection: sa.Connection, set_ids: list[int], run_id: str, living: dict[str, object]
    ) -> object:
        nonlocal asked
        asked += 1
        now = Clock().now()
        if asked == 1:  # the dead run's lease has not lapsed
            return []
        if asked == 2:
            start_run(connection, "faster", ["test"], Process.current(), now)
            assert claim_doubts(connection, set_ids, "faster", living)
            living["faster"] = None
            return []
        if asked == 3:
            end_run(connection, "faster", "finished", now)
            living.pop("faster")
        return claim_doubts(connection, set_ids, run_id, living)

    monkeypatch.setattr(writing, "claim_doubts", claimed)
    assert run(products(1)).exit_code() == 0
    assert row()["status"] == "created"
    assert (box.audit().links, box.audit().duplicates) == (1, 0)


def test_old_doubt_needs_review(
    ledger: LedgerPlace, settings: Settings, box: Sandbox, run: Run
) -> None:
    """A doubt older than the window is never resent by itself; the row says so."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    assert row()["status"] == "in_doubt"
    requests = box.audit().requests
    result = apply_at(settings, LaterClock(3600))
    assert result.exit_code() == 3
    assert box.audit().requests == requests
    assert operation(ledger)[:2] == ("needs_review", "too_old")
    assert (row()["status"], row()["reason"]) == ("in_doubt", "needs_review")
    assert apply_at(settings, Clock()).written.requests == 0


class StandsStill(Clock):
    """Five seconds before the deadline of the only doubt; ten later once its replay is marked."""

    def __init__(self, ledger: LedgerPlace, deadline: float) -> None:
        self._ledger = ledger
        query = "SELECT first_sent_at / 1e6, first_sent_boot, boot_id FROM operation"
        [(wall, boot, boot_id)] = said(ledger, query)
        ago = deadline - 5
        self._stamp = Stamp(wall=wall + ago, boot=boot + ago, boot_id=boot_id)
        self._is_marked = False

    def now(self) -> Stamp:
        """Return one of the two instants."""
        self._is_marked = self._is_marked or operation(self._ledger)[0] == "sent"
        later = 10 if self._is_marked else 0
        stamp = self._stamp
        return replace(stamp, wall=stamp.wall + later, boot=stamp.boot + later)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)  # a database has its own clock
def test_doubt_that_grows_too_old_after_its_mark_does_not_leave(
    settings: Settings, box: Sandbox, run: Run
) -> None:
    """A replay that was marked in time and would leave after the deadline is kept back."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    requests, (_, _, attempts) = box.audit().requests, operation(settings.ledger)
    apply_at(settings, StandsStill(settings.ledger, replay_rule(settings).deadline))
    assert box.audit().requests == requests
    assert operation(settings.ledger) == ("needs_review", "too_old", attempts + 1)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)  # a database has its own clock
def test_changed_clock_needs_review(
    ledger: LedgerPlace, settings: Settings, box: Sandbox, run: Run
) -> None:
    """A wall clock an hour off against the boot clock makes the age worthless."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    requests = box.audit().requests
    apply_at(settings, LaterClock(-3600, boot=5))
    assert box.audit().requests == requests
    assert operation(ledger)[:2] == ("needs_review", "clock_jumped")


def test_rotated_key_needs_review(
    ledger: LedgerPlace, settings: Settings, box: Sandbox, run: Run
) -> None:
    """A doubt under one API key isn't replayed under another."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    other = ApiKey(key="ic_sandbox_another_key")
    box.reconfigure(keys=(other,))
    requests = box.audit().requests
    changed = settings.model_copy(update={"api_key": SecretStr(other.key)})
    assert apply_at(changed, Clock()).written.requests == 0
    assert box.audit().requests == requests
    assert operation(ledger)[:2] == ("needs_review", "key_rotated")


@pytest.mark.parametrize("planned_with", ["ic_sandbox_the_first_key", None])
def test_key_that_sends_decides_not_the_plans(
    settings: Settings, box: Sandbox, run: Run, planned_with: str | None
) -> None:
    """A doubt isn't replayed under another key, whatever key the plan was made with, if any."""
    first, second = ApiKey(key="ic_sandbox_the_first_key"), ApiKey(key="ic_sandbox_another_key")
    box.reconfigure(keys=(first, second))
    box.fail_next("error_after", times=50)
    run(products(1), until=1, api_key=SecretStr(first.key))
    box.fail_next("error_after", times=0)
    key = SecretStr(planned_with) if planned_with else None
    request = PlanRequest(catalog=products(2), link_set="test", unique_key=("sku",))
    rotated = settings.model_copy(update={"api_key": SecretStr(second.key)})
    with plan_catalog(request, settings.model_copy(update={"api_key": key})) as plan:
        run_blocking(lambda stop: apply_plan(plan, rotated, "links.parquet", stop=stop))
    columns = "state, error_code, api_key_fingerprint"
    found = said(settings.ledger, f"SELECT {columns} FROM operation ORDER BY row_key")
    assert found[0] == ("needs_review", "key_rotated", key_fingerprint(SecretStr(first.key)))
    assert found[1] == ("done", None, key_fingerprint(SecretStr(second.key)))


@pytest.mark.slow
def test_doubt_is_settled_though_its_row_left(ledger: LedgerPlace, run: Run, box: Sandbox) -> None:
    """A row that left the catalog in doubt is settled all the same, and reported as missing."""
    box.fail_next("error_after", times=3, where="500001")
    run(products(2), until=2)
    assert operation_of(ledger, "000001")[0] == "in_doubt"
    run(products(1))
    assert operation_of(ledger, "000001")[0] == "done"
    run(products(1))
    [missing] = pq.read_table("links.missing.parquet").to_pylist()
    assert missing["row_key"] == "000001"
    assert (box.audit().links, box.audit().duplicates) == (2, 0)


def test_change_follows_its_doubt_in_one_run(ledger: LedgerPlace, run: Run, box: Sandbox) -> None:
    """A row that changed while in doubt is settled first, and then replaced in the same run."""
    box.fail_next("error_after", times=3, where="500000")
    run(products(1), until=1)
    assert operation(ledger)[0] == "in_doubt"
    result = run(products(1, quantity=[7]))
    assert result.exit_code() == 0
    changed = row()
    assert (changed["status"], changed["is_stale"]) == ("replaced", False)
    history = pq.read_table("links.history.parquet").to_pylist()
    assert len(history) == 2
    assert changed["replaces_link_id"] in {one["link_id"] for one in history}


def test_change_back_reuses_at_once_and_still_settles(run: Run, box: Sandbox) -> None:
    """A → B in doubt → A keeps A's link, also when the row is pinned by then; B is settled."""
    run(products(1))
    first = row()["link_id"]
    box.fail_next("error_after", times=50, where='"quantity":7')
    run(products(1, quantity=[7]), until=1)
    assert (row()["status"], row()["link_id"]) == ("in_doubt", first)
    box.fail_next("error_after", times=0, where='"quantity":7')
    result = run(products(1, pinned=[True]))
    assert result.exit_code() == 0
    assert (row()["status"], row()["link_id"], row()["is_stale"]) == ("unchanged", first, False)
    history = pq.read_table("links.history.parquet").to_pylist()
    assert [(one["state"], one["is_current"]) for one in history] == [
        ("done", True),
        ("done", False),
    ]
    assert (box.audit().links, box.audit().duplicates) == (2, 0)


@pytest.mark.parametrize("status", [401, 422, 429])
def test_doubt_is_sticky(
    ledger: LedgerPlace, run: Run, settings: Settings, box: Sandbox, status: int
) -> None:
    """A 429, 401 or 422 on a replay leaves the row in doubt, as old as it was."""
    box.fail_next("lost_before", times=50)
    run(products(1), until=1)
    box.fail_next("lost_before", times=0)
    first_sent = first_sent_at(ledger)
    trouble: dict[str, object] = {
        401: {"keys": (ApiKey(key="ic_sandbox_another_key"),)},
        422: {"retailers": frozenset({"target"})},
        429: {"limits": [Limit(kind="fixed", requests=1, seconds=3600.0)], "count_refused": True},
    }[status]
    box.reconfigure(**trouble)
    asyncio.run(use_up(settings))
    run(products(1), until=1)
    assert operation(ledger)[0] == "in_doubt"
    assert first_sent_at(ledger) == first_sent
    assert status in {one.status for one in box.requests()}


async def use_up(settings: Settings) -> None:
    """Make one request that makes nothing."""
    client = client_of(settings.for_client())
    async with client:
        await probe(client)


def first_sent_at(ledger: LedgerPlace) -> int:
    """Return when the only operation's oldest doubtful attempt was sent."""
    [[at]] = said(ledger, "SELECT first_sent_at FROM operation")
    return int(at)


@ON_ONE_KIND
@pytest.mark.slow
def test_doubt_that_outlasts_the_run_ends_it(run: Run, box: Sandbox) -> None:
    """Patience with one row is bounded: the run ends with exit 3 and the others' links."""
    box.fail_next("error_before", times=1_000, where="500001")
    result = run(products(3))
    assert result.exit_code() == 3
    assert result.published.by_status[Status.CREATED] == 2
    assert result.published.by_status[Status.IN_DOUBT] == 1


def in_doubt(box: Sandbox, run: Run, table: object, where: str) -> None:
    """Run a catalog whose rows matching `where` are made, but never answered."""
    box.fail_next("error_after", times=500, where=where)
    for seconds in (0.5, 2.0, 8.0):  # a busy machine may not get to send anything at first
        if run(table, max_duration=seconds).published.by_status[Status.IN_DOUBT]:
            break
    box.fail_next("error_after", times=0, where=where)


def test_pinned_row_keeps_its_link_whatever_comes_of_a_doubt(run: Run, box: Sandbox) -> None:
    """Its code is printed: a replacement that turns out to exist becomes history."""
    run(products(1, pinned=[False]))
    printed = row()["link_id"]
    in_doubt(box, run, products(1, quantity=[2], pinned=[False]), "500000")
    run(products(1, quantity=[2], pinned=[True]))
    assert (row()["status"], row()["reason"], row()["link_id"]) == ("held", "pinned", printed)
    assert (box.audit().links, box.audit().duplicates) == (2, 0)
    assert run(products(1, quantity=[2], pinned=[True])).written.requests == 0


@ON_ONE_KIND
def test_settled_doubts_are_not_told_as_rows_links(run: Run, box: Sandbox) -> None:
    """A doubt's own link is older content's: it and its row's new one are no two for one row."""
    in_doubt(box, run, products(1), "500000")
    result = run(products(1, quantity=[5]))
    assert (box.audit().links, result.written.requests) == (2, 2)
    assert made_line(result).startswith("2 requests in ")


@ON_ONE_KIND
@pytest.mark.slow
def test_guards_are_asked_again_once_doubts_are_settled(run: Run, box: Sandbox) -> None:
    """Changes that hid behind doubts don't slip past the mass-change guard."""
    n = 30
    in_doubt(box, run, products(n), "quantity")
    result = run(products(n, quantity=[2] * n))
    assert result.written.end is not None
    assert result.written.end.kind is EndKind.REFUSED
    assert "100% of the 30 links" in result.written.end.message
    assert box.audit().links == n
    with pytest.raises(RefusedError, match="100% of the 30 links") as refused:
        run(products(n, quantity=[2] * n))
    assert run(products(n, quantity=[2] * n), approved=refused.value.digest).exit_code() == 0
    assert (box.audit().links, box.audit().duplicates) == (2 * n, 0)


@ON_ONE_KIND
@pytest.mark.slow
def test_a_guard_that_trips_after_doubts_trips_again(run: Run, box: Sandbox) -> None:
    """Rows that left aren't taken for missing by the run that the guard ended."""
    n = 30
    in_doubt(box, run, products(n), "quantity")
    others = products(2 * n).slice(n)
    for _ in range(2):
        told = ""
        try:
            end = run(others).written.end
            told = end.message if end is not None else ""
        except RefusedError as error:
            told = error.message
        assert "go missing (30)" in told
    assert box.audit().links == n


@ON_ONE_KIND
def test_run_that_ends_before_its_calls_is_published(run: Run, box: Sandbox) -> None:
    """A doubt meets a 401, so no call is looked at: the table is there, with a limit too."""
    in_doubt(box, run, products(1), "500000")
    box.reconfigure(keys=(ApiKey(key="ic_sandbox_another_key"),))
    result = run(products(3), limit=5)
    assert result.written.end is not None
    assert result.written.end.kind is EndKind.UNAUTHORIZED
    assert result.published.by_status[Status.PENDING] == 2
    assert pq.read_table("links.parquet").num_rows == 3
