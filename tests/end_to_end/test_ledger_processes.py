"""Several processes that open one ledger at the same moment: to make it, or to lift an old one.

SQLite's own waiting covers almost all of it. What it doesn't is rare enough to be missed by a
single try, so each of these tries several times.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.tables import SCHEMA_VERSION
from tests.support.ledgers import HOST
from tests.support.old_ledgers import VERSION_1, schema_of
from tests.support.sqlite_files import opened

PROCESSES = 6
_READY = """
print("ready", flush=True)
at = float(sys.stdin.readline())
while time.time() < at:
    pass
"""
_IMPORTS = """
import os, sys, time
from pathlib import Path
from incarts_pipeline.ledger import prepare_file
from incarts_pipeline.ledger import LedgerReader
file, host = Path(sys.argv[1]), sys.argv[2]
"""
# What each does once all are ready; each ends by saying whose ledger it has.
WRITE = "prepare_file(file, host).dispose(); print(LedgerReader(file).ledger_id)"
PACE = """
from incarts_pipeline.clock import Clock
from incarts_pipeline.rate_limit.shared_file import PaceFile
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.errors import LedgerError
pace = PaceFile(file, "key", lambda: Shared(RateController(100.0, learns=False)), Clock())
lease = None
while lease is None:
    began = time.monotonic()
    try:
        lease = pace.exchange(Report(str(os.getpid()), 100.0, (), 10))
    except LedgerError:  # on a busy machine a run has to try again, too, but not at once
        assert time.monotonic() - began > 0.5
pace.close()
print(len(lease.slots) <= 10)
"""
LOOK = "print(LedgerReader(file, base_url=host).ledger_id)"


def at_once(file: Path, *works: str) -> list[str]:
    """Run pieces of work in processes of their own, all let go at one moment; return their ids.

    Raises:
        AssertionError: a process failed; says what it said.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _IMPORTS + _READY + work, str(file), HOST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for work in works
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        moment = time.time() + 0.1
        for process in started:
            assert process.stdin is not None
            process.stdin.write(f"{moment}\n")
            process.stdin.flush()
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    for (_, err), process in zip(said, started, strict=True):
        assert process.returncode == 0, err
    return [out.strip() for out, _ in said]


def test_all_make_one_ledger(tmp_path: Path) -> None:
    """They all get the same new ledger, whole."""
    for at in range(4):
        file = tmp_path / f"{at}.db"
        [ledger_id] = set(at_once(file, *[WRITE] * PROCESSES))
        assert len(ledger_id) == 36
        prepare_file(tmp_path / f"alone-{at}.db", HOST).dispose()
        assert schema_of(file) == schema_of(tmp_path / f"alone-{at}.db")


def test_all_make_one_pace(tmp_path: Path) -> None:
    """Runs that start together share their pace from the first request on."""
    for at in range(4):
        assert at_once(tmp_path / f"{at}.db", *[PACE] * PROCESSES) == ["True"] * PROCESSES


@pytest.mark.parametrize(
    "works", [[WRITE] * PROCESSES, [LOOK] * PROCESSES, [WRITE, LOOK] * (PROCESSES // 2)]
)
def test_all_lift_one_ledger(tmp_path: Path, works: list[str]) -> None:
    """An old ledger is migrated once, whoever of writers and readers comes first."""
    prepare_file(tmp_path / "new.db", HOST).dispose()
    wanted = schema_of(tmp_path / "new.db")
    shutil.copy(tmp_path / "new.db", tmp_path / "old.db")
    with opened(tmp_path / "old.db") as connection:
        connection.executescript(VERSION_1)
    for at in range(3):
        file = tmp_path / f"{at}.db"
        shutil.copy(tmp_path / "old.db", file)
        assert len(set(at_once(file, *works))) == 1
        assert schema_of(file) == wanted
        with opened(file) as connection:
            version = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'")
            assert version.fetchone() == (str(SCHEMA_VERSION),)
            links = connection.execute("SELECT link_id, op_id FROM link").fetchall()
            assert links == [("lnk_old", 1)]
