"""Transactions side by side: what SQLite's one writer excludes is excluded by locks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from incarts_pipeline.errors import LedgerLockedError
from incarts_pipeline.ledger import claims, publications
from incarts_pipeline.ledger.attempts import Outcome, Sent, write_outcomes
from incarts_pipeline.ledger.claims import Claim, claim_calls
from incarts_pipeline.ledger.database import open_engine, prepare_file, transaction
from incarts_pipeline.ledger.doubts import claim_doubts
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.postgres.store import PostgresStore
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.models import Answer, AnswerKind, Link, State
from incarts_pipeline.settings import DatabasePlace
from tests.support.ledgers import HOST, NOW, call, claim, ours, said, send

Work = Callable[[sa.Connection], Any]


def beside(engine: sa.Engine, first: Work, second: Work) -> tuple[Any, Any]:
    """Run the second piece while the first one's transaction is open; return what both did.

    The first commits once the second is done, or waits for a lock.
    """
    began, over = threading.Event(), threading.Event()

    def one() -> Any:
        with engine.begin() as connection:
            result = first(connection)
            began.set()
            while not over.wait(0.02) and not is_waiting():
                pass
        return result

    def other() -> Any:
        began.wait(30)
        try:
            with engine.begin() as connection:
                return second(connection)
        finally:
            over.set()

    def is_waiting() -> bool:
        with engine.begin() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return bool(connection.exec_driver_sql(query).scalar())

    with ThreadPoolExecutor(2) as threads:
        both: list[Future[Any]] = [threads.submit(one), threads.submit(other)]
        return both[0].result(60), both[1].result(60)


def claiming(content: str, run: str, living: tuple[str, ...] = ("r1", "r2")) -> Work:
    """Claim a row for a content."""

    def work(connection: sa.Connection) -> Claim:
        one = call(content=content)
        [(found, _)] = claim_calls(connection, [one], run, living, NOW, retry_rejected=False)
        return found

    return work


def test_two_runs_can_not_claim_one_row(engine: sa.Engine) -> None:
    """The second one sees what the first has claimed, also with another content."""
    assert beside(engine, claiming("a", "r1"), claiming("b", "r2")) == (Claim.OURS, Claim.BUSY)


def test_without_the_lock_one_row_is_claimed_twice(
    engine: sa.Engine, place: DatabasePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps them apart is the lock of the link set, and an index that refuses at the last."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX one_open_operation_per_row")
    monkeypatch.setattr(PostgresStore, "locked", lambda *_: None)
    assert beside(engine, claiming("a", "r1"), claiming("b", "r2")) == (Claim.OURS, Claim.OURS)
    assert said(place, "SELECT count(*) FROM operation") == [(2,)]


def test_sets_are_locked_in_one_order(engine: sa.Engine, place: DatabasePlace) -> None:
    """Claims of the same sets in another order wait for each other, and none is given up."""
    with engine.begin() as connection:
        ids = ensure_sets(connection, "demo", ["s", "t"], ["sku"])
    one, other = (replace(call(), set_id=ids[name], link_set=name) for name in ("s", "t"))

    def both(calls: list[Any], run: str) -> Work:
        def work(connection: sa.Connection) -> list[Claim]:
            living = ("r1", "r2")
            found = claim_calls(connection, calls, run, living, NOW, retry_rejected=False)
            return [claimed for claimed, _ in found]

        return work

    first, second = beside(engine, both([one, other], "r1"), both([other, one], "r2"))
    assert (first, second) == ([Claim.OURS] * 2, [Claim.BUSY] * 2)


def test_other_sets_do_not_wait(engine: sa.Engine) -> None:
    """A claim in another link set goes on beside one that is open."""
    with engine.begin() as connection:
        ids = ensure_sets(connection, "demo", ["s", "t"], ["sku"])

    def elsewhere(connection: sa.Connection) -> Claim:
        connection.exec_driver_sql("SET LOCAL lock_timeout TO '1ms'")
        one = replace(call(), set_id=ids["t"], link_set="t")
        [(found, _)] = claim_calls(connection, [one], "r2", (), NOW, retry_rejected=False)
        return found

    assert beside(engine, claiming("a", "r1"), elsewhere) == (Claim.OURS, Claim.OURS)


def test_ids_are_nobody_else_s(engine: sa.Engine) -> None:
    """Claims of two sets side by side have ids of their own."""
    with engine.begin() as connection:
        ids = ensure_sets(connection, "demo", ["s", "t"], ["sku"])

    def forty(name: str) -> Work:
        def work(connection: sa.Connection) -> set[int]:
            calls = [replace(call(str(n)), set_id=ids[name], link_set=name) for n in range(40)]
            found = claim_calls(connection, calls, name, (), NOW, retry_rejected=False)
            return {operation.op_id for _, operation in found if operation}

        return work

    first, second = beside(engine, forty("s"), forty("t"))
    assert (len(first), len(second), first & second) == (40, 40, set())


def answered(operation: Any, link: str = "lnk_1") -> Work:
    """Record the link of an operation."""

    def work(connection: sa.Connection) -> None:
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", status=201, made=Link(id=link))
        told = Outcome(operation=operation, state=State.DONE, at=NOW, number=1, answer=answer)
        write_outcomes(connection, "r1", [told])

    return work


def test_answer_comes_before_or_after_a_claim(engine: sa.Engine, place: DatabasePlace) -> None:
    """A claim waits for an answer that is being recorded, and sees that the row has moved."""
    first = ours(engine, call(content="a"))
    send(engine, first)
    _, found = beside(engine, answered(first), claiming("b", "r2", ()))
    assert found is Claim.MOVED
    assert said(place, "SELECT state FROM operation") == [("done",)]


def test_doubt_that_is_settled_just_now_is_not_claimed(
    engine: sa.Engine, place: DatabasePlace
) -> None:
    """A link that comes home while its operation is taken over stays done."""
    first = ours(engine, call())
    send(engine, first)
    _, found = beside(engine, answered(first), lambda c: claim_doubts(c, [1], "r2", ()))
    assert found == []
    assert said(place, "SELECT state, epoch FROM operation") == [("done", 1)]


def test_mark_comes_before_or_after_a_claim(engine: sa.Engine, place: DatabasePlace) -> None:
    """What a run is marking as sent just now is in doubt for whoever takes it over."""
    first = ours(engine, call())

    def marks(connection: sa.Connection) -> None:
        query = "UPDATE operation SET state = 'sent', first_sent_at = 1 WHERE epoch = 1"
        connection.exec_driver_sql(query)

    _, found = beside(engine, marks, claiming("a", "r2", ()))
    assert found is Claim.DOUBT
    assert said(place, "SELECT state, epoch FROM operation") == [("sent", first.epoch)]


def test_operations_are_read_before_pointers(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pointer that is newer than the operations says that the row has moved; never an older."""
    told: list[str] = []
    execute = psycopg.Cursor.execute

    def telling(cursor: Any, query: Any, *values: Any, **how: Any) -> Any:
        told.append(query.decode() if isinstance(query, bytes) else str(query))
        return execute(cursor, query, *values, **how)

    with engine.connect():  # is ready
        monkeypatch.setattr(psycopg.Cursor, "execute", telling)
    claim(engine, call())
    reads = [one for one in told if one.startswith("SELECT")]
    [lock] = [i for i, one in enumerate(reads) if "pg_advisory_xact_lock" in one]
    held, operations = (
        i for i, one in enumerate(reads) if "FROM operation" in one and "row_key" in one
    )
    [pointers] = [i for i, one in enumerate(reads) if "FROM row" in one]
    assert lock < held < operations < pointers
    assert reads[held].rstrip().endswith("FOR UPDATE")


