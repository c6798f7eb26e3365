"""The ledger's one writer: on disk before it answers, and honest when it can't be."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from incarts_pipeline.errors import (
    IncartsError,
    LedgerError,
    RefusedError,
)
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Claim, Operation
from incarts_pipeline.ledger.database import once, prepare_file
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.runs import Process, start_run
from incarts_pipeline.models import Answer, AnswerKind, Link, State
from incarts_pipeline.settings import LedgerPlace
from tests.support.ledgers import FILE, HOST, NOW, call, claim, ours, row, send


def journaled(place: LedgerPlace, engine: sa.Engine, work: Callable[[Journal], object]) -> None:
    """Run an asynchronous piece of work with a journal."""

    async def run() -> None:
        async with Journal(engine, place, "r1") as journal:
            await work(journal)  # type: ignore[misc]

    asyncio.run(run())


def test_journal_is_durable_before_it_answers(place: LedgerPlace, engine: sa.Engine) -> None:
    """`mark_sent` returns only once another connection sees `sent`."""
    operations = [ours(engine, call(str(i))) for i in range(50)]

    async def work(journal: Journal) -> None:
        async def one(operation: Operation) -> None:
            sent = Sent(
                operation=operation,
                number=1,
                correlation_id="c",
                api_key_fingerprint="fp",
                at=NOW,
            )
            assert await journal.mark_sent([sent]) == [True]
            with once(place, read_only=True) as reader:
                found = sa.select(tables.operation.c.state)
                own = tables.operation.c.op_id == operation.op_id
                assert reader.scalar(found.where(own)) == "sent"

        await asyncio.gather(*(one(operation) for operation in operations))

    journaled(place, engine, work)


def test_flight_is_marked_as_one(place: LedgerPlace, engine: sa.Engine) -> None:
    """Each attempt has its own answer: one that another run has taken over is not marked."""
    operations = [ours(engine, call(str(i))) for i in range(3)]
    assert claim(engine, call("1"), run="r2", living=("r2",))[0] is Claim.OURS

    async def work(journal: Journal) -> None:
        flight = [
            Sent(operation=one, number=1, correlation_id=f"c{i}", api_key_fingerprint="fp", at=NOW)
            for i, one in enumerate(operations)
        ]
        marked, none = await asyncio.gather(journal.mark_sent(flight), journal.mark_sent([]))
        assert (list(marked), list(none)) == ([True, False, True], [])

    journaled(place, engine, work)
    query = "SELECT COUNT(*) FROM attempt JOIN operation USING (op_id) WHERE state = 'sent'"
    assert row(engine, query) == (2,)


def test_journal_records_what_waits_when_it_closes(place: LedgerPlace, engine: sa.Engine) -> None:
    """Answers recorded without waiting are on disk after the journal has closed."""
    operation = ours(engine, call())
    send(engine, operation)

    async def work(journal: Journal) -> None:
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", made=Link(id="lnk_9"))
        journal.record(
            Outcome(operation=operation, state=State.DONE, at=NOW, number=1, answer=answer)
        )

    journaled(place, engine, work)
    assert row(engine, "SELECT link_id FROM row") == ("lnk_9",)


def refuses(connection: sa.Connection) -> None:
    """Begin a run, and refuse it."""
    start_run(connection, "refused", ["s"], Process.current(), NOW)
    raise RefusedError("Another run is at work.", guard="running")


def conflicts(connection: sa.Connection) -> None:
    """Begin a run twice, which the database refuses."""
    for _ in range(2):
        start_run(connection, "twice", ["s"], Process.current(), NOW)


@pytest.mark.parametrize(("fails", "told"), [(refuses, RefusedError), (conflicts, LedgerError)])
def test_one_jobs_error_is_its_own(
    place: LedgerPlace,
    engine: sa.Engine,
    fails: Callable[[sa.Connection], None],
    told: type[IncartsError],
) -> None:
    """A piece of work that fails is undone; what is recorded beside it is on disk."""
    first, second = ours(engine, call("1")), ours(engine, call("2"))
    send(engine, first)
    gathered = threading.Event()

    async def work(journal: Journal) -> None:
        sent = Sent(
            operation=second, number=1, correlation_id="c", api_key_fingerprint="fp", at=NOW
        )
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", made=Link(id="lnk_1"))
        gathering = asyncio.create_task(journal.run(lambda _: gathered.wait(30)))
        await asyncio.sleep(0)
        journal.record(Outcome(operation=first, state=State.DONE, at=NOW, number=1, answer=answer))
        failing = asyncio.create_task(journal.run(fails))
        marking = asyncio.create_task(journal.mark_sent([sent]))
        await asyncio.sleep(0)
        gathered.set()  # what was asked meanwhile is one group
        with pytest.raises(told):
            await failing
        assert await gathering
        assert await marking == [True]
        assert (journal.broken, list(journal.unrecorded)) == (None, [])

    journaled(place, engine, work)
    assert row(engine, "SELECT link_id FROM row") == ("lnk_1",)
    assert row(engine, "SELECT state FROM operation WHERE row_key = '2'") == ("sent",)
    assert row(engine, "SELECT COUNT(*) FROM run") == (0,)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_journal_says_when_it_can_not_record(
    place: LedgerPlace, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked ledger fails the mark, keeps the answers, and records them once it can."""
    engine.dispose()
    monkeypatch.setattr("incarts_pipeline.sqlite.BUSY_SECONDS", 0.05)
    quick = prepare_file(FILE, HOST)
    first, second = ours(quick, call("1")), ours(quick, call("2"))
    send(quick, first)
    other = sqlite3.connect(FILE, isolation_level=None, check_same_thread=False)

    async def work(journal: Journal) -> None:
        other.execute("BEGIN IMMEDIATE")
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", made=Link(id="lnk_1"))
        journal.record(Outcome(operation=first, state=State.DONE, at=NOW, number=1, answer=answer))
        sent = Sent(
            operation=second, number=1, correlation_id="c", api_key_fingerprint="fp", at=NOW
        )
        with pytest.raises(LedgerError, match="locked"):
            await journal.mark_sent([sent])
        assert [o.operation.op_id for o in journal.unrecorded] == [first.op_id]
        other.execute("ROLLBACK")
        await journal.flush()
        assert list(journal.unrecorded) == []

    journaled(place, quick, work)
    other.close()
    assert row(quick, "SELECT link_id FROM row") == ("lnk_1",)
    quick.dispose()
