"""What is enqueued: left by one run, claimed by workers, withdrawn by the next plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.claims import Call, Claim, Operation, claim_calls
from incarts_pipeline.ledger.current_links import Move, reuse
from incarts_pipeline.ledger.enqueued import (
    Worker,
    claim_enqueued,
    drop_withdrawn,
    enqueue,
    enqueue_doubts,
    enqueued_counts,
    enqueued_sets,
    give_back,
    is_more_to_come,
    withdraw,
)
from incarts_pipeline.ledger.runs import LivingRun, Task
from incarts_pipeline.ledger.state_machine import ReplayRule
from incarts_pipeline.models import State
from tests.support.ledgers import NOW, call, ours, send, settle

RULE = ReplayRule(window=1500, api_key_fingerprint="fp")


def leave(engine: sa.Engine, *calls: Call, run: str = "e1") -> list[Claim]:
    """Enqueue calls in their order, as one run; return what became of each."""
    with engine.begin() as connection:
        withdraw(connection, {"s": 1}, {})
        answers = claim_calls(connection, calls, run, (), NOW, retry_rejected=False)
        enqueue(connection, [one for _, one in answers if one is not None], 1, run)
    return [claim for claim, _ in answers]


def taken(
    engine: sa.Engine,
    run: str = "w1",
    living: tuple[str, ...] = (),
    now: Stamp = NOW,
    most: int = 10,
    worker: Worker | None = None,
) -> list[Operation]:
    """Claim what is enqueued for a worker."""
    me = worker or Worker(run_id=run, rule=RULE)
    with engine.begin() as connection:
        return claim_enqueued(connection, [1], me, living, now, most)


def keys(operations: list[Operation]) -> list[str]:
    """Return the rows of operations."""
    return [one.row_key for one in operations]


def doubt(engine: sa.Engine, operation: Operation, run: str = "w1") -> None:
    """Send an operation and hear nothing."""
    assert send(engine, operation, run)
    settle(engine, operation, State.IN_DOUBT)


def test_taken_in_turn_by_one_worker_each(engine: sa.Engine) -> None:
    """Workers take what is enqueued in its order, with its bytes, and nothing of each other's."""
    leave(engine, call("b"), call("a"), call("c"))
    first = taken(engine, most=2)
    assert keys(first) == ["b", "a"]
    assert first[0].body == call("b").body
    assert keys(taken(engine, "w2", living=("w1",))) == ["c"]
    assert taken(engine, "w3", living=("w1", "w2")) == []
    assert keys(taken(engine, "w3", living=("w2",))) == ["b", "a"]
    assert not send(engine, first[0], "w1")


def test_what_is_withdrawn_is_not_sent(engine: sa.Engine) -> None:
    """A worker that has claimed it can't mark it any more, though the operation is nobody's."""
    leave(engine, call("a"))
    [mine] = taken(engine)
    with engine.begin() as connection:
        assert withdraw(connection, {"s": 1}, {}) == 1
    assert taken(engine, "w2") == []
    assert not send(engine, mine, "w1")
    assert leave(engine, call("a")) == [Claim.OURS]
    assert keys(taken(engine, "w2")) == ["a"]


def test_what_no_plan_means_any_more_is_forgotten(engine: sa.Engine) -> None:
    """What was withdrawn is deleted unless it was attempted, and what others have stays."""
    leave(engine, call("a"), call("b"), call("c"))
    tried = taken(engine, most=1)[0]
    assert send(engine, tried, "w1")
    settle(engine, tried, State.INTENDED)
    ours(engine, call("d"))
    with engine.begin() as connection:
        withdraw(connection, {"s": 1}, {})
    with engine.begin() as connection:
        claim_calls(connection, [call("c")], "r2", (), NOW, retry_rejected=False)
        drop_withdrawn(connection, [1])
        left = connection.scalars(sa.select(tables.operation.c.row_key)).all()
    assert sorted(left) == ["a", "c", "d"]


def test_what_was_sent_is_not_withdrawn(engine: sa.Engine) -> None:
    """It may have a link: it is settled, whatever the next plan says."""
    leave(engine, call("a"), call("b"))
    sent, _ = taken(engine)
    doubt(engine, sent)
    with engine.begin() as connection:
        assert withdraw(connection, {"s": 1}, {}) == 1
    [again] = taken(engine, "w2")
    assert (again.row_key, again.epoch, again.operation_state.doubtful) == ("a", 3, True)


def test_other_content_takes_its_place(engine: sa.Engine) -> None:
    """Of one row only the newest content is enqueued."""
    leave(engine, call("a", "old"))
    leave(engine, call("a", "new"), run="e2")
    assert [one.body for one in taken(engine)] == [call("a", "new").body]


def test_a_row_that_has_another_link_is_left_alone(engine: sa.Engine) -> None:
    """Its link may have come by a run, a person or a table since it was enqueued."""
    made = ours(engine, call("a", "first"))
    assert send(engine, made)
    settle(engine, made, State.DONE, "lnk_1")
    leave(engine, call("a", "second", expected=made.op_id))
    second = taken(engine)[0]
    assert send(engine, second, "w1")
    settle(engine, second, State.DONE, "lnk_2")
    leave(engine, call("a", "third", expected=second.op_id))
    with engine.begin() as connection:
        assert not reuse(connection, [Move(1, "a", made.op_id, second.op_id)], "r2", NOW)
    assert taken(engine) == []
    with engine.begin() as connection:
        assert enqueued_counts(connection, [1]) == {}


