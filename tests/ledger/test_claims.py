"""The ledger on real SQLite: claims, attempts, outcomes, and its one writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.bulk_queries import UNLINKED
from incarts_pipeline.ledger.claims import Claim
from incarts_pipeline.ledger.current_links import busy_elsewhere
from incarts_pipeline.ledger.doubts import claim_doubts
from incarts_pipeline.ledger.link_owners import hold_disputed
from incarts_pipeline.ledger.overview import overview
from incarts_pipeline.ledger.review import cases
from incarts_pipeline.ledger.runs import Process, end_run, living_runs, start_run
from incarts_pipeline.ledger.sqlite.bulk_read import WORDS
from incarts_pipeline.ledger.state_machine import ReplayRule
from incarts_pipeline.models import State
from tests.support.ledgers import NOW, call, claim, ours, row, send, settle


def test_intent_carries_the_exact_bytes(engine: sa.Engine) -> None:
    """What was claimed is on disk with its body before anything is sent."""
    operation = ours(engine, call())
    assert row(engine, "SELECT state, run_id FROM operation") == ("intended", "r1")
    assert row(engine, "SELECT body FROM body") == (call().body,)
    assert operation.idempotency_key.startswith("incarts1-")


def looks_at(engine: sa.Engine, work: Callable[[sa.Connection], object]) -> list[str]:
    """Return how SQLite finds the operations that some work asks for."""
    asked: list[tuple[str, Any]] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    with engine.connect() as connection:
        work(connection)
        return [
            step[3]
            for text, values in [one for one in asked if one[0].startswith("SELECT")]
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            if " operation " in f"{step[3]} "
        ]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "work",
    [
        lambda c: claim_doubts(c, [1], "r2", ["r1"]),
        lambda c: busy_elsewhere(c, [1], ["r1"], NOW),
        lambda c: cases(c, ReplayRule(window=86_400.0, api_key_fingerprint=None), NOW),
        lambda c: overview(c, {}, NOW, {}),
    ],
)
def test_what_is_open_is_found_without_looking_at_all_that_is_done(
    engine: sa.Engine, work: Callable[[sa.Connection], object]
) -> None:
    """Each night asks, and a ledger may hold ten million links."""
    steps = looks_at(engine, work)
    assert steps
    for step in steps:
        assert "INDEX one_open_operation_per_row" in step or "INDEX operation_closed" in step


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_disputed_links_are_found_without_looking_at_all_that_is_done(engine: sa.Engine) -> None:
    """Each plan and each run asks for them, and a set may have ten million links."""
    [held, *_] = looks_at(engine, lambda c: hold_disputed(c, [1], NOW))
    with engine.connect() as connection:
        text = f"EXPLAIN QUERY PLAN {UNLINKED.text(WORDS)}"
        steps = [step[3] for step in connection.exec_driver_sql(text.replace("?1", "1"))]
    planned = [f"{step} " for step in steps if " operation " in f"{step} "]
    assert len(planned) == 3
    for step in (held, planned[-1]):
        assert "INTEGER PRIMARY KEY" in step


def test_only_what_was_sent_before_is_waited_for(engine: sa.Engine) -> None:
    """What a living run has sent since is none of an earlier plan's doubts."""
    send(engine, ours(engine, call(), "r1"), "r1")
    later = replace(NOW, wall=NOW.wall + 1)
    with engine.connect() as connection:
        assert busy_elsewhere(connection, [1], ["r1"], later)
        assert not busy_elsewhere(connection, [1], ["r1"], NOW)
        assert not busy_elsewhere(connection, [1], ["r2"], later)


def test_living_run_keeps_its_claim(engine: sa.Engine) -> None:
    """A row that a living run has claimed is busy; a dead run's is taken over with a new epoch."""
    first = ours(engine, call(), "r1")
    assert claim(engine, call(), "r2", living=("r1",))[0] is Claim.BUSY
    second = ours(engine, call(), "r2")
    assert second.op_id == first.op_id
    assert second.epoch == first.epoch + 1
    assert send(engine, second, "r2")
    assert not send(engine, first, "r1", number=2)


