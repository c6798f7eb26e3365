"""A run's writer: lost connections, servers that stop, and one that has forgotten something."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError, LedgerForgottenError
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Operation, claim_calls
from incarts_pipeline.ledger.database import open_engine, prepare_file
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.models import Answer, AnswerKind, Link, State
from incarts_pipeline.settings import DatabasePlace
from tests.support import postgres
from tests.support.cutting_proxy import Cut, Proxy, proxy
from tests.support.ledgers import HOST, NOW, call, claim, ours, said


def through(place: DatabasePlace, port: int, pause: float = 60.0) -> DatabasePlace:
    """Return a place that is reached through another port."""
    parts = urlsplit(place.uri)
    there = f"{parts.netloc.rpartition(':')[0]}:{port}"
    uri = urlunsplit((parts.scheme, there, parts.path, parts.query, ""))
    return replace(place, uri=uri, pause=pause)


@contextmanager
def proxied(place: DatabasePlace) -> Iterator[tuple[Proxy, DatabasePlace]]:
    """Put a proxy before a ledger."""
    with proxy(urlsplit(place.uri).port or 0) as one:
        yield one, through(place, one.port)


def sent(operation: Operation, number: int = 1) -> Sent:
    """Return an attempt about to leave."""
    return Sent(
        operation=operation,
        number=number,
        correlation_id=f"c-{operation.op_id}-{number}",
        api_key_fingerprint="fp",
        at=NOW,
    )


def linked(operation: Operation) -> Outcome:
    """Return the answer with an operation's link."""
    made = Link(id=f"lnk_{operation.row_key}")
    answer = Answer(kind=AnswerKind.LINK, correlation_id="c", status=201, made=made)
    return Outcome(operation=operation, state=State.DONE, at=NOW, number=1, answer=answer)


async def send_all(journal: Journal, keys: Sequence[str], at_once: int = 4) -> None:
    """Claim, mark and answer rows, as a run does; an error of the ledger's ends it."""
    slots = asyncio.Semaphore(at_once)

    async def one(key: str) -> None:
        async with slots:

            def claims(connection: sa.Connection) -> Operation | None:
                [(_, found)] = claim_calls(
                    connection, [call(key)], "r1", (), NOW, retry_rejected=False
                )
                return found

            operation = await journal.run(claims)
            assert operation is not None
            assert await journal.mark_sent([sent(operation)]) == [True]
            journal.record(linked(operation))

    async with asyncio.TaskGroup() as group:
        for key in keys:
            group.create_task(one(key))


def journaled(place: DatabasePlace, work: Callable[[Journal], object]) -> Journal:
    """Run an asynchronous piece of work with a journal."""
    engine = open_engine(place)

    async def run() -> Journal:
        async with Journal(engine, place, "r1") as journal:
            await work(journal)  # type: ignore[misc]
        return journal

    try:
        return asyncio.run(run())
    finally:
        engine.dispose()


def states(place: DatabasePlace) -> Counter[str]:
    """Count a ledger's operations by state."""
    return Counter(state for (state,) in said(place, "SELECT state FROM operation"))


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER, Cut.LATE])
def test_connection_cut_around_a_commit_makes_no_doubt(
    engine: sa.Engine, place: DatabasePlace, cut: Cut
) -> None:
    """Whether a group holds whose COMMIT was cut is known: all is recorded, and once."""
    keys = [str(n) for n in range(30)]
    draw = random.Random(cut.value)
    with proxied(place) as (between, there):
        between.choose = lambda: cut if draw.random() < 0.3 else Cut.NONE
        journal = journaled(there, lambda journal: send_all(journal, keys))
    assert between.cuts[cut] > 0
    assert list(journal.unrecorded) == []
    assert states(place) == {"done": 30}
    assert said(place, "SELECT count(*), max(number) FROM attempt") == [(30, 1)]
    assert said(place, "SELECT count(*) FROM attempt WHERE answered_at IS NULL") == [(0,)]


