"""A ledger that can't be written: nothing leaves unrecorded, and what is not on disk is said."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.errors import LedgerDamagedError, LedgerError, LedgerLockedError
from incarts_pipeline.sandbox import Sandbox
from tests.support import mounts
from tests.support.processes import NO_MAPPING, start, wait_for_links
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

ROWS = 400
_LARGEST_FILE = 2_000_000  # bytes; the ledger's log reaches them in the middle of a run
_ARGUMENTS = ("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING, "--max-in-flight", "4")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, where the machine allows one to be mounted."""
    with mounts.mounted(tmp_path / "small", "1m") as place:
        yield place


def everything_is_there_once(box: Sandbox, rows: int = ROWS) -> None:
    """Check what the server made."""
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (rows, 0, 0)


def test_full_disk(box: Sandbox, mounted: Path) -> None:
    """The run ends with exit 4 and names what is not recorded; with room, the next one settles."""
    pacsv.write_csv(products(ROWS), "catalog.csv")
    full = start(box, *_ARGUMENTS, "--ledger", str(mounted / "ledger.db"))
    _, err = full.communicate(timeout=300)
    assert full.returncode in (1, 4), err
    assert "Free some space on its disk" in err
    made = box.audit().links
    assert 0 < made < ROWS
    subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
    again = start(box, *_ARGUMENTS, "--ledger", str(mounted / "ledger.db"))
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    everything_is_there_once(box)


def test_file_that_may_not_grow(box: Sandbox) -> None:
    """A limit on the size of files ends the run in the same way."""
    pacsv.write_csv(products(ROWS), "catalog.csv")
    limits = (_LARGEST_FILE, resource.RLIM_INFINITY)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    try:
        limited = start(box, *_ARGUMENTS, "--ledger", "ledger.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    _, err = limited.communicate(timeout=300)
    assert limited.returncode in (1, 4), err
    assert "ledger.db can't be used" in err.replace("\n", " ")
    assert 0 < box.audit().links < ROWS
    again = start(box, *_ARGUMENTS, "--ledger", "ledger.db")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    everything_is_there_once(box)


def test_read_only_ledger(box: Sandbox, mounted: Path, run: Run) -> None:
    """Nothing is sent when nothing can be recorded."""
    run(products(2), ledger=mounted / "ledger.db")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(LedgerError, match="Make the file and its folder writable"):
        run(products(5), ledger=mounted / "ledger.db", output="other.parquet")
    assert box.audit().links == 2


@pytest.mark.parametrize("where", ["header", "middle"])
def test_damaged_ledger(box: Sandbox, run: Run, where: str) -> None:
    """A file with wrong bytes is called damaged, with the way out, before anything is sent."""
    run(products(300))
    with opened("ledger.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = Path("ledger.db").stat().st_size
    with Path("ledger.db").open("r+b") as file:
        file.seek(0 if where == "header" else 4096)
        file.write(b"\xff" * (64 if where == "header" else size - 4096))
    with pytest.raises(LedgerDamagedError, match="incarts import"):
        run(products(301))
    assert box.audit().links == 300


def test_lock_that_is_released(box: Sandbox, run: Run, tmp_path: Path) -> None:
    """Another program's short lock in the middle of a run costs time only."""
    box.reconfigure(latency=0.02)
    done = threading.Event()

    def disturb() -> None:
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, timeout=10)
        while not done.wait(0.05):
            other.execute("BEGIN IMMEDIATE")
            done.wait(0.2)
            other.execute("ROLLBACK")
        other.close()

    run(products(1))
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert run(products(100)).exit_code() == 0
    finally:
        done.set()
        thread.join()
    everything_is_there_once(box, 100)


def test_lock_that_stays(box: Sandbox) -> None:
    """A lock that outlasts our patience ends the run; what was answered meanwhile is named."""
    pacsv.write_csv(products(ROWS), "catalog.csv")
    box.reconfigure(latency=0.1)
    process = start(box, *_ARGUMENTS, "--ledger", "ledger.db")
    wait_for_links(box, 20)
    other = sqlite3.connect("ledger.db", isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    try:
        _, err = process.communicate(timeout=300)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert process.returncode in (1, 4), err
    assert "locked" in err
    made = box.audit().links
    box.reconfigure(latency=0.0)
    again = start(box, *_ARGUMENTS, "--ledger", "ledger.db")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert made < ROWS
    everything_is_there_once(box)


def test_locked_from_the_start(box: Sandbox, run: Run) -> None:
    """A ledger that is locked before the run is named, and nothing is sent."""
    run(products(1))
    other = sqlite3.connect("ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(LedgerLockedError, match="Another program holds"):
            run(products(2))
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert box.audit().links == 1