def test_unsent_intent_of_older_content_is_dropped(engine: sa.Engine) -> None:
    """An intent that provably never left makes way for newer content."""
    ours(engine, call(content="a"))
    ours(engine, call(content="b"), "r2")
    assert row(engine, "SELECT COUNT(*) FROM operation") == (1,)


def test_doubt_stands_in_the_way(engine: sa.Engine) -> None:
    """Nothing new is made for a row while an older operation is in doubt."""
    operation = ours(engine, call(content="a"))
    send(engine, operation)
    assert claim(engine, call(content="b"), "r2")[0] is Claim.DOUBT


def test_doubt_is_taken_over_with_its_bytes_and_age(engine: sa.Engine) -> None:
    """A crash leaves `sent`; the next run gets the same key, bytes and first time."""
    operation = ours(engine, call())
    send(engine, operation)
    with engine.begin() as connection:
        [found] = claim_doubts(connection, [1], "r2", [])
        assert claim_doubts(connection, [1], "r2", []) == []
    assert found.idempotency_key == operation.idempotency_key
    assert found.body == operation.body
    assert found.operation_state.first_sent == Stamp(
        wall=NOW.micros / 1e6, boot=NOW.boot, boot_id=NOW.boot_id
    )


def test_proof_of_no_effect_clears_the_age(engine: sa.Engine) -> None:
    """After a 429 nothing is in doubt, and the next attempt starts the clock anew."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.INTENDED)
    assert row(engine, "SELECT state, first_sent_at FROM operation") == ("intended", None)


def test_link_is_recorded_and_used(engine: sa.Engine) -> None:
    """A link id settles the operation and becomes the row's link."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    assert row(engine, "SELECT state FROM operation") == ("done",)
    assert row(engine, "SELECT link_id, op_id FROM row") == ("lnk_1", operation.op_id)
    assert claim(engine, call())[0] is Claim.MOVED
    assert claim(engine, call(expected=operation.op_id))[0] is Claim.MOVED


def test_done_is_never_undone(engine: sa.Engine) -> None:
    """A late answer of another attempt can't take a link away."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    settle(engine, operation, State.IN_DOUBT)
    assert row(engine, "SELECT state FROM operation") == ("done",)


def test_link_is_accepted_from_any_epoch(engine: sa.Engine) -> None:
    """An owner that lost its claim still brings a link home; its other answers count no more."""
    stale = ours(engine, call(), "r1")
    send(engine, stale)
    with engine.begin() as connection:
        claim_doubts(connection, [1], "r2", [])
    settle(engine, stale, State.REJECTED)
    assert row(engine, "SELECT state FROM operation") == ("in_doubt",)
    settle(engine, stale, State.DONE, "lnk_1")
    assert row(engine, "SELECT state FROM operation") == ("done",)


def test_two_ids_for_one_key_raise_an_alarm(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Both links are kept, the first stays in use, and the log says so loudly."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    settle(engine, operation, State.DONE, "lnk_2", number=2)
    assert row(engine, "SELECT COUNT(*) FROM link") == (2,)
    assert row(engine, "SELECT link_id FROM row") == ("lnk_1",)
    assert "two links under one idempotency key" in caplog.text


def test_alarm_is_raised_whoever_comes_second(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The first attempt's link is noticed though the replay's link came before it."""
    stale = ours(engine, call(), "r1")
    send(engine, stale)
    with engine.begin() as connection:
        [taken] = claim_doubts(connection, [1], "r2", [])
    send(engine, taken, "r2", number=2)
    settle(engine, taken, State.DONE, "lnk_2", number=2)
    assert "two links" not in caplog.text
    settle(engine, stale, State.DONE, "lnk_1", number=1)
    assert "two links under one idempotency key" in caplog.text


def test_one_id_for_two_rows_gives_both_their_link(engine: sa.Engine) -> None:
    """Should Incarts answer two keys with one link, each row has it."""
    for key in ("1", "2"):
        operation = ours(engine, call(key))
        send(engine, operation)
        settle(engine, operation, State.DONE, "lnk_1")
    assert row(engine, "SELECT COUNT(*) FROM link JOIN row USING (op_id, link_id)") == (2,)


