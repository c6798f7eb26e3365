"""Rounds of `make soak` on PostgreSQL: runs are killed, and the server or its backends, at work.

Each round has a folder, a ledger and a link set of its own. What is wrong is told by the server of
links, which has counted what it made, and by the ledger, which has each attempt.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from incarts_pipeline.sandbox.process import SandboxProcess
from incarts_pipeline.settings import DatabasePlace
from tests.end_to_end.rounds import Count
from tests.support import postgres
from tests.support.ledgers import said
from tests.support.processes import fork, wait_until_answered
from tests.support.runs import products

_MOST_RUNS = 6
_ROWS = 400  # of a night during which the server stops
_IN_FLIGHT = "8"


@contextmanager
def database() -> Iterator[postgres.Server]:
    """Run a server that syncs to its disk."""
    with postgres.server(fsync="on", restart_after_crash="on") as server:
        yield server


class Night:
    """A catalog's runs on a ledger of their own; `wrong` says what is wrong in the end."""

    def __init__(
        self, box: SandboxProcess, server: postgres.Server, folder: Path, name: str, rows: int
    ) -> None:
        self._box, self._rows, self._folder = box, rows, folder / name
        self._folder.mkdir()
        names = [f"{name} {i}" for i in range(rows)]  # no body is another night's
        pacsv.write_csv(products(rows, name=names), self._folder / "catalog.csv")
        self.place = DatabasePlace(uri=server.uri(), name=name)
        self._arguments = (
            *("apply", "catalog.csv", "-o", "links.parquet", "--unique-key", "sku"),
            *("--link-set", name, "--max-in-flight", _IN_FLIGHT),
            *("--ledger", f"{server.uri()}?ledger={name}", "--yes"),
        )
        self._before = box.audit()

    def begin(self) -> BaseProcess:
        """Begin a run in a process of its own."""
        return fork(self._box, *self._arguments, folder=self._folder)

    @property
    def made(self) -> int:
        """The links that the server has made for it."""
        return self._box.audit().links - self._before.links

    def finish(self) -> list[int]:
        """Run until all is settled; return the exit codes."""
        codes: list[int] = []
        while len(codes) < _MOST_RUNS and (not codes or codes[-1] != 0):
            run = self.begin()
            run.join()
            codes.append(run.exitcode or 0)
        return codes

    def wrong(self) -> list[str]:
        """Say what is duplicated or lost."""
        wait_until_answered(self._box)
        after = self._box.audit()
        found = [] if self.made == self._rows else [f"{self.made} links for {self._rows} rows"]
        found += [
            f"{extra} {name}"
            for name in ("duplicates", "repeated_bodies", "second_bodies")
            if (extra := getattr(after, name) - getattr(self._before, name))
        ]
        states = said(self.place, "SELECT state, count(*) FROM operation GROUP BY state")
        found += [] if states == [("done", self._rows)] else [f"operations: {states}"]
        ids = pq.read_table(self._folder / "links.parquet")["link_id"].to_pylist()
        if None in ids or len(set(ids)) != self._rows:
            found.append(f"links.parquet has {len(set(ids) - {None})} links")
        return found

    def never_left(self) -> int:
        """Count the attempts that the ledger takes for sent, and the server has not seen."""
        query = "SELECT count(*) FROM attempt WHERE kind IS DISTINCT FROM 'not_sent'"
        [(taken,)] = said(self.place, query)
        return int(taken) - (self._box.audit().requests - self._before.requests)


def runs_killed(
    box: SandboxProcess, server: postgres.Server, folder: Path, times: int, dice: random.Random
) -> tuple[int, Count]:
    """Kill a catalog's run again and again while it sends; return how many were, and what came."""
    rows = 20 * times
    night = Night(box, server, folder, "killed", rows)
    killed = 0
    for _ in range(times):
        run = night.begin()
        goal = night.made + dice.randint(0, 15)
        while run.is_alive() and night.made <= goal:
            time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 0.03))
        run.kill()
        run.join()
        killed += run.exitcode == -signal.SIGKILL
    codes = night.finish()
    wrong = night.wrong() + ([f"exit codes {codes}"] if codes[-1] else [])
    return killed, Count(rounds=1, links=rows, wrong=wrong)


def servers_stopped(
    box: SandboxProcess, server: postgres.Server, folder: Path, times: int, dice: random.Random
) -> tuple[int, int, Count]:
    """Stop the server at once, or kill a backend of the ledger, while runs send.

    Returns:
        How often the server was stopped, and how many backends were killed, and what came of it.
    """
    stopped = backends = number = 0
    count = Count()
    while stopped + backends < times:
        number += 1
        night = Night(box, server, folder, f"stopped_{number}", _ROWS)
        run = night.begin()
        while run.is_alive() and night.made == 0:
            time.sleep(0.01)
        while run.is_alive() and night.made < _ROWS and stopped + backends < times:
            if dice.random() < 0.7:
                server.stop("immediate")
                time.sleep(dice.uniform(0.0, 0.3))
                server.start()
                stopped += 1
            else:
                backends += _kill_a_backend(server, dice)
                postgres.wait_for(server.answers)
            goal = night.made + dice.randint(5, 60)
            while run.is_alive() and night.made < min(goal, _ROWS):
                time.sleep(0.01)
        run.join()
        codes = [run.exitcode or 0]
        if codes[0]:  # it was planning, or publishing
            codes += night.finish()
        wrong = night.wrong() + ([f"exit codes {codes}"] if codes[-1] else [])
        if never_left := night.never_left():
            wrong.append(f"{never_left} requests in doubt that never left")
        count.add(
            Count(
                rounds=1,
                links=_ROWS,
                refused=len(codes) - 1,
                wrong=[f"stopped_{number}: {one}" for one in wrong],
            )
        )
    return stopped, backends, count


def _kill_a_backend(server: postgres.Server, dice: random.Random) -> int:
    """Kill one that serves a run; the server then ends all others, and recovers."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND application_name = 'incarts'"
    )
    with suppress(psycopg.OperationalError), psycopg.connect(server.uri()) as connection:
        if found := connection.execute(query).fetchall():
            os.kill(dice.choice(found)[0], signal.SIGKILL)
            return 1
    return 0
