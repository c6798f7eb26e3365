"""`incarts qr` as real processes: killed, stopped, and two at once, on a sandbox with faults."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Faults, SandboxConfig
from tests.support.processes import result_of, start
from tests.support.runs import Run, products

LINKS, CODES = 15, 30
QR = ("qr", "links.parquet", "--identifier", "shelf", "--identifier", "flyer", "--json")


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A sandbox that takes a moment for each request."""
    with Sandbox(SandboxConfig(latency=0.02)) as sandbox:
        yield sandbox


@pytest.fixture
def linked(run: Run, tmp_path: Path) -> str:
    """Links in the working directory; the name of their ledger."""
    run(products(LINKS))
    return str(tmp_path / "ledger.db")


def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
    """Wait for a process; return its exit code and what `--json` printed."""
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, result_of(out) if out else {}


def wait_for_codes(box: Sandbox, n: int) -> None:
    """Wait until the sandbox has made `n` codes."""
    end = time.monotonic() + 300
    while box.audit().qr_codes < n:
        assert time.monotonic() < end, "the run made no codes"
        time.sleep(0.02)


def check(box: Sandbox) -> None:
    """Every row and identifier has one code, and the table says so."""
    audit = box.audit()
    assert (audit.qr_codes, audit.duplicates, audit.second_bodies) == (CODES, 0, 0)
    ids = pq.read_table("qr_codes.parquet")["qr_code_id"].to_pylist()
    assert len(set(ids) - {None}) == CODES


@pytest.mark.parametrize(
    "failpoint",
    [f"{Place.MARKED}:9", f"{Place.IN_FLIGHT}:9", f"{Place.ANSWERED}:3", f"{Place.MID_PUBLISH}:1"],
)
def test_killed_with_faults_and_run_again(box: Sandbox, linked: str, failpoint: str) -> None:
    """SIGKILL there while every fifth request fails, run again: each code was made once."""
    box.reconfigure(faults=Faults.spread(0.2).model_dump())
    code, _ = finish(start(box, *QR, "--ledger", linked, failpoint=failpoint))
    assert code == -signal.SIGKILL
    for _ in range(4):
        code, _ = finish(start(box, *QR, "--ledger", linked))
        if code == 0:
            break
        box.reconfigure(faults=0.0)
    assert code == 0
    check(box)


def test_two_processes_share_the_work(box: Sandbox, linked: str) -> None:
    """Two at once make each code once, and both tables have all of them."""
    both = [start(box, *QR, "--ledger", linked, "-o", f"{name}.parquet") for name in "ab"]
    results = [finish(one) for one in both]
    assert [code for code, _ in results] == [0, 0]
    audit = box.audit()
    assert (audit.qr_codes, audit.duplicates, audit.statuses["201"]) == (CODES, 0, CODES + LINKS)
    for name in "ab":
        assert pq.read_table(f"{name}.parquet")["qr_code_id"].null_count == 0


def test_interrupted_and_gone_on_with(box: Sandbox, linked: str) -> None:
    """After Ctrl-C a run publishes what it made and exits with 4; the next one makes the rest."""
    process = start(box, *QR, "--ledger", linked, "--rate", "fixed:4")
    wait_for_codes(box, 3)
    process.send_signal(signal.SIGINT)
    code, said = finish(process)
    assert (code, said["stopped"]) == (4, "stopped")
    assert 0 < pq.read_table("qr_codes.parquet")["qr_code_id"].null_count < CODES
    assert finish(start(box, *QR, "--ledger", linked))[0] == 0
    check(box)
