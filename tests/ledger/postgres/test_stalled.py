"""Processes that are stopped while they send a transaction: others go on, and so do they."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger.claims import claim_calls
from incarts_pipeline.ledger.database import open_engine
from incarts_pipeline.ledger.postgres import engine as engines, stalled, writer as writers
from incarts_pipeline.ledger.postgres.errors import explain
from incarts_pipeline.ledger.postgres.locks import LEDGER, PUBLISHED, key_of
from incarts_pipeline.ledger.postgres.writer import PostgresWriter
from incarts_pipeline.settings import DatabasePlace
from tests.support.ledgers import NOW, call, said

# Claims a row, and stands still with half of its pipeline at the server, which has the lock.
STOPPED = """
import os, signal, sys
import psycopg
from incarts_pipeline.ledger.claims import claim_calls
from incarts_pipeline.ledger.database import open_engine
from incarts_pipeline.ledger.postgres.connection import Connection
from incarts_pipeline.ledger.postgres.writer import PostgresWriter
from incarts_pipeline.settings import as_place
from tests.support.ledgers import NOW, call

whole = Connection._together

def half(self, words, last):
    if not any(b"pg_advisory_xact_lock" in one.query for one in words):
        return whole(self, words, last)
    Connection._together = whole
    with self.pipeline():
        cursors = [psycopg.Cursor(self).execute(*one[:2]) for one in words]
        cursors[-1].fetchone()  # a flush, and no end of the pipeline
        os.kill(os.getpid(), signal.SIGSTOP)
        if last is not None:
            last()
    return cursors

Connection._together = half
place = as_place(sys.argv[1])
writer = PostgresWriter(open_engine(place), place, "stopped")
[(claimed, _)] = writer.write(
    lambda c: claim_calls(c, [call("1")], "stopped", ("r1", "stopped"), NOW, retry_rejected=False)
)
print(claimed.name)
"""


@pytest.fixture
def stopped(place: DatabasePlace, engine: sa.Engine) -> Iterator[subprocess.Popen[str]]:
    """A process that stands still in the middle of its claims."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, place.uri], stdout=subprocess.PIPE, text=True
    )
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def writer(
    place: DatabasePlace, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgresWriter]:
    """The writer of a run that waits for a lock for a moment only."""
    monkeypatch.setitem(engines._SET, "lock_timeout", "'200ms'")
    own = open_engine(place)
    yield (one := PostgresWriter(own, place, "r1"))
    one.close()
    own.dispose()


def claimed(writer: PostgresWriter, key: str = "1") -> str:
    """Claim a row as a run does."""
    [(found, _)] = writer.write(
        lambda c: claim_calls(c, [call(key)], "r1", ("r1", "stopped"), NOW, retry_rejected=False)
    )
    return found.name


def test_a_process_that_stands_still_is_in_nobodys_way(
    stopped: subprocess.Popen[str],
    writer: PostgresWriter,
    place: DatabasePlace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its transaction is undone; when it goes on, it knows that, and finds the row taken."""
    monkeypatch.setattr(stalled, "SECONDS", 0.1)
    assert claimed(writer) == "OURS"
    stopped.send_signal(signal.SIGCONT)
    assert stopped.communicate(timeout=60)[0].strip() == "BUSY"
    assert stopped.returncode == 0
    assert said(place, "SELECT run_id, epoch FROM operation") == [("r1", 1)]
    counts = "SELECT run_id, seq FROM run_commit ORDER BY run_id"
    assert said(place, counts) == [("r1", 1), ("stopped", 1)]


def test_one_that_only_takes_its_time_is_left_alone(
    stopped: subprocess.Popen[str], writer: PostgresWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time nothing is ended: it goes on, and has the row."""
    tried: list[Exception] = []

    def going_on(_: object, error: Exception) -> None:
        tried.append(error)
        if len(tried) == 2:
            stopped.send_signal(signal.SIGCONT)
            assert stopped.communicate(timeout=60)[0].strip() == "OURS"

    monkeypatch.setattr(writers._Patience, "wait", going_on)
    assert claimed(writer) == "BUSY"
    assert len(tried) == 2


def waits_for_its_client(mine: psycopg.Connection, pid: int) -> None:
    """Return once a session's server process waits for its client."""
    query = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
    while mine.execute(query, [pid]).fetchone() != ("ClientRead",):
        pass


def test_only_who_holds_the_ledger_s_locks_is_ended(
    place: DatabasePlace, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stands still in a transaction of other tables, or only reads, goes on."""
    monkeypatch.setattr(stalled, "SECONDS", 0.0)
    monkeypatch.setattr(stalled, "_BETWEEN", 0.01)
    with psycopg.connect(place.uri) as other, psycopg.connect(place.uri, autocommit=True) as mine:
        pid = other.info.backend_pid
        other.execute("CREATE TABLE public.theirs (n int)")
        with suppress(psycopg.OperationalError), other.pipeline():
            others = other.execute("SELECT pg_advisory_xact_lock(1), count(*) FROM public.theirs")
            others.fetchone()
            reads = other.execute(f'SELECT count(*) FROM "{place.schema}".operation'.encode())
            reads.fetchone()
            waits_for_its_client(mine, pid)
            stalled.end_stalled(mine, place.schema)
            assert other.execute("SELECT 1").fetchone() == (1,)
            key = key_of(place.schema, LEDGER)
            assert other.execute("SELECT pg_advisory_xact_lock(%s)", [key]).fetchone()
            waits_for_its_client(mine, pid)
            stalled.end_stalled(mine, place.schema)
            other.execute("SELECT 1").fetchone()
        assert other.closed


def test_one_that_takes_in_what_it_asked_for_is_left_alone(
    place: DatabasePlace, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its client now and then, however long ago it asked."""
    monkeypatch.setattr(stalled, "SECONDS", 0.0)
    with psycopg.connect(place.uri) as other, psycopg.connect(place.uri, autocommit=True) as mine:
        looked = mine.execute
        asked: list[object] = []

        def between(*words: object, **named: object) -> object:
            found = looked(*words, **named)  # type: ignore[arg-type]
            if words[0] == stalled._STALLED:
                asked.append(other.execute("SELECT 1").fetchone())
            return found

        monkeypatch.setattr(mine, "execute", between)
        with other.pipeline():
            key = key_of(place.schema, LEDGER)
            assert other.execute("SELECT pg_advisory_xact_lock(%s)", [key]).fetchone()
            waits_for_its_client(mine, other.info.backend_pid)
            stalled.end_stalled(mine, place.schema)
            assert other.execute("SELECT 1").fetchone() == (1,)
        assert asked


def test_a_look_waits_for_no_lock(
    place: DatabasePlace, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody has the table of link sets for himself, the other locks are looked at."""
    monkeypatch.setattr(stalled, "_BOUNDED", stalled._BOUNDED.replace("1s", "50ms"))
    with psycopg.connect(place.uri) as other, psycopg.connect(place.uri, autocommit=True) as mine:
        other.execute(f'LOCK TABLE "{place.schema}".link_set'.encode())
        keys = stalled._keys(mine, place.schema)
        assert keys == [key_of(place.schema, what) for what in (LEDGER, PUBLISHED)]


def test_a_server_without_memory_is_told_so(place: DatabasePlace) -> None:
    """No room on a disk helps there."""
    error = explain(psycopg.errors.OutOfMemory("out of memory"), place)
    assert "more" in (error.fix or "")
    assert "disk" not in (error.fix or "")