def test_link_for_the_history_leaves_the_row_alone(engine: sa.Engine) -> None:
    """Older content that was in doubt gets its link into the history, not into use."""
    first = ours(engine, call(content="a"))
    send(engine, first)
    settle(engine, first, State.DONE, "lnk_a")
    second = ours(engine, call(content="b", expected=first.op_id))
    send(engine, second)
    settle(engine, replace(second, for_history=True), State.DONE, "lnk_b")
    assert row(engine, "SELECT link_id FROM row") == ("lnk_a",)
    assert row(engine, "SELECT COUNT(*) FROM link") == (2,)


def test_refused_content_is_parked(engine: sa.Engine) -> None:
    """What the API refused is not sent again, unless asked for, or until its content changes."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.REJECTED)
    assert claim(engine, call())[0] is Claim.MOVED
    again = claim(engine, call(), retry=True)[1]
    assert again is not None
    assert again.idempotency_key != operation.idempotency_key
    assert claim(engine, call(content="b"), "r2")[0] is Claim.OURS


def test_liveness(engine: sa.Engine) -> None:
    """A run lives while its lease holds and its process does; a dead local process is seen."""
    me = Process.current()
    gone = Process(
        host=me.host,
        pid=2**22 - 1,
        pid_namespace=me.pid_namespace,
        started="1",
        boot_id=me.boot_id,
    )
    elsewhere = Process(host="far", pid=7, pid_namespace="x", started="1", boot_id="other")
    later = Stamp(wall=NOW.wall + 31, boot=NOW.boot + 31, boot_id=NOW.boot_id)
    with engine.begin() as connection:
        start_run(connection, "mine", ["s"], me, NOW)
        start_run(connection, "killed", ["s"], gone, NOW)
        start_run(connection, "far", ["s"], elsewhere, NOW)
        assert set(living_runs(connection, me, NOW)) == {"mine", "far"}
        assert living_runs(connection, me, later) == {}
        end_run(connection, "mine", "finished", NOW)
        assert set(living_runs(connection, me, NOW)) == {"far"}


def test_taken_operation_follows_the_link_in_use(engine: sa.Engine) -> None:
    """An intent that is taken up later replaces the link that its row uses by then."""
    first = ours(engine, call(content="a"))
    send(engine, first)
    settle(engine, first, State.DONE, "lnk_1")
    ours(engine, call(content="b", expected=first.op_id))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE operation SET follows_op_id = 99 WHERE op_id = 2")
    ours(engine, call(content="b", expected=first.op_id), run="r2")
    assert row(engine, "SELECT follows_op_id FROM operation WHERE op_id = 2") == (first.op_id,)


def test_runs_name_link_sets_with_spaces(engine: sa.Engine) -> None:
    """A link set's name may have a space; the rows of earlier versions are still read."""
    me = Process.current()
    with engine.begin() as connection:
        start_run(connection, "new", ["summer sale", "s"], me, NOW)
        start_run(connection, "old", [], me, NOW)
        connection.exec_driver_sql("UPDATE run SET link_sets = 'a b' WHERE run_id = 'old'")
        living = living_runs(connection, me, NOW)
    assert living["new"].link_sets == {"summer sale", "s"}
    assert living["old"].link_sets == {"a", "b"}


@pytest.mark.parametrize("state", [State.IN_DOUBT, State.INTENDED])
def test_all_earlier_attempts_are_known(engine: sa.Engine, state: State) -> None:
    """A server may answer what it stored for the first of them, with that one's correlation id."""
    mine = ours(engine, call())
    for number in (1, 2):
        assert send(engine, mine, number=number)
        settle(engine, mine, state, number=number)
    if state is State.INTENDED:
        again = ours(engine, call(), "r2")
    else:
        with engine.begin() as connection:
            [again] = claim_doubts(connection, [1], "r2", [])
    assert again.earlier_ids == ("corr-r1-1", "corr-r1-2")
