"""One link id belongs to one row, unless two lead to the same."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger.attempts import Outcome, write_outcomes
from incarts_pipeline.ledger.claims import Call, Operation, claim_doubts
from incarts_pipeline.ledger.integrity import damage
from incarts_pipeline.ledger.overview import overview
from incarts_pipeline.ledger.review import adopt, recreate
from incarts_pipeline.models import Answer, AnswerKind, Link, Proof, State
from tests.support.ledgers import NOW, call, ours, row, send

OTHER = (b"e" * 32, b"t" * 32, b"l" * 32)


def to(key: str, groups: tuple[bytes, bytes, bytes] = OTHER) -> Call:
    """Return a call for a row that leads elsewhere than others do."""
    return replace(call(key, content=key), groups=(key.encode() * 32, *groups[1:]))


def sent(engine: sa.Engine, one: Call) -> Operation:
    """Claim a call, and record an attempt."""
    operation = ours(engine, one)
    assert send(engine, operation)
    return operation


def answer(
    engine: sa.Engine, *operations: Operation, proof: Proof, number: int = 1, link: str = "lnk_1"
) -> None:
    """Record that each was answered with the link, in one group."""
    found = Answer(
        kind=AnswerKind.LINK, correlation_id="c", status=201, made=Link(id=link), proof=proof
    )
    with engine.begin() as connection:
        outcomes = [
            Outcome(operation=o, state=State.DONE, at=NOW, number=number, answer=found)
            for o in operations
        ]
        write_outcomes(connection, "r1", outcomes)


def state(engine: sa.Engine, operation: Operation) -> tuple[object, ...]:
    """Return an operation's state, error code, and whether a run has claimed it."""
    query = "SELECT state, error_code, run_id IS NOT NULL FROM operation WHERE op_id = "
    return row(engine, query + str(operation.op_id))


@pytest.mark.parametrize("at_once", [True, False])
def test_link_of_another_row_is_a_doubt(
    engine: sa.Engine, at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The later row doesn't get it, an alarm says so, and the same run may ask again."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    for several in ([one, other],) if at_once else ([one], [other]):
        answer(engine, *several, proof=Proof.ECHO)
    assert state(engine, one)[0] == "done"
    assert state(engine, other) == ("in_doubt", "link_of_another_row", 0)
    assert row(engine, "SELECT COUNT(*) FROM link") == (1,)
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    with engine.begin() as connection:
        assert [o.op_id for o in claim_doubts(connection, [1], "r1", ["r1"])] == [other.op_id]


def test_it_needs_a_person_once_it_came_too_often(engine: sa.Engine) -> None:
    """After eight such answers nobody asks again."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, one, proof=Proof.ECHO)
    answer(engine, other, proof=Proof.ECHO, number=8)
    assert state(engine, other) == ("needs_review", "link_of_another_row", 1)


def test_rows_that_lead_to_the_same_share_a_link(engine: sa.Engine) -> None:
    """Equal retailer, intent and destination: Incarts may give both the same link."""
    one, other = (sent(engine, call(key, content=key)) for key in "12")
    answer(engine, one, proof=Proof.ECHO)
    answer(engine, other, proof=Proof.ECHO)
    assert [state(engine, o)[0] for o in (one, other)] == ["done", "done"]


def test_link_that_nothing_proves_is_disputed(engine: sa.Engine) -> None:
    """A holder without proof keeps its link and needs review; the proven one gets it then."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, other, proof=Proof.ECHO)
    assert state(engine, one)[:2] == ("needs_review", "link_disputed")
    assert row(engine, "SELECT link_id FROM row WHERE row_key = '1'") == ("lnk_1",)
    assert state(engine, other)[0] == "in_doubt"
    answer(engine, other, proof=Proof.ECHO)
    assert state(engine, other)[0] == "done"


def test_all_rows_that_share_a_link_are_disputed(engine: sa.Engine) -> None:
    """Two rows that lead to the same have it without proof, and a third is answered with it."""
    shared = [sent(engine, call(key, content=key)) for key in "12"]
    answer(engine, *shared, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, sent(engine, to("3")), proof=Proof.ECHO)
    assert [state(engine, one)[:2] for one in shared] == [("needs_review", "link_disputed")] * 2


def test_disputed_link_proves_nothing_to_others(engine: sa.Engine) -> None:
    """Whoever has no proof either doesn't get a link that is disputed."""
    one, *others = (sent(engine, to(key)) for key in "123")
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    for other in others:
        answer(engine, other, proof=Proof.NOTHING_AGAINST_IT)
        assert state(engine, other)[0] == "in_doubt"


@pytest.mark.parametrize("right", ["lnk_1", "lnk_2"])
def test_review_settles_a_dispute(engine: sa.Engine, right: str) -> None:
    """A person adopts the link that the row has, or the one that it should have."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, other, proof=Proof.NOTHING_AGAINST_IT)
    with engine.begin() as connection:
        adopt(connection, one.op_id, Link(id=right), NOW)
    assert state(engine, one)[0] == "done"
    assert row(engine, "SELECT link_id FROM row WHERE row_key = '1'") == (right,)
    assert row(engine, f"SELECT proof FROM link WHERE link_id = '{right}'") == ("review",)


def test_review_recreates_a_disputed_link(engine: sa.Engine) -> None:
    """Given up, its row has no link, and the next run makes one under a new key."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, other, proof=Proof.NOTHING_AGAINST_IT)
    with engine.begin() as connection:
        recreate(connection, one.op_id, NOW)
    assert row(engine, "SELECT COUNT(*) FROM row") == (0,)
    again = ours(engine, to("1"))
    assert again.idempotency_key != one.idempotency_key


def alarms(engine: sa.Engine) -> list[str]:
    """Return what the status of a ledger must not say."""
    with engine.begin() as connection:
        return overview(connection, {}, NOW, {}).alarms()


def test_dispute_is_no_damage_and_its_end_no_alarm(engine: sa.Engine) -> None:
    """A disputed row still has its link; the one that a person adopts is no second one."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, other, proof=Proof.ECHO)
    with engine.begin() as connection:
        assert list(damage(connection)) == []
        adopt(connection, one.op_id, Link(id="lnk_2"), NOW)
        assert list(damage(connection)) == []
    assert alarms(engine) == []


def test_disputed_row_without_its_link_is_damage(engine: sa.Engine) -> None:
    """What is held for a person has a link all the same."""
    one, other = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, other, proof=Proof.ECHO)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE link SET link_id = 'lnk_flipped'")
        [found] = damage(connection)
    assert found == f"the row 1 uses a link that isn't there (operation {one.op_id})"


def test_two_answers_with_a_link_each_are_an_alarm(engine: sa.Engine) -> None:
    """Incarts made two under one key, whatever proved them."""
    one = sent(engine, to("1"))
    answer(engine, one, proof=Proof.NOTHING_AGAINST_IT)
    answer(engine, one, proof=Proof.ECHO, number=2, link="lnk_2")
    assert alarms(engine) == ["alarm: 1 key has more than one link"]
