"""Real processes, killed or frozen at every place that matters, on a sandbox with faults."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Faults, SandboxConfig
from incarts_pipeline.settings import DatabasePlace
from tests.support.processes import NO_MAPPING, kill_and_run_again, start, wait_until_stopped
from tests.support.runs import products

ROWS = 40
# Publishing is passed once, everything else for each group of rows or requests.
TIMES = dict.fromkeys(Place, (1, 9)) | {
    Place.BEFORE_INTENT: (1,),
    Place.INTENDED: (1,),
    Place.BEFORE_PUBLISH: (1,),
    Place.MID_PUBLISH: (1, 3),
}
FAILPOINTS = [f"{place}:{times}" for place in Place for times in TIMES[place]]


@pytest.fixture
def faulty() -> Iterator[Sandbox]:
    """A sandbox on which every fifth request fails, in any way."""
    with Sandbox(SandboxConfig(faults=Faults.spread(0.2), latency=0.03)) as box:
        yield box


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_place(faulty: Sandbox, tmp_path: Path, failpoint: str) -> None:
    """SIGKILL there, run again: every row has one link, and the server made no other."""
    recovery = kill_and_run_again(faulty, tmp_path, ROWS, failpoint=failpoint)
    assert recovery.was_killed
    assert recovery.wrong == []


@pytest.mark.parametrize("place", Place)
def test_killed_at_a_place_on_postgres(
    faulty: Sandbox, database: DatabasePlace, tmp_path: Path, place: Place
) -> None:
    """The same with a ledger in PostgreSQL, whose backend is left alone with its transaction."""
    recovery = kill_and_run_again(
        faulty, tmp_path, ROWS, failpoint=f"{place}:1", ledger=database.uri
    )
    assert recovery.was_killed
    assert recovery.wrong == []


@pytest.mark.parametrize("after", [1.4, 2.0, 3.0])
def test_killed_at_any_time(faulty: Sandbox, tmp_path: Path, after: float) -> None:
    """SIGKILL after so many seconds, wherever the run is then."""
    recovery = kill_and_run_again(faulty, tmp_path, ROWS, after=after)
    assert recovery.wrong == []


def end_leases(ledger: Path) -> None:
    """End every lease, as if 30 seconds had gone by."""
    connection = sqlite3.connect(ledger)
    with connection:
        connection.execute("UPDATE run SET lease_until = 0")
    connection.close()


@pytest.mark.parametrize("place", [Place.MARKED, Place.IN_FLIGHT])
def test_stopped_past_its_lease(box: Sandbox, tmp_path: Path, place: Place) -> None:
    """A process that slept past its lease finds its rows taken over, and duplicates nothing."""
    pacsv.write_csv(products(ROWS), "catalog.csv")
    box.reconfigure(latency=0.03)
    arguments = ("apply", "catalog.csv", *NO_MAPPING, "-o")
    ledger = Path("incarts-ledger.db")
    sleeper = start(box, *arguments, "a.parquet", failpoint=f"{place}:5:stop")
    try:
        wait_until_stopped(ledger, sleeper)
        end_leases(ledger)
        other = start(box, *arguments, "b.parquet")
        _, err = other.communicate(timeout=300)
        assert other.returncode == 0, err
        sleeper.send_signal(signal.SIGCONT)
        _, err = sleeper.communicate(timeout=300)
        assert sleeper.returncode == 0, err
    finally:
        sleeper.kill()
        sleeper.communicate()
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (ROWS, 0, 0)
