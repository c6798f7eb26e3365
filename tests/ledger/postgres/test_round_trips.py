"""Round trips to the database: what a group costs on a network where each takes milliseconds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger import clock_of, paces_at, publications
from incarts_pipeline.ledger.attempts import Outcome, Sent, mark
from incarts_pipeline.ledger.claims import Operation, claim_calls
from incarts_pipeline.ledger.database import lock_sets, open_engine, transaction
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.postgres import writer
from incarts_pipeline.ledger.postgres.clock import Offset
from incarts_pipeline.ledger.postgres.engine import connection_of
from incarts_pipeline.ledger.runs import Process, living_runs, start_run
from incarts_pipeline.models import Answer, AnswerKind, Link, Proof, State
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.settings import DatabasePlace
from tests.support.distant_proxy import DistantProxy, distant_proxy
from tests.support.ledgers import NOW, call, said

ROWS = 60


@contextmanager
def distant(place: DatabasePlace) -> Iterator[tuple[DistantProxy, DatabasePlace]]:
    """Count the round trips to a ledger."""
    parts = urlsplit(place.uri)
    with distant_proxy(parts.port or 0) as one:
        there = place.uri.replace(f":{parts.port}/", f":{one.port}/")
        yield one, replace(place, uri=f"{there}?sslmode=disable&gssencmode=disable")


def claims(first: int, n: int = ROWS) -> Callable[[sa.Connection], list[Operation]]:
    """Claim rows as a run does, which looks first who lives."""

    def work(connection: sa.Connection) -> list[Operation]:
        lock_sets(connection, [1])
        living = living_runs(connection, Process.current(), NOW)
        calls = [call(str(i), content=str(i)) for i in range(first, first + n)]
        found = claim_calls(connection, calls, "r1", living, NOW, retry_rejected=False)
        return [operation for _, operation in found if operation is not None]

    return work


def sent(operation: Operation) -> Sent:
    """Return an attempt about to leave."""
    return Sent(
        operation=operation,
        number=1,
        correlation_id=f"c-{operation.op_id}",
        api_key_fingerprint="fp",
        at=NOW,
    )


def linked(operation: Operation) -> Outcome:
    """Return the answer with an operation's link."""
    made = Link(id=f"lnk_{operation.row_key}")
    answer = Answer(
        kind=AnswerKind.LINK, correlation_id="c", status=201, made=made, proof=Proof.ECHO
    )
    return Outcome(operation=operation, state=State.DONE, at=NOW, number=1, answer=answer)