def test_doubts_come_first_and_know_where_their_link_goes(engine: sa.Engine) -> None:
    """A doubt is settled before all else; one of a row that is back keeps the row's link."""
    made = ours(engine, call("a", "first"))
    assert send(engine, made)
    settle(engine, made, State.DONE, "lnk_1")
    older = ours(engine, call("a", "second", expected=made.op_id))
    doubt(engine, older, "r1")
    other = ours(engine, call("b"))
    doubt(engine, other, "r1")
    leave(engine, call("c"))
    with engine.begin() as connection:
        assert enqueue_doubts(connection, [1], "e1", ("r1",), set()) == 0
        assert enqueue_doubts(connection, [1], "e1", (), {(1, "a")}) == 2
    found = taken(engine)
    assert keys(found) == ["a", "b", "c"]
    assert [one.for_history for one in found] == [True, False, False]


def test_what_a_worker_gives_back_is_anothers(engine: sa.Engine) -> None:
    """What it gave up isn't taken by itself again, but by others, and first."""
    leave(engine, call("a"), call("b"), call("c"))
    first = taken(engine, most=2)
    doubt(engine, first[0])
    with engine.begin() as connection:
        given = give_back(connection, "w1")
    assert sorted(given) == [one.op_id for one in first]
    me = Worker(run_id="w1", rule=RULE, given_up=given)
    assert keys(taken(engine, worker=me)) == ["c"]
    assert keys(taken(engine, "w2", living=("w1",))) == ["a", "b"]


def test_doubts_of_another_key_are_left_until_they_are_too_old(engine: sa.Engine) -> None:
    """Whoever has another API key would have to give them to a person."""
    leave(engine, call("a"))
    doubt(engine, taken(engine)[0])
    other = Worker(run_id="w2", rule=replace(RULE, api_key_fingerprint="fp2"))
    assert taken(engine, worker=other) == []
    later = replace(NOW, wall=NOW.wall + RULE.deadline + 1)
    assert keys(taken(engine, worker=other, now=later)) == ["a"]


def test_closed_kinds_are_left_alone(engine: sa.Engine) -> None:
    """What Incarts forbids is claimed no more."""
    leave(engine, call("a"), replace(call("b"), retailer="target"))
    me = Worker(run_id="w1", rule=RULE, closed=[("walmart", "add_to_cart")])
    assert keys(taken(engine, worker=me)) == ["b"]


def test_a_partition_withdraws_its_own(engine: sa.Engine) -> None:
    """Rows that were last seen in another partition stay enqueued."""
    leave(engine, call("a"), call("b"))
    member = {"set_id": 1, "row_key": "a", "partition": "north"}
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.member), member)
        assert withdraw(connection, {"s": 1}, {}, "north") == 1
        assert withdraw(connection, {"s": 1}, {}, "south") == 0
    assert keys(taken(engine)) == ["b"]


def test_who_is_waited_for(engine: sa.Engine) -> None:
    """Whoever is at something enqueued, or enqueues; not who only applies."""

    def more(**others: Task) -> bool:
        names = frozenset({"s"})
        living = {
            run: LivingRun(link_sets=names, pid=1, host="h", task=task)
            for run, task in others.items()
        }
        with engine.begin() as connection:
            return is_more_to_come(connection, [1], ["s"], living)

    leave(engine, call("a"))
    with engine.begin() as connection:
        assert enqueued_sets(connection, "demo") == {"s": 1}
        assert enqueued_sets(connection, "demo", ["t"]) == {}
        assert enqueued_sets(connection, "other") == {}
    assert not more(w1=Task.WORK, r1=Task.APPLY)
    assert more(e2=Task.ENQUEUE)
    [mine] = taken(engine)
    assert more(w1=Task.WORK)
    doubt(engine, mine)
    settle(engine, mine, State.NEEDS_REVIEW)
    assert not more(w1=Task.WORK)
    with engine.begin() as connection:
        assert enqueued_counts(connection, [1]) == {State.NEEDS_REVIEW: 1}


def test_what_is_enqueued_is_found_by_its_index(engine: sa.Engine) -> None:
    """A claim looks at what is enqueued, in its order, and at nothing else."""
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL chooses by how much there is")
    seen: list[tuple[str, Any]] = []

    def keep(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        seen.append((statement, values))

    leave(engine, call("a"))
    with engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", keep)
        with connection.begin():
            claim_enqueued(connection, [1], Worker(run_id="w", rule=RULE), (), NOW, 5)
            withdraw(connection, {"s": 1}, {})
            enqueued_sets(connection, "demo")
            give_back(connection, "w")
        sa.event.remove(connection, "before_cursor_execute", keep)
        plans = [
            " ".join(
                row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values)
            )
            for one, values in seen
            if "turn IS NOT NULL" in one
        ]
    assert len(plans) == 4
    assert [plan for plan in plans if "operation_enqueued" not in plan] == []