def test_pointers_read_first_would_make_a_second_link(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order matters: read the other way round, an answer between them goes unseen."""
    first = ours(engine, call(content="a"))
    send(engine, first)

    def the_other_way(connection: sa.Connection, calls: Any, **_: object) -> claims._Rows:
        keys = {"set_id": 1, "row_keys": [one.row_key for one in calls]}
        pointers = {(1, r.row_key): r.op_id for r in connection.execute(claims._POINTERS, keys)}
        with engine.begin() as other:
            answered(first)(other)
        found: dict[Any, Any] = {}
        for one in connection.execute(claims._OPERATIONS, keys):
            found.setdefault((1, one.row_key), []).append(one)
        return claims._Rows(found, pointers, (), may_be_lost=False)

    monkeypatch.setattr(claims, "_read_rows", the_other_way)
    claimed, _ = claim(engine, call(content="b"), run="r2", living=("r1", "r2"))
    assert claimed is Claim.OURS


def test_one_link_id_of_two_rows_at_once(engine: sa.Engine, place: DatabasePlace) -> None:
    """Two answers with one link id that are recorded side by side are seen by each other."""
    first, second = ours(engine, call("1", "a")), ours(engine, call("2", "b"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE operation SET destination_hash = decode(repeat('ab', 32), 'hex') "
            "WHERE row_key = '2'"
        )
    send(engine, first)
    send(engine, second)
    beside(engine, answered(first, "lnk_x"), answered(second, "lnk_x"))
    found = said(place, "SELECT row_key, state FROM operation ORDER BY row_key")
    # Nothing proves either, so the first is disputed, too.
    assert found == [("1", "needs_review"), ("2", "in_doubt")]
    assert said(place, "SELECT count(*) FROM link") == [(1,)]


def test_note_waits_for_what_is_being_changed(engine: sa.Engine, place: DatabasePlace) -> None:
    """A file that is noted while a change is under way is read after it, or not confirmed."""
    first = ours(engine, call())
    send(engine, first)

    def noted(connection: sa.Connection) -> object:
        publications.note(connection, ["links.parquet"])
        return connection.exec_driver_sql("SELECT count(*) FROM link").scalar()

    assert beside(engine, answered(first), noted)[1] == 1


def test_change_after_a_note_deletes_it(engine: sa.Engine, place: DatabasePlace) -> None:
    """Whatever changes what is published waits for a note that is being written, and deletes it."""
    operation = ours(engine, call())

    def marks(connection: sa.Connection) -> None:
        connection.exec_driver_sql("UPDATE operation SET attempts = 1")

    beside(engine, lambda c: publications.note(c, ["links.parquet"]), marks)
    assert operation is not None
    assert said(place, "SELECT count(*) FROM published") == [(0,)]


def test_one_ledger_is_made_by_many(place: DatabasePlace) -> None:
    """Eight processes that begin at once make one ledger."""
    with ThreadPoolExecutor(8) as threads:
        engines = list(threads.map(lambda _: prepare_file(place, HOST), range(8)))
    for engine in engines:
        engine.dispose()
    assert said(place, "SELECT count(*) FROM meta WHERE name = 'ledger_id'") == [(1,)]


def test_lock_that_is_held_for_long_is_named(engine: sa.Engine, place: DatabasePlace) -> None:
    """Whoever waits too long for another transaction is told so."""
    holds = psycopg.connect(place.uri)
    holds.execute(f'LOCK TABLE "{place.schema}".run')

    def change() -> None:
        with transaction(engine, place) as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout TO '1ms'")
            connection.exec_driver_sql("UPDATE run SET pid = 1")

    with pytest.raises(LedgerLockedError):
        change()
    holds.close()


def test_claims_and_answers_of_two_runs_do_not_stop_each_other(
    engine: sa.Engine, place: DatabasePlace
) -> None:
    """Two journals that answer and claim the same rows all the time: no group is given up."""
    keys = [str(n) for n in range(60)]
    gave_up = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

    def one(run: str, mine: list[str]) -> None:
        own = open_engine(place)

        async def work() -> None:
            async with Journal(own, place, run, [1]) as journal:
                for key in mine:
                    found = await journal.run(claiming_all(keys, run))
                    for operation in (one for _, one in found if one and one.row_key == key):
                        await journal.mark_sent([attempt(operation)])
                        journal.record(outcome(operation))

        asyncio.run(work())
        own.dispose()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, ("r1", "r2"), (keys[:30], keys[30:])))
    assert said(place, gave_up) == [(0,)]


def claiming_all(keys: Sequence[str], run: str) -> Work:
    """Claim rows, most of which are another run's by now."""

    def work(connection: sa.Connection) -> list[tuple[Claim, Any]]:
        calls = [call(key) for key in keys]
        return claim_calls(connection, calls, run, ("r1", "r2"), NOW, retry_rejected=False)

    return work


def attempt(operation: Any) -> Sent:
    """Return the first attempt of an operation."""
    return Sent(operation=operation, number=1, correlation_id="c", api_key_fingerprint="fp", at=NOW)


def outcome(operation: Any) -> Outcome:
    """Return an answer with a link of the operation's own."""
    made = Link(id=f"lnk_{operation.row_key}")
    answer = Answer(kind=AnswerKind.LINK, correlation_id="c", status=201, made=made)
    return Outcome(operation=operation, state=State.DONE, at=NOW, number=1, answer=answer)
