"""One link id belongs to one row, unless two lead to the same."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger.attempts import Outcome, write_outcomes
from incarts_pipeline.ledger.bulk_queries import CURRENT, PAST, UNLINKED
from incarts_pipeline.ledger.bulk_read import Query, scan
from incarts_pipeline.ledger.claims import Call, Claim, Operation, lost_calls
from incarts_pipeline.ledger.current_links import Move, reuse
from incarts_pipeline.ledger.doubts import claim_doubts
from incarts_pipeline.ledger.integrity import damage
from incarts_pipeline.ledger.link_owners import hold_disputed
from incarts_pipeline.ledger.overview import overview
from incarts_pipeline.ledger.rekeying import KeyChange, rekey
from incarts_pipeline.ledger.review import adopt, recreate
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import Action, Answer, AnswerKind, Link, Proof, State
from tests.support.ledgers import NOW, call, claim, ours, row, send, settle

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


def doubts(engine: sa.Engine) -> list[Operation]:
    """Take on what is in doubt."""
    with engine.begin() as connection:
        return claim_doubts(connection, [1], "r1", ["r1"])


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
    """After eight such answers nobody asks again; other attempts don't count."""
    one, other = sent(engine, to("1")), ours(engine, to("2"))
    answer(engine, one, proof=Proof.ECHO)
    for number in range(1, 9):
        assert send(engine, other, number=number)
        settle(engine, other, State.INTENDED, number=number)
    for number in range(9, 17):
        assert send(engine, other, number=number)
        answer(engine, other, proof=Proof.ECHO, number=number)
        if number < 16:
            assert state(engine, other) == ("in_doubt", "link_of_another_row", 0)
            [other] = doubts(engine)
    assert state(engine, other) == ("needs_review", "link_of_another_row", 1)


def test_of_two_without_proof_nobody_gets_the_link(engine: sa.Engine) -> None:
    """Answered in one group: whose it is shows when both are asked for again."""
    pair = [sent(engine, to(key)) for key in "12"]
    answer(engine, *pair, proof=Proof.NOTHING_AGAINST_IT)
    assert [state(engine, one)[:2] for one in pair] == [("in_doubt", "link_of_another_row")] * 2
    assert row(engine, "SELECT COUNT(*) FROM link") == (0,)
    answer(engine, pair[1], proof=Proof.NOTHING_AGAINST_IT)
    assert [state(engine, one)[0] for one in pair] == ["in_doubt", "done"]


@pytest.mark.parametrize("first", [0, 1])
def test_proof_counts_whoever_comes_first(engine: sa.Engine, first: int) -> None:
    """In one group the answer with proof is kept, wherever it stands."""
    pair = [sent(engine, to(key)) for key in "12"]
    proofs = [Proof.CONTENT, Proof.NOTHING_AGAINST_IT]
    found = [
        Outcome(
            operation=one,
            state=State.DONE,
            at=NOW,
            number=1,
            answer=Answer(
                kind=AnswerKind.LINK, correlation_id="c", made=Link(id="lnk_1"), proof=proof
            ),
        )
        for one, proof in zip(pair, proofs, strict=True)
    ]
    with engine.begin() as connection:
        write_outcomes(connection, "r1", [found[first], found[1 - first]])
    assert [state(engine, one)[0] for one in pair] == ["done", "in_doubt"]


def test_link_that_many_share_is_still_one_rows_for_who_leads_elsewhere(engine: sa.Engine) -> None:
    """Whoever leads to the same shares it; only who doesn't speaks against an answer."""
    *shared, last = (sent(engine, call(key, content=key)) for key in "1234")
    answer(engine, *shared, proof=Proof.ECHO)
    answer(engine, last, sent(engine, to("5")), proof=Proof.ECHO)
    assert state(engine, last)[0] == "done"
    assert row(engine, "SELECT state FROM operation WHERE row_key = '5'") == ("in_doubt",)
    answer(engine, sent(engine, to("6")), proof=Proof.ECHO)
    assert row(engine, "SELECT state FROM operation WHERE row_key = '6'") == ("in_doubt",)


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


