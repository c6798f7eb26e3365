"""Rounds of workers on hosts of their own: they share one ledger in PostgreSQL, and one limit.

One worker may be killed, and one stopped past its lease. What came of it is told by the server of
links, which has counted what it made, and by the ledger, which has each attempt.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from incarts_pipeline.ledger.postgres.locks import key_of
from incarts_pipeline.settings import DatabasePlace
from tests.support import hosts
from tests.support.ledgers import said
from tests.support.postgres import wait_for
from tests.support.processes import Box, wait_for_links, wait_until_answered
from tests.support.runs import products

_SHIFTS = {"behind": -1_200.0, "ahead": 1_200.0}  # seconds
_WAIT = 900.0
_AT_IT = "state IN ('intended', 'sent', 'in_doubt') AND run_id = :run_id"
_IN_TRANSACTION = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start < clock_timestamp() - interval '0.9 s'"""
_ANSWERED = """SELECT run_id, answered_at, kind, http_status, error_code, error_message FROM attempt
    WHERE run_id IN (SELECT run_id FROM run WHERE task = 'work')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What a round came to.

    `accepted` are the requests of each worker that lasted, of those that were accepted while all
    these were at it; `wrong` says what is duplicated, lost, or in doubt for nothing.
    """

    links: int
    requests: int
    refused: int
    accepted: Sequence[int]
    wrong: list[str] = field(default_factory=list)

    @property
    def refusals(self) -> float:
        """The share of the requests that were refused."""
        return self.refused / max(self.requests, 1)

    @property
    def fairness(self) -> float:
        """Jain's index over the workers that lasted."""
        squares = len(self.accepted) * sum(n * n for n in self.accepted)
        return sum(self.accepted) ** 2 / squares if squares else 0.0

    def __str__(self) -> str:
        return (
            f"{len(self.accepted)} lasted, {self.links:,} links, {self.requests:,} requests, "
            f"{self.refused} refused ({self.refusals:.2%}), Jain {self.fairness:.4f}, "
            f"{len(self.wrong)} problems"
        )


