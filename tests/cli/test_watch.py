"""Watching a ledger: what its runs are about, live, once, and as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.cli import screen, watch
from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger import once
from incarts_pipeline.ledger.runs import Process, end_run, start_run
from incarts_pipeline.maintenance import watch_ledger
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.clocks import LaterClock
from tests.support.processes import NO_MAPPING, start, wait_for_links
from tests.support.runs import Run, products
from tests.support.shell import Shell

LEDGER = ("--ledger", "ledger.db")


def test_nothing_is_running(shell: Shell, catalog: str) -> None:
    """Without a living run it says so, once, with what is known of the limit and of doubts."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    code, out, _ = shell("watch")
    assert (code, "nothing is running" in out, "nothing is in doubt" in out) == (0, True, True)
    assert json.loads(shell("watch", "--json")[1])["runs"] == []
    assert shell("watch", "--ledger", "nowhere.db")[0] == 1


def test_doubts_and_failures(run: Run, box: Sandbox, settings: Settings, shell: Shell) -> None:
    """Doubts have the minutes in which a run settles them; the newest failures are told."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    box.fail_next("error_after", times=0)
    code, out, _ = shell("watch", *LEDGER)
    assert code == 0
    assert "1 in doubt; run `incarts apply` before " in out
    assert "a run settles 1 doubt by itself still for " in out
    assert "500 internal" in out
    assert "(row 000000, run " in out
    later = watch_ledger(settings, clock=LaterClock(3600))
    assert (len(later.cases.for_person), later.failures) == (1, [])
    assert not any("by itself" in line for line in later.lines())


def test_a_living_run(run: Run, box: Sandbox, settings: Settings) -> None:
    """A run's own links, those of the last minute and its errors are counted, nobody else's."""
    run(products(3))
    clock, me = Clock(), Process.current()
    with once(Path(settings.ledger)) as connection:
        start_run(connection, "run-2", ["test"], me, clock.now())
        connection.exec_driver_sql("UPDATE attempt SET run_id = 'run-2'")
        connection.exec_driver_sql(
            "UPDATE operation SET settled_run_id = 'run-2', intended_at = ?", (clock.now().micros,)
        )
        connection.exec_driver_sql(
            "UPDATE attempt SET kind = 'rejected', http_status = 422 WHERE op_id = 1"
        )
    found = watch_ledger(settings)
    [one] = found.runs
    assert (one.run_id, one.made, one.in_flight) == ("run-2", 3, 0)
    assert (one.per_second, dict(one.errors)) == (2.0, {"422": 1})
    later = watch_ledger(settings, clock=LaterClock(20))
    assert later.runs[0].per_second == pytest.approx(0.1, rel=0.05)
    with once(Path(settings.ledger)) as connection:
        end_run(connection, "run-2", "finished", clock.now())
    assert watch_ledger(settings).runs == []


def test_operations_are_found_by_their_time(run: Run, settings: Settings) -> None:
    """What was meant before a run began isn't looked at; numbers may be missing between."""
    from incarts_pipeline.ledger.activity import _first_since

    run(products(9))
    with once(Path(settings.ledger)) as connection:
        connection.exec_driver_sql("UPDATE operation SET intended_at = op_id * 10")
        for number in (2, 3, 7):
            connection.exec_driver_sql(
                f"UPDATE operation SET op_id = op_id + 100 WHERE op_id = {number}"
            )
        connection.exec_driver_sql("UPDATE operation SET intended_at = op_id * 10")
        numbers = sorted(connection.exec_driver_sql("SELECT op_id FROM operation").scalars())
        for began in range(0, 1100, 5):
            first = _first_since(connection, began)
            assert [n for n in numbers if n >= first] == [n for n in numbers if n * 10 >= began]


def test_live_until_interrupted(
    shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal it is drawn anew until Ctrl-C, which is no failure."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    monkeypatch.setenv("FORCE_COLOR", "1")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", sleep)
    code, out, _ = shell("watch")
    assert (code, len(looks)) == (0, 3)
    assert min(looks) >= watch._SECONDS
    assert "Ctrl-C ends this screen, and no run." in out
    assert screen.is_watched()
    assert "Ctrl-C" not in shell("watch", "--once")[1]


@pytest.mark.slow
def test_beside_a_run_and_one_that_waits(box: Sandbox, shell: Shell) -> None:
    """A run in another process is seen; a second one waits for it, and says what it made."""
    pacsv.write_csv(products(300), "catalog.csv")
    box.reconfigure(latency=0.5)
    arguments = ("apply", "catalog.csv", *NO_MAPPING)
    started = [start(box, *arguments, "--max-in-flight", "2", "-o", "a.parquet")]
    try:
        wait_for_links(box, 2)
        started.append(start(box, *arguments, "-o", "b.parquet"))
        runs = _running(shell, 2)
        assert {tuple(one["link_sets"]) for one in runs} == {("test",)}
        assert f"pid {started[0].pid} on " in shell("watch")[1]
        time.sleep(1)  # for the second one to come upon rows of the first
        box.reconfigure(latency=0.0)
        said = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert [process.returncode for process in started] == [0, 0], said
    assert (box.audit().links, box.audit().duplicates) == (300, 0)
    names = {one["pid"]: one["run_id"] for one in runs}
    assert f"made by run {names[started[0].pid]} while this one waited" in said[1]


def _running(shell: Shell, many: int) -> list[dict[str, Any]]:
    """Return the living runs, once there are so many; the test's own time limit is the end."""
    while True:
        found: list[dict[str, Any]] = json.loads(shell("watch", "--json")[1])["runs"]
        if len(found) == many:
            return found
        time.sleep(0.1)