def goes_on(engine: sa.Engine, before: Operation, link: str = "lnk_next") -> Operation:
    """Give a row another content, and that one a link."""
    changed = replace(
        to(before.row_key),
        content_hash=b"B" * 32,
        action=Action.REPLACE,
        expected_op_id=before.op_id,
    )
    after = sent(engine, changed)
    if link:
        answer(engine, after, proof=Proof.ECHO, link=link)
    return after


def plan_reads(engine: sa.Engine, query: Query) -> list[tuple[object, ...]]:
    """Return what a plan reads of the set, the columns `row_key` and `op_id` of it."""
    return [(one["row_key"], one["op_id"]) for one in read(engine, query)]


def read(engine: sa.Engine, query: Query) -> list[dict[str, Any]]:
    """Return what a query reads of the set, in whichever database it is."""
    with database_of(engine).reading() as ledger:
        found: list[dict[str, Any]] = scan(ledger, query, 1).read_all().to_pylist()
    return found


def uses(engine: sa.Engine, key: str) -> str:
    """Return the link that a row uses."""
    [link] = row(engine, f"SELECT link_id FROM row WHERE row_key = '{key}'")
    return str(link)


def answered_with_its_link(engine: sa.Engine, key: str, link: str) -> None:
    """Let a row be answered with the link that another one has without proof."""
    answer(engine, sent(engine, to(key)), proof=Proof.ECHO, link=link)


def test_row_goes_back_to_the_link_that_was_adopted(engine: sa.Engine) -> None:
    """Not to the disputed one, though its id is the lower; and that is the one it replaced."""
    first = sent(engine, to("1"))
    answer(engine, first, proof=Proof.NOTHING_AGAINST_IT, link="lnk_a")
    answered_with_its_link(engine, "2", "lnk_a")
    with engine.begin() as connection:
        adopt(connection, first.op_id, Link(id="lnk_b"), NOW)
    second = goes_on(engine, first, "lnk_c")
    assert plan_reads(engine, PAST) == [("1", first.op_id)]
    assert [one["replaces_link_id"] for one in read(engine, CURRENT)] == ["lnk_b"]
    with engine.begin() as connection:
        assert reuse(connection, [Move(1, "1", first.op_id, second.op_id)], "r2", NOW) == []
    assert uses(engine, "1") == "lnk_b"


def test_row_goes_back_to_the_link_that_came_first(engine: sa.Engine) -> None:
    """Of two links under one key it is the one that was in use, whatever their ids."""
    first = sent(engine, to("1"))
    answer(engine, first, proof=Proof.ECHO, link="lnk_z")
    later = replace(NOW, wall=NOW.wall + 1)
    found = Answer(kind=AnswerKind.LINK, correlation_id="c", made=Link(id="lnk_a"))
    with engine.begin() as connection:
        again = Outcome(operation=first, state=State.DONE, at=later, number=1, answer=found)
        write_outcomes(connection, "r1", [again])
    second = goes_on(engine, first)
    with engine.begin() as connection:
        reuse(connection, [Move(1, "1", first.op_id, second.op_id)], "r2", NOW)
    assert uses(engine, "1") == "lnk_z"


def test_disputed_link_is_never_used_again(engine: sa.Engine) -> None:
    """A row that wants the content again needs review: it may have a link that nobody told.

    Adopted, that one is used again; given up, another is made.
    """
    first = sent(engine, to("1"))
    answer(engine, first, proof=Proof.NOTHING_AGAINST_IT, link="lnk_a")
    second = goes_on(engine, first)
    answered_with_its_link(engine, "2", "lnk_a")
    assert state(engine, first)[0] == "done"
    assert plan_reads(engine, PAST) == []
    back = Move(1, "1", first.op_id, second.op_id)
    with engine.begin() as connection:
        assert reuse(connection, [back], "r2", NOW) == [back]
        wanted = replace(to("1"), expected_op_id=second.op_id)
        assert lost_calls(connection, [wanted], retry_rejected=False) == [wanted]
    assert claim(engine, wanted, "r2") == (Claim.DOUBT, None)
    assert state(engine, first)[:2] == ("needs_review", "link_disputed")
    assert uses(engine, "1") == "lnk_next"
    with engine.begin() as connection:
        adopt(connection, first.op_id, Link(id="lnk_own"), NOW)
        assert lost_calls(connection, [wanted], retry_rejected=False) == []
        assert reuse(connection, [back], "r2", NOW) == []
    assert uses(engine, "1") == "lnk_own"