async def together(journal: Journal, *jobs: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Let the journal write some jobs as one group; what keeps it meanwhile is a group before."""
    kept, gathered = threading.Event(), threading.Event()

    def keep(_: sa.Connection) -> None:
        kept.set()
        gathered.wait(30)

    keeping = asyncio.create_task(journal.run(keep))
    await asyncio.to_thread(kept.wait, 30)
    waiting = [asyncio.ensure_future(job()) for job in jobs]
    await asyncio.sleep(0.01)
    gathered.set()
    await keeping
    return list(await asyncio.gather(*waiting))


def test_round_trips_of_a_group(engine: sa.Engine, place: DatabasePlace) -> None:
    """A group of claims, marks or answers takes one to three, and one with all of them four."""
    trips: dict[str, int] = {}
    with distant(place) as (network, there):
        own = open_engine(there)

        async def count(name: str, work: Awaitable[Any]) -> Any:
            before = network.trips
            result = await work
            trips[name] = network.trips - before
            return result

        async def run() -> None:
            async with Journal(own, there, "r1", [1]) as journal:
                await journal.run(
                    lambda c: start_run(c, "r1", ["s"], Process.current(), clock.now())
                )
                nothing = await count("nothing", journal.flush())
                assert nothing is None
                first = await count("claim", journal.run(claims(0)))
                assert len(first) == ROWS
                marked = await count("mark", journal.mark_sent([*map(sent, first)]))
                assert marked == [True] * ROWS
                second = await journal.run(claims(ROWS))
                for operation in first:
                    journal.record(linked(operation))
                await count("record and mark", journal.mark_sent([*map(sent, second)]))

                async def answered() -> None:
                    for operation in second:
                        journal.record(linked(operation))

                third = await journal.run(claims(2 * ROWS))
                _, marked, fourth = await count(
                    "keep, and all of them",
                    together(
                        journal,
                        answered,
                        lambda: journal.mark_sent([*map(sent, third)]),
                        lambda: journal.run(claims(3 * ROWS)),
                    ),
                )
                assert marked == [True] * ROWS
                assert len(fourth) == ROWS

        clock = clock_of(there, Clock())
        asyncio.run(run())
        own.dispose()
    states = "SELECT state, count(*) FROM operation GROUP BY state ORDER BY state"
    assert said(place, states) == [("done", 120), ("intended", 60), ("sent", 60)]
    assert trips == {
        "nothing": 1,
        "claim": 3,
        "mark": 1,
        "record and mark": 2,
        "keep, and all of them": 1 + 4,
    }


def test_round_trips_of_publishing(engine: sa.Engine, place: DatabasePlace) -> None:
    """To note files takes two; to confirm them one for each, and one for the COMMIT."""
    with distant(place) as (network, there):
        own = open_engine(there)
        with transaction(own, there):
            pass
        before = network.trips
        with transaction(own, there) as connection:
            mark = publications.note(connection, ["links.parquet", "history.parquet"])
        noted = network.trips
        with transaction(own, there) as connection:
            note = publications.Note("x", b"y" * 32)
            publications.confirm(connection, mark, {"links.parquet": note, "history.parquet": note})
        confirmed = network.trips
        own.dispose()
    assert (noted - before, confirmed - noted) == (2, 3)
    assert said(place, "SELECT count(*) FROM published WHERE sha256 IS NOT NULL") == [(2,)]


def test_round_trips_of_a_pace(engine: sa.Engine, place: DatabasePlace) -> None:
    """An exchange takes two, and holds the row for one of them."""
    with distant(place) as (network, there):
        fresh = lambda: Shared(RateController(20.0, learns=False))  # noqa: E731
        pace = paces_at(there, clock_of(there, Clock()))("key fixed 3", fresh)
        pace.exchange(Report("a", 20.0, (), 5))
        before = network.trips
        pace.exchange(Report("a", 20.0, (), 5))
        trips = network.trips - before
        pace.close()
    assert trips == 2


def test_work_that_fails_late_is_known(engine: sa.Engine, place: DatabasePlace) -> None:
    """What the database refuses only once it hears of it is told to whom it is of, alone."""
    own = open_engine(place)

    def twice(connection: sa.Connection) -> None:
        for _ in range(2):
            body = "INSERT INTO lost_key VALUES (decode('ab', 'hex'))"
            connection_of(connection).later(body)

    async def run() -> None:
        async with Journal(own, place, "r1", [1]) as journal:
            odd, others = await together(
                journal,
                lambda: asyncio.gather(journal.run(twice), return_exceptions=True),
                lambda: journal.run(claims(0)),
            )
            assert isinstance(odd[0], LedgerError)
            assert len(others) == ROWS

    asyncio.run(run())
    own.dispose()
    assert said(place, "SELECT count(*) FROM operation") == [(ROWS,)]


def test_whole_group_that_arrives_late_changes_nothing(
    engine: sa.Engine, place: DatabasePlace
) -> None:
    """A group that its run has taken for lost, and written again, finds another count."""
    own = open_engine(place)

    async def run() -> Operation:
        async with Journal(own, place, "r1", [1]) as journal:
            await journal.flush()
            [operation, *_] = await journal.run(claims(0, 1))
        return operation  # type: ignore[no-any-return]

    operation = asyncio.run(run())
    own.dispose()
    late = open_engine(place)

    def arrives(connection: sa.Connection) -> None:
        connection_of(connection).later(writer._NEXT, {"run_id": "r1", "seq": 2})
        mark(connection, "r1", [sent(operation)])

    with late.connect() as connection:
        begun = connection.begin()
        arrives(connection)
        with pytest.raises(sa.exc.DBAPIError) as refused:
            begun.commit()
    late.dispose()
    assert isinstance(refused.value.orig, psycopg.errors.DivisionByZero)
    assert said(place, "SELECT state FROM operation") == [("intended",)]


def test_offset_is_as_exact_as_the_best_measure() -> None:
    """A slow answer doesn't make it worse; a database whose clock was set is believed."""
    offset = Offset()
    offset.heard(100.0, 100.01, 1_100.006)
    best = offset.measure
    assert best is not None
    offset.heard(200.0, 230.0, 1_201.0)  # it waited for a lock
    assert offset.measure is best
    offset.heard(300.0, 300.002, 1_300.001)
    assert offset.measure is not None
    assert offset.measure.error < 0.002
    offset.heard(400.0, 400.5, 1_500.25)
    assert offset.measure.offset == pytest.approx(1_100.0)