def test_a_group_whose_work_fails_beside_a_cut(engine: sa.Engine, place: DatabasePlace) -> None:
    """A piece of work that fails is left out, and the others are written once."""
    with proxied(place) as (between, there):
        cuts = iter([Cut.AFTER])
        between.choose = lambda: next(cuts, Cut.NONE)
        gathered = threading.Event()

        def fails(_: sa.Connection) -> None:
            raise ValueError("its own")

        async def work(journal: Journal) -> None:
            waiting = [asyncio.create_task(journal.run(lambda _: gathered.wait(30)))]
            await asyncio.sleep(0)
            claims = lambda c: claim_calls(c, [call()], "r1", (), NOW, retry_rejected=False)  # noqa: E731
            waiting += [asyncio.create_task(journal.run(one)) for one in (fails, claims)]
            await asyncio.sleep(0)
            gathered.set()
            _, failed, claimed = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(failed, ValueError)
            assert claimed[0][1] is not None

        journaled(there, work)
    assert states(place) == {"intended": 1}


@pytest.fixture
def own_server() -> Iterator[postgres.Server]:
    """A server that a test may stop, which syncs to the disk."""
    if postgres.programs() is None:
        pytest.skip("PostgreSQL isn't installed")
    with postgres.server(fsync="on") as one:
        yield one


def made_on(server: postgres.Server, pause: float = 60.0) -> DatabasePlace:
    """Make a ledger on a server, with one link set."""
    place = DatabasePlace(uri=server.uri(), pause=pause)
    engine = prepare_file(place, HOST)
    with engine.begin() as connection:
        ensure_sets(connection, "demo", ["s"], ["sku"])
    engine.dispose()
    return place


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_server_that_stops_is_waited_for(own_server: postgres.Server, mode: str) -> None:
    """Stopped and started again while a run writes, it has all, once, and nothing is in doubt."""
    place = made_on(own_server)
    keys = [str(n) for n in range(400)]
    stops = 3

    async def work(journal: Journal) -> None:
        sending = asyncio.create_task(send_all(journal, keys, at_once=8))
        for _ in range(stops):
            await asyncio.sleep(0.05)
            await asyncio.to_thread(own_server.stop, mode)
            await asyncio.to_thread(own_server.start)
        await sending

    journaled(place, work)
    assert states(place) == {"done": 400}
    assert said(place, "SELECT count(*), max(number) FROM attempt") == [(400, 1)]


