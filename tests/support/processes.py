"""`incarts` as a process of its own, killed on purpose, and run again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from incarts_pipeline.cli import main
from incarts_pipeline.sandbox.audit import Audit
from tests.support.runs import products

NO_MAPPING = ("--unique-key", "sku", "--link-set", "test")
_COMMAND = (sys.executable, "-c", "from incarts_pipeline.cli import main; main()")
_WARM = multiprocessing.get_context("forkserver")
_OURS = ("incarts_pipeline.", "tests.")
_WAIT = 300.0  # seconds: far more than it takes, also on a machine that is busy


class Box(Protocol):
    """A sandbox, in this process or in its own."""

    base_url: str

    @property
    def api_key(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    def audit(self) -> Audit: ...
    def reconfigure(self, **changes: object) -> None: ...


def start(
    box: Box, *arguments: str, folder: Path | None = None, failpoint: str = ""
) -> subprocess.Popen[str]:
    """Start `incarts` in a folder, armed with a failpoint perhaps."""
    return subprocess.Popen(
        [*_COMMAND, *arguments],
        env=os.environ | _settings(box) | {"INCARTS_FAILPOINT": failpoint},
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Started from a script in the background, a process would be deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _settings(box: Box) -> dict[str, str]:
    return {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_RATE": "fixed:none",
        "INCARTS_READ_TIMEOUT": "2",
    }


def fork(box: Box, *arguments: str, folder: Path) -> BaseProcess:
    """Start `incarts` in a folder, from a process that has imported what this one has.

    For rounds without number: a new interpreter takes longer than what they do in it.
    """
    # Only the first call counts. A fork of this process would have the locks of its threads.
    _WARM.set_forkserver_preload([name for name in sys.modules if name.startswith(_OURS)])
    process = _WARM.Process(target=_run, args=(arguments, folder, _settings(box)))
    process.start()
    return process


def _run(arguments: tuple[str, ...], folder: Path, settings: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(settings)
    sys.argv = ["incarts", *arguments]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main()


def wait_for_links(box: Box, n: int) -> None:
    """Wait until the sandbox has made `n` links."""
    end = time.monotonic() + _WAIT
    while box.audit().links < n:
        assert time.monotonic() < end, "the run made no links"
        time.sleep(0.02)


def wait_until_answered(box: Box) -> None:
    """Wait until the sandbox has done all that it was sent, also by a process that was killed."""
    quiet = 0
    end = time.monotonic() + _WAIT
    # Once isn't enough: what lies in its sockets is read only in the next turns of its loop.
    while quiet < 5:
        assert time.monotonic() < end, "the sandbox didn't come to rest"
        quiet = 0 if box.audit().unanswered else quiet + 1
        time.sleep(0.01)


def wait_until_stopped(ledger: Path, *processes: subprocess.Popen[str]) -> None:
    """Wait until processes have stopped themselves with SIGSTOP, and none holds the ledger's lock.

    One whose other thread was writing when it stopped would keep the rest from getting there.
    """
    end = time.monotonic() + _WAIT
    stopped: list[subprocess.Popen[str]] = []
    while len(stopped) < len(processes) or _is_locked(ledger):
        assert time.monotonic() < end, "they did not stop"
        if stopped and _is_locked(ledger):
            for process in stopped:
                process.send_signal(signal.SIGCONT)
                time.sleep(0.001)
                process.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
        stopped = [process for process in processes if _is_stopped(process)]


def _is_stopped(process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, process.communicate()
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _is_locked(ledger: Path) -> bool:
    connection = sqlite3.connect(ledger, timeout=0.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        return False
    finally:
        connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What became of a catalog whose run was killed: `wrong` is empty when all is right."""

    was_killed: bool
    runs: int
    requests: int
    wrong: list[str]


def kill_and_run_again(
    box: Box,
    folder: Path,
    n: int,
    *,
    failpoint: str = "",
    after: float | None = None,
    ledger: str = "incarts-ledger.db",
) -> Recovery:
    """Kill a run over `n` rows at a failpoint, or `after` seconds; then run until all is settled.

    The sandbox's faults stay in force while it is killed, and once more; then they are taken off.
    """
    pacsv.write_csv(products(n), folder / "catalog.csv")
    before = box.audit()
    first = _apply(box, folder, ledger, failpoint)
    try:
        first.communicate(timeout=_WAIT if after is None else after)
    except subprocess.TimeoutExpired:
        first.kill()
        first.communicate()
    codes = [first.returncode]
    for attempt in range(4):
        if attempt:
            box.reconfigure(faults=0.0)
        again = _apply(box, folder, ledger)
        _, said = again.communicate(timeout=_WAIT)
        codes.append(again.returncode)
        if again.returncode == 0:
            break
    after_all = box.audit()
    wrong = [] if codes[-1] == 0 else [f"exit codes {codes}: {said[-500:]}"]
    return Recovery(
        was_killed=codes[0] == -signal.SIGKILL,
        runs=len(codes),
        requests=after_all.requests - before.requests,
        wrong=wrong + _wrong(before, after_all, folder, n),
    )


def _apply(box: Box, folder: Path, ledger: str, failpoint: str = "") -> subprocess.Popen[str]:
    arguments = ("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING, "--json")
    more = ("--max-in-flight", "8", "--ledger", ledger)
    return start(box, *arguments, *more, folder=folder, failpoint=failpoint)


def _wrong(before: Audit, after: Audit, folder: Path, n: int) -> list[str]:
    """Say what the server and links.parquet disagree about."""
    wrong = []
    made = after.links - before.links
    if made != n:
        wrong.append(f"{made} links for {n} rows")
    wrong += [
        f"{extra} {name}"
        for name in ("duplicates", "repeated_bodies", "second_bodies")
        if (extra := getattr(after, name) - getattr(before, name))
    ]
    ids = pq.read_table(folder / "links.parquet")["link_id"].to_pylist()
    if None in ids or len(set(ids)) != n:
        wrong.append(f"links.parquet has {len(set(ids) - {None})} links for {n} rows")
    return wrong


def result_of(out: str) -> dict[str, object]:
    """Return the object that `--json` printed."""
    found: dict[str, object] = json.loads(out)
    return found