@contextmanager
def two_hosts(box: Box, place: DatabasePlace, folder: Path) -> Iterator[list[hosts.Host]]:
    """Run two hosts that reach the server of links and the database; their clocks are wrong."""
    ports = [urlsplit(uri).port or 0 for uri in (box.base_url, place.uri)]
    with ExitStack() as stack:
        yield [
            stack.enter_context(hosts.host(name, shift, ports, folder))
            for name, shift in _SHIFTS.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker on a host, and the run that it is in the ledger."""

    process: subprocess.Popen[str]
    run_id: str


class Round:
    """A catalog of `rows` products that workers on hosts carry out."""

    def __init__(
        self, box: Box, place: DatabasePlace, on: Sequence[hosts.Host], name: str, rows: int
    ) -> None:
        self._box, self._rows, self._on, self._name = box, rows, on, name
        self.place = DatabasePlace(uri=place.uri, name=name)
        self._catalog = on[0].folder / f"{name}.csv"
        pacsv.write_csv(products(rows, name=[f"{name} {i}" for i in range(rows)]), self._catalog)
        self._before = box.audit()
        self._wrong: list[str] = []

    def play(self, workers: int, trouble: Callable[[list[Worker]], None] | None = None) -> Came:
        """Enqueue, let workers on all hosts carry it out, and publish.

        Trouble befalls the first two workers; the very first may die of it.
        """
        output = self._on[0].folder / f"{self._name}.parquet"
        own = (self._catalog.name, "--unique-key", "sku", "--link-set", self._name)
        self._ended(self._start(0, "apply", *own, "-o", output.name, "--enqueue", "--yes"), 0)
        with ExitStack() as stack:
            at_work = self._begun(stack, workers)
            if trouble is not None:
                trouble(at_work)
            for number, one in enumerate(at_work):
                dies = trouble is not None and number == 0
                self._ended(one.process, -signal.SIGKILL if dies else 0)
        self._ended(self._start(0, "publish", *own, "-o", output.name), 0)
        self._look(output)
        return self._came([one.run_id for one in at_work[2 if trouble else 0 :]])

    def trouble(self, workers: list[Worker], *, ends_leases: bool) -> None:
        """Kill the first worker, and let the second go on once others took over what it was at.

        With `ends_leases` nobody has to wait for their end.
        """
        killed, stopped = workers[:2]
        before = self._before.links
        wait_for_links(self._box, before + self._rows // 8)
        hosts.strike(killed.process, signal.SIGKILL)
        wait_for_links(self._box, before + self._rows // 4)
        self._stop(stopped)
        for one in (killed, stopped):
            if ends_leases:
                said(self.place, "UPDATE run SET lease_until = 0 WHERE run_id = :id", id=one.run_id)
            left = f"SELECT count(*) FROM operation WHERE {_AT_IT}"
            wait_for(lambda: said(self.place, left, run_id=one.run_id) == [(0,)], _WAIT)  # noqa: B023
        hosts.strike(stopped.process, signal.SIGCONT)

    def _stop(self, worker: Worker) -> None:
        """Stop a worker that is in no transaction: its locks would be held for as long."""
        while True:
            hosts.strike(worker.process, signal.SIGSTOP)
            time.sleep(1.0)
            if said(self.place, _IN_TRANSACTION) == [(0,)]:
                return
            hosts.strike(worker.process, signal.SIGCONT)
            time.sleep(0.05)

    def _start(self, host: int, *arguments: str) -> subprocess.Popen[str]:
        one = self._on[host % len(self._on)]
        environment = {
            "XDG_STATE_HOME": str(one.folder / f"{self._name}-state"),  # nothing is learned before
            "INCARTS_API_BASE_URL": self._box.base_url,
            "INCARTS_API_KEY": self._box.api_key,
            "INCARTS_PROJECT_ID": self._box.project_id,
            "INCARTS_LEDGER": f"{self.place.uri}?ledger={self._name}",
        }
        return one.start(*arguments, environment=environment)

    def _begun(self, stack: ExitStack, workers: int) -> list[Worker]:
        """Start workers on the hosts in turn, and let them claim once all are there."""
        begun = "SELECT run_id FROM run WHERE task = 'work' ORDER BY started_at"
        found: list[Worker] = []
        with psycopg.connect(self.place.uri) as holds:
            holds.execute("SELECT pg_advisory_xact_lock(%s)", [key_of(self.place.schema, 1)])
            for number in range(workers):
                process = self._start(number, "work")
                stack.callback(process.kill)
                wait_for(lambda: len(said(self.place, begun)) > len(found), _WAIT)
                found.append(Worker(process=process, run_id=said(self.place, begun)[-1][0]))
        return found

    def _ended(self, one: subprocess.Popen[str], code: int) -> None:
        _, complaints = one.communicate(timeout=_WAIT)
        if one.returncode != code:
            self._wrong.append(f"exit {one.returncode}: {complaints[-500:]}")

    def _look(self, output: Path) -> None:
        """Say what is duplicated or lost."""
        wait_until_answered(self._box)
        after = self._box.audit()
        made = after.links - self._before.links
        states = said(self.place, "SELECT state, count(*) FROM operation GROUP BY state")
        ids = set(pq.read_table(output)["link_id"].to_pylist()) - {None}
        extras = {
            name: getattr(after, name) - getattr(self._before, name)
            for name in ("duplicates", "repeated_bodies", "second_bodies")
        }
        if (made, states, len(ids)) != (self._rows, [("done", self._rows)], self._rows):
            told = f"{made} links, operations {states}, {len(ids)} links in the table"
            self._wrong.append(f"{told} for {self._rows} rows")
        self._wrong += [f"{extra} {name}" for name, extra in extras.items() if extra]

    def _came(self, lasting: Sequence[str]) -> Came:
        times: dict[str, list[int]] = defaultdict(list)
        doubts = []
        for run_id, at, kind, *told in said(self.place, _ANSWERED):
            if run_id in lasting:
                doubts += [(kind, *told)] if kind in (None, "unknown") else []
                times[run_id] += [at] if kind == "link" else []
        since, until = max(map(min, times.values())), min(map(max, times.values()))
        after = self._box.audit()
        doubted = [f"in doubt of workers that lasted: {doubts}"] if doubts else []
        return Came(
            links=after.links - self._before.links,
            requests=after.requests - self._before.requests,
            refused=after.statuses.get("429", 0) - self._before.statuses.get("429", 0),
            accepted=[sum(since <= at <= until for at in times[one]) for one in lasting],
            wrong=self._wrong + doubted,
        )


def shared_limit(box: Box, place: DatabasePlace, folder: Path, rows: int) -> dict[str, Came]:
    """Let one worker, eight, and eight of which two fare badly make as many links, by a limit."""
    found: dict[str, Came] = {}
    with two_hosts(box, place, folder) as on:
        for name, workers in (("alone", 1), ("eight", 8), ("troubled", 8)):
            night = Round(box, place, on, name, rows)
            trouble = partial(night.trouble, ends_leases=False) if name == "troubled" else None
            found[name] = night.play(workers, trouble)
    return found