@pytest.mark.slow
def test_backend_that_is_killed_is_waited_for(own_server: postgres.Server) -> None:
    """SIGKILL of a backend takes the whole server through recovery; the run goes on after it."""
    place = made_on(own_server)
    keys = [str(n) for n in range(400)]

    def kill_all() -> None:
        # The server ends this connection as well.
        with suppress(psycopg.OperationalError), psycopg.connect(place.uri) as connection:
            query = (
                "SELECT pid FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            for (pid,) in connection.execute(query).fetchall():
                os.kill(pid, signal.SIGKILL)

    async def work(journal: Journal) -> None:
        sending = asyncio.create_task(send_all(journal, keys, at_once=8))
        for _ in range(3):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(kill_all)
            await asyncio.to_thread(postgres.wait_for, own_server.answers)
        await sending

    journaled(place, work)
    assert states(place) == {"done": 400}


@pytest.mark.slow
def test_server_that_stays_away_ends_the_run(own_server: postgres.Server) -> None:
    """After the pause the error says so; answers are kept, and recorded once it is back."""
    place = made_on(own_server, pause=0.3)
    engine = open_engine(place)
    operation = ours(engine, call())

    async def work(journal: Journal) -> None:
        assert await journal.mark_sent([sent(operation)]) == [True]
        await asyncio.to_thread(own_server.stop)
        journal.record(linked(operation))
        with pytest.raises(LedgerError, match="can't be used"):
            await journal.flush()
        assert len(journal.unrecorded) == 1
        await asyncio.to_thread(own_server.start)
        await journal.flush()
        assert list(journal.unrecorded) == []

    journaled(place, work)
    engine.dispose()
    assert states(place) == {"done": 1}


@pytest.mark.slow
def test_standby_that_was_behind_is_told_what_it_has_not_heard(
    own_server: postgres.Server,
) -> None:
    """Promoted, it knows nothing of the last groups: they are in doubt there, or have their link.

    Nothing more is sent, and nothing is written by ids that others may have by now.
    """
    place = made_on(own_server)
    engine = open_engine(place)
    with (
        postgres.standby_of(own_server) as standby,
        proxy(own_server.port) as between,
    ):
        there = through(place, between.port)

        async def work(journal: Journal) -> None:
            await send_all(journal, ["before"])
            await journal.flush()
            postgres.wait_for(lambda: standby.has_all_of(own_server))
            standby.stop_hearing()
            lost = [ours_of(await journal.run(claiming(key))) for key in ("linked", "doubt")]
            for operation in lost:
                assert await journal.mark_sent([sent(operation)]) == [True]
            journal.record(linked(lost[0]))
            await journal.flush()
            await asyncio.to_thread(own_server.stop, "immediate")
            await asyncio.to_thread(standby.promote)
            between.target = standby.port
            with pytest.raises(LedgerForgottenError):
                await journal.mark_sent([sent(lost[1], 2)])
            journal.record(linked(lost[1]))  # which comes home late
            with pytest.raises(LedgerForgottenError):
                await journal.flush()

        journal = journaled(there, work)
        after = through(place, standby.port)
        found = said(after, "SELECT row_key, state FROM operation ORDER BY row_key")
        links = said(after, "SELECT row_key, link_id FROM row ORDER BY row_key")
    engine.dispose()
    assert list(journal.unrecorded) == []
    assert found == [("before", "done"), ("doubt", "done"), ("linked", "done")]
    assert links == [("before", "lnk_before"), ("doubt", "lnk_doubt"), ("linked", "lnk_linked")]


def claiming(key: str) -> Callable[[sa.Connection], Operation | None]:
    """Claim one row."""

    def work(connection: sa.Connection) -> Operation | None:
        [(_, found)] = claim_calls(connection, [call(key)], "r1", (), NOW, retry_rejected=False)
        return found

    return work


def ours_of(found: Operation | None) -> Operation:
    """Return an operation that must be ours."""
    assert found is not None
    return found


@pytest.mark.slow
def test_what_was_in_flight_is_in_doubt_after_a_failover(own_server: postgres.Server) -> None:
    """Without an answer it is in doubt with its own age, and the next run claims and settles it."""
    place = made_on(own_server)
    with postgres.standby_of(own_server) as standby, proxy(own_server.port) as between:
        there = through(place, between.port)

        async def work(journal: Journal) -> None:
            await send_all(journal, ["before"])
            await journal.flush()
            postgres.wait_for(lambda: standby.has_all_of(own_server))
            standby.stop_hearing()
            operation = ours_of(await journal.run(claiming("doubt")))
            assert await journal.mark_sent([sent(operation)]) == [True]
            await asyncio.to_thread(own_server.stop, "immediate")
            await asyncio.to_thread(standby.promote)
            between.target = standby.port
            with pytest.raises(LedgerForgottenError):
                await journal.flush()

        journaled(there, work)
        after = through(place, standby.port)
        columns = "state, first_sent_at, api_key_fingerprint, attempts"
        found = said(after, f"SELECT {columns} FROM operation WHERE row_key = 'doubt'")
        engine = open_engine(after)
        claimed, _ = claim(engine, call("doubt"), run="r2")
        engine.dispose()
    assert found == [("in_doubt", NOW.micros, "fp", 1)]
    assert claimed == "doubt"
