"""Carrying a plan out when things go wrong: doubts, replays, circuits, stops and limits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import LedgerError, LedgerLockedError, RefusedError
from incarts_pipeline.ledger import LEASE_SECONDS, LedgerReader
from incarts_pipeline.maintenance import open_cases
from incarts_pipeline.maintenance.status import ledger_overview, stop_runs
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import ApiKey, Limit, Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write.circuit_breaker import EndKind
from incarts_pipeline.write.options import IfRunning
from incarts_pipeline.write.run import Writer
from incarts_pipeline.write.send import MOST_FAILURES
from tests.support.ledgers import ON_ONE_KIND, said
from tests.support.runs import Run, products, row


def test_heartbeat_survives_a_ledger_that_was_locked(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that could not keep what it learned still hears `incarts stop`, and records its end."""

    def fails(*_: object) -> None:
        failed.set()
        raise LedgerLockedError("Another program holds the ledger locked.")

    failed = threading.Event()
    monkeypatch.setattr("incarts_pipeline.write.lease.RENEW_SECONDS", 0.05)
    monkeypatch.setattr("incarts_pipeline.write.lease.save_rate", fails)
    with ThreadPoolExecutor(1) as thread:
        going = thread.submit(run, products(60), rate="adaptive", max_rps=5.0, max_duration=8.0)
        assert failed.wait(300)
        assert len(stop_runs(settings)) == 1
        assert going.result(300).written.stopped is Reason.STOPPED
    assert stop_runs(settings) == {}


