"""Workers as processes of their own: one is killed, one is stopped past its lease."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Faults
from incarts_pipeline.settings import LedgerPlace
from tests.support.ledgers import said
from tests.support.processes import NO_MAPPING, start, wait_until_stopped
from tests.support.runs import products

ROWS = 120
TO = ("-o", "links.parquet")
_WAIT = 300.0


def incarts(
    box: Sandbox, place: LedgerPlace, *arguments: str, failpoint: str = ""
) -> subprocess.Popen[str]:
    """Start a command on a ledger."""
    uri = place if isinstance(place, Path) else place.uri
    return start(box, *arguments, "--ledger", str(uri), failpoint=failpoint)


def ended(process: subprocess.Popen[str], *codes: int) -> None:
    """Wait for a process, which must have one of some exit codes."""
    _, complaints = process.communicate(timeout=_WAIT)
    assert process.returncode in codes, complaints


def wait_until_it_stands_still(place: LedgerPlace, process: subprocess.Popen[str]) -> None:
    """Wait until a process has stopped itself, and holds no lock of the ledger."""
    if isinstance(place, Path):
        wait_until_stopped(place, process)
        return
    end = time.monotonic() + _WAIT
    while not _is_stopped(process) or _is_in_transaction(place):
        assert time.monotonic() < end, "it did not stop"
        if _is_stopped(process):
            process.send_signal(signal.SIGCONT)
            time.sleep(0.001)
            process.send_signal(signal.SIGSTOP)
        time.sleep(0.02)


def _is_stopped(process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, process.communicate()
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _is_in_transaction(place: LedgerPlace) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state LIKE 'idle in transaction%'"
    )
    return said(place, query) != [(0,)]


@pytest.mark.parametrize("stopped_at", [Place.MARKED, Place.IN_FLIGHT])
def test_one_is_killed_and_one_stopped(box: Sandbox, place: LedgerPlace, stopped_at: Place) -> None:
    """Whatever befalls two of them, a third one makes what is left; nothing twice, nothing lost."""
    pacsv.write_csv(products(ROWS), "catalog.csv")
    box.reconfigure(faults=Faults.spread(0.15), latency=0.03, late_seconds=0.1, stall_seconds=0.1)
    slow = ("work", "--rate", "fixed:30")
    ended(incarts(box, place, "apply", "catalog.csv", *TO, "--enqueue", *NO_MAPPING), 0)
    sleeper = incarts(box, place, *slow, failpoint=f"{stopped_at}:5:stop")
    try:
        wait_until_it_stands_still(place, sleeper)
        ended(incarts(box, place, *slow, failpoint=f"{Place.ANSWERED}:9"), -signal.SIGKILL)
        said(place, "UPDATE run SET lease_until = 0 WHERE ended_at IS NULL")
        third = incarts(box, place, *slow)
        sleeper.send_signal(signal.SIGCONT)
        ended(third, 0)
        ended(sleeper, 0)
    finally:
        sleeper.kill()
        sleeper.communicate()
    ended(incarts(box, place, "publish", "catalog.csv", *TO, *NO_MAPPING), 0)
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (ROWS, 0, 0)
    table = pq.read_table("links.parquet")
    assert set(table["status"].to_pylist()) == {"created"}
    assert sorted(table["link_id"].to_pylist()) == sorted(set(table["link_id"].to_pylist()))
    assert said(place, "SELECT DISTINCT state FROM operation") == [("done",)]