@pytest.mark.parametrize("end", ["refused", "given up", "paced", "dropped"])
def test_row_is_held_once_nothing_replaces_its_disputed_link(engine: sa.Engine, end: str) -> None:
    """Its next link was on its way as the dispute began, and came to nothing."""
    first = sent(engine, to("1"))
    answer(engine, first, proof=Proof.NOTHING_AGAINST_IT, link="lnk_a")
    second = goes_on(engine, first, "")
    if end == "dropped":
        settle(engine, second, State.INTENDED)
    answered_with_its_link(engine, "2", "lnk_a")
    if end == "refused":
        settle(engine, second, State.REJECTED)
    elif end == "paced":
        settle(engine, second, State.INTENDED)
    elif end == "given up":
        settle(engine, second, State.NEEDS_REVIEW)
        with engine.begin() as connection:
            recreate(connection, second.op_id, NOW)
    assert ("1", first.op_id) in plan_reads(engine, UNLINKED)
    with engine.begin() as connection:
        hold_disputed(connection, [1], NOW)
    assert state(engine, first)[:2] == ("needs_review", "link_disputed")
    assert uses(engine, "1") == "lnk_a"


def test_link_on_its_way_replaces_a_disputed_one(engine: sa.Engine) -> None:
    """Nobody has to look at a link that its row has given up."""
    first = sent(engine, to("1"))
    answer(engine, first, proof=Proof.NOTHING_AGAINST_IT, link="lnk_a")
    second = goes_on(engine, first, "")
    answered_with_its_link(engine, "2", "lnk_a")
    for _ in range(2):
        with engine.begin() as connection:
            hold_disputed(connection, [1], NOW)
        assert state(engine, first)[0] == "done"
        assert ("1", first.op_id) not in plan_reads(engine, UNLINKED)
        answer(engine, second, proof=Proof.ECHO, link="lnk_b")
    assert uses(engine, "1") == "lnk_b"


def shared(engine: sa.Engine) -> dict[str, bool]:
    """Return of each row whether another one is said to have its link."""
    return {one["row_key"]: bool(one["is_shared"]) for one in read(engine, CURRENT)}


def test_only_rows_share_links(engine: sa.Engine) -> None:
    """Neither what a row was called before shares its link, nor who had it by mistake."""
    moved = sent(engine, to("0012"))
    answer(engine, moved, proof=Proof.ECHO, link="lnk_moved")
    with engine.begin() as connection:
        assert rekey(connection, [KeyChange(1, "0012", "12", moved.op_id)], "r2", (), NOW) == []
    assert shared(engine) == {"12": False}
    wrong, right = sent(engine, to("1")), sent(engine, to("2"))
    answer(engine, wrong, proof=Proof.NOTHING_AGAINST_IT)
    for _ in range(2):
        answer(engine, right, proof=Proof.ECHO)
    assert shared(engine) == {"12": False, "1": False, "2": False}
    with engine.begin() as connection:
        recreate(connection, wrong.op_id, NOW)
    assert shared(engine) == {"12": False, "2": False}
    answer(
        engine,
        *(sent(engine, call(key, content=key)) for key in "56"),
        proof=Proof.ECHO,
        link="lnk_shared",
    )
    assert {key for key, is_shared in shared(engine).items() if is_shared} == {"5", "6"}


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