@pytest.mark.slow
def test_kept_plan_moves_no_row_that_another_run_has_moved(
    settings: Settings, run: Run, box: Sandbox
) -> None:
    """A plan to go back to an earlier link doesn't undo what a run after it has replaced."""
    run(products(1))
    run(products(1, quantity=[2]))
    request = PlanRequest(catalog=products(1), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        run(products(1, quantity=[3]))
        newest = row()["link_id"]
        run_blocking(lambda stop: apply_plan(plan, settings, "links.parquet", stop=stop))
    assert (row()["status"], row()["reason"]) == ("pending", "changed_elsewhere")
    assert row()["link_id"] == newest
    assert run(products(1)).written.requests == 0
    assert row()["status"] == "reused"


@ON_ONE_KIND
@pytest.mark.slow
def test_rate_limit_is_waited_out(run: Run, box: Sandbox) -> None:
    """429s cost time, not links: each row has its link in the end."""
    box.reconfigure(limits=[Limit(kind="bucket", requests=40, seconds=1.0, burst=5)])
    result = run(products(60), rate="fixed:80")
    assert result.published.by_status[Status.CREATED] == 60
    assert box.audit().statuses.get("429", 0) > 0
    assert (box.audit().links, box.audit().duplicates) == (60, 0)


@ON_ONE_KIND
@pytest.mark.slow
def test_used_up_limit_ends_the_run(run: Run, box: Sandbox) -> None:
    """A Retry-After of a day isn't waited out: exit 4, rows pending, and when to go on."""
    box.reconfigure(limits=[Limit(kind="anchored", requests=2, seconds=86_400.0)])
    result = run(products(5), rate="adaptive")
    assert result.exit_code() == 4
    assert result.written.end is not None
    assert result.written.end.kind is EndKind.RATE_LIMITED
    assert "Run again at" in result.written.end.fix
    assert result.published.by_status[Status.PENDING] == 3


@ON_ONE_KIND
@pytest.mark.slow
def test_learned_limit_is_kept_and_used(run: Run, settings: Settings, box: Sandbox) -> None:
    """What a run learned is in the ledger; the next plan reckons with it, and its run begins so."""
    box.reconfigure(limits=[Limit(kind="bucket", requests=100, seconds=1.0, burst=5)])
    adaptive = {"rate": "adaptive", "max_rps": None}
    run(products(900), **adaptive)
    [learned] = ledger_overview(settings).rates.values()
    assert learned.rate < 110
    result = run(products(960), **adaptive)
    assert result.figures.seconds == pytest.approx(60 / learned.rate)
    assert (box.audit().links, box.audit().duplicates) == (960, 0)


@ON_ONE_KIND
@pytest.mark.slow
def test_refused_rows_are_parked(run: Run, box: Sandbox) -> None:
    """A 422 rejects the row with the API's words, is not repeated, and can be retried on demand."""
    box.reconfigure(max_quantity=3)
    table = products(2, quantity=[1, 5])
    run(table)
    refused = pq.read_table("links.parquet").to_pylist()[1]
    assert (refused["status"], refused["reason"]) == ("rejected", "refused_by_api")
    assert refused["http_status"] in (400, 422)
    assert refused["error_message"]
    assert run(table).written.requests == 0
    box.reconfigure(max_quantity=100)
    assert run(table, retry_rejected=True).written.requests == 1
    assert pq.read_table("links.parquet")["status"].to_pylist() == ["unchanged", "created"]


@ON_ONE_KIND
def test_one_missing_scope_stops_its_kind_only(run: Run, box: Sandbox) -> None:
    """A 403 for Instacart leaves Walmart's links to be made, and exits 4."""
    box.reconfigure(keys=(ApiKey(scopes=frozenset({"links:write", "retailers:walmart"})),))
    table = products(
        4,
        retailer=["walmart"] * 3 + ["shop"],
        intent=["add_to_cart"] * 3 + ["custom_url"],
        custom_url=[None] * 3 + ["https://shop.example/1"],
    )
    result = run(table)
    assert result.exit_code() == 4
    rows = pq.read_table("links.parquet").to_pylist()
    assert [one["status"] for one in rows] == ["created"] * 3 + ["pending"]
    assert rows[3]["reason"] == "circuit_open"


@pytest.mark.slow
def test_out_of_time(run: Run, box: Sandbox) -> None:
    """--max-duration ends the run between requests; the rest is pending for that reason."""
    box.reconfigure(latency=0.3)
    result = run(products(200), max_duration=0.5)
    assert result.exit_code() == 4
    reasons = {
        one["reason"]
        for one in pq.read_table("links.parquet").to_pylist()
        if one["status"] == "pending"
    }
    assert reasons == {"out_of_time"}
    box.reconfigure(latency=0.0)
    assert run(products(200)).exit_code() == 0
    assert (box.audit().links, box.audit().duplicates) == (200, 0)


def test_fail_if_running(run: Run, settings: Settings) -> None:
    """With --if-running fail, a living run on the same link set stops this one."""
    run(products(1))
    lease = round((time.time() + LEASE_SECONDS) * 1e6)
    changes = "ended_at = NULL, boot_id = 'elsewhere', lease_until = :lease"
    said(settings.ledger, f"UPDATE run SET {changes}", lease=lease)
    with pytest.raises(RefusedError, match="Another run"):
        run(products(2), if_running=IfRunning.FAIL)
    assert Path("links.parquet").exists()


def test_lease_of_a_clock_that_jumped(run: Run, settings: Settings, box: Sandbox) -> None:
    """A lease that ends a day from now is nobody's: what its run left is settled at once."""
    run(products(1))
    tomorrow = round((time.time() + 86_400) * 1e6)
    changes = "ended_at = NULL, boot_id = 'elsewhere', lease_until = :lease"
    said(settings.ledger, f"UPDATE run SET {changes}", lease=tomorrow)
    for statement in ("UPDATE operation SET state = 'sent'", "DELETE FROM row", "DELETE FROM link"):
        said(settings.ledger, statement)
    assert len(open_cases(settings)) == 1
    again = run(products(2), output="other.parquet", if_running=IfRunning.FAIL)
    assert again.exit_code() == 0
    assert (box.audit().links, box.audit().duplicates) == (2, 0)


@ON_ONE_KIND
def test_refusal_is_over_once_the_content_had_a_link(run: Run, box: Sandbox) -> None:
    """422, then a link at the second try, another content, and back: that link again."""
    box.reconfigure(max_quantity=3)
    run(products(1, quantity=[5]))
    box.reconfigure(max_quantity=100)
    run(products(1, quantity=[5]), retry_rejected=True)
    made = row()["link_id"]
    run(products(1, quantity=[2]))
    back = run(products(1, quantity=[5]))
    assert (row()["status"], row()["link_id"], back.written.requests) == ("reused", made, 0)


@ON_ONE_KIND
@pytest.mark.slow
def test_retry_that_was_not_sent_goes_on_by_itself(run: Run, box: Sandbox) -> None:
    """A second try that a limit kept back is no refusal: the next plain run makes it."""
    box.reconfigure(max_quantity=3)
    run(products(1, quantity=[5]))
    box.reconfigure(max_quantity=100, limits=[Limit(kind="anchored", requests=1, seconds=86_400.0)])
    run(
        products(2, sku=["x", "y"]), link_set="other", output="other.parquet", rate="adaptive"
    )  # uses the limit up
    run(products(1, quantity=[5]), retry_rejected=True, rate="adaptive")
    assert row()["status"] == "pending"
    box.reconfigure(limits=[])
    assert run(products(1, quantity=[5])).exit_code() == 0
    assert row()["status"] == "created"


@ON_ONE_KIND
@pytest.mark.slow
def test_stop_keeps_back_what_is_recorded_as_sent_but_has_not_left(run: Run, box: Sandbox) -> None:
    """Operations that wait for their turn are pending again at once: none of them is a doubt."""
    box.reconfigure(latency=1.5)
    result = run(products(12), max_duration=0.7, max_in_flight=2, rate="fixed:none")
    rows = pq.read_table("links.parquet").to_pylist()
    assert result.exit_code() == 4
    assert len(box.requests()) == 2
    assert sorted(one["status"] for one in rows) == ["created"] * 2 + ["pending"] * 10
    kept_back = [one for one in rows if one["attempts"] and one["status"] == "pending"]
    assert kept_back
    assert {one["reason"] for one in kept_back} == {"out_of_time"}
    box.reconfigure(latency=0.0)
    assert run(products(12)).exit_code() == 0
    assert (box.audit().links, box.audit().duplicates) == (12, 0)


def complete(settings: Settings) -> set[str]:
    """Return the link sets whose growth is guarded."""
    return LedgerReader(settings.ledger).complete_sets()


@ON_ONE_KIND
@pytest.mark.parametrize("kind", ["error_after", "lost_before"])
def test_run_that_gave_rows_up_is_not_complete(
    run: Run, settings: Settings, box: Sandbox, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that was only begun may still grow by all the rest."""
    once_each = dict.fromkeys(MOST_FAILURES, 1)
    monkeypatch.setattr("incarts_pipeline.write.send.MOST_FAILURES", once_each)
    box.fail_next(kind, times=50, where="500001")
    assert run(products(2)).exit_code() in (3, 4)
    assert complete(settings) == set()
    box.fail_next(kind, times=0, where="500001")
    assert run(products(2)).exit_code() == 0
    assert complete(settings) == {"test"}


def test_run_that_broke_off_is_not_complete(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception leaves rows of which nobody knows what became."""

    async def fails(*_: object) -> None:
        raise LedgerError("disk I/O error")

    monkeypatch.setattr(Writer, "_make", fails)
    with pytest.raises(LedgerError, match="disk I/O"):
        run(products(2))
    assert complete(settings) == set()
