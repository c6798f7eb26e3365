"""Runs: one row per process that writes, with a lease that covers all that it has claimed.

A lease is renewed long before it ends. When it has ended, or its process is seen dead on this
machine, others may take on what the run had claimed; a lease for each operation would have to be
written as often as the operations themselves.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp, machine_boot_id
from incarts_pipeline.ledger import tables

LEASE_SECONDS = 30.0
RENEW_SECONDS = 5.0

# How a run ended that nobody stopped: with all links of its catalog, or with some left over.
COMPLETE = "complete"
FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as another one can recognize it: ids are only comparable on one machine."""

    host: str
    pid: int
    pid_namespace: str
    started: str  # the kernel's start time, so that a reused pid is not taken for the old one
    boot_id: str

    @classmethod
    def current(cls) -> Process:
        """Return this process."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            pid_namespace=_pid_namespace(),
            started=_started(os.getpid()) or "",
            boot_id=machine_boot_id(),
        )


@cache
def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when the kernel says that `pid` started, None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # Field 3 is the state; a zombie is as dead as one that is gone. Field 22 is the start time.
    return None if fields[0] in "ZX" else fields[19]


def is_alive(run: sa.Row[tuple[object, ...]], me: Process, now: Stamp) -> bool:
    """Say whether a run may still be sending: its lease holds, and its process was not seen dead.

    A lease that ends later than any that could be given now was given by a clock that was wrong
    since, here or there: it proves nothing, and waiting for its end could take days.

    On our own machine (same boot and pid namespace) a killed process is recognized at once.
    """
    if run.ended_at is not None or not _may_hold(run.lease_until, now):
        return False
    ours = run.boot_id == me.boot_id and run.pid_namespace == me.pid_namespace
    if not (ours and me.pid_namespace and run.process_started):
        return True
    return bool(_started(run.pid) == run.process_started)


def start_run(
    connection: sa.Connection,
    run_id: str,
    link_sets: Iterable[str],
    me: Process,
    now: Stamp,
    *,
    approved: str | None = None,
) -> None:
    """Record that a run has begun, with a fresh lease."""
    connection.execute(
        sa.insert(tables.run).values(
            run_id=run_id,
            link_sets=json.dumps(sorted(link_sets)),
            host=me.host,
            pid=me.pid,
            pid_namespace=me.pid_namespace,
            process_started=me.started,
            boot_id=me.boot_id,
            started_at=now.micros,
            lease_until=_lease_end(now),
            approved=approved,
        )
    )


def renew(connection: sa.Connection, run_id: str, now: Stamp) -> bool:
    """Renew the run's lease; return whether somebody asked the run to stop."""
    connection.execute(
        sa.update(tables.run)
        .where(tables.run.c.run_id == run_id)
        .values(lease_until=_lease_end(now))
    )
    asked = connection.scalar(
        sa.select(tables.run.c.stop_requested).where(tables.run.c.run_id == run_id)
    )
    return bool(asked)


def end_run(connection: sa.Connection, run_id: str, outcome: str, now: Stamp) -> None:
    """Record that the run is over and give back what it had claimed.

    `outcome` is why it was stopped, else `COMPLETE` or `FINISHED`.
    """
    connection.execute(
        sa.update(tables.run)
        .where(tables.run.c.run_id == run_id)
        .values(ended_at=now.micros, lease_until=now.micros, outcome=outcome)
    )


def complete_sets(connection: sa.Connection) -> set[str]:
    """Return the link sets that once had all links of their catalog."""
    found = sa.select(tables.run.c.link_sets).where(tables.run.c.outcome == COMPLETE).distinct()
    return {name for recorded in connection.scalars(found) for name in _names(recorded)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingRun:
    """A run that may be sending now."""

    link_sets: frozenset[str]
    pid: int
    host: str

    def __str__(self) -> str:
        return f"{', '.join(sorted(self.link_sets))} (pid {self.pid} on {self.host})"


def living_runs(connection: sa.Connection, me: Process, now: Stamp) -> dict[str, LivingRun]:
    """Return the runs that may still be sending, by their ids."""
    rows = connection.execute(sa.select(tables.run).where(tables.run.c.ended_at.is_(None)))
    return {
        row.run_id: LivingRun(link_sets=_names(row.link_sets), pid=row.pid, host=row.host)
        for row in rows
        if is_alive(row, me, now)
    }


def _names(recorded: str) -> frozenset[str]:
    """Return a run's link sets; earlier versions joined them by spaces."""
    if recorded.startswith('["'):
        return frozenset(json.loads(recorded))
    return frozenset(recorded.split(" "))


def request_stop(connection: sa.Connection, me: Process, now: Stamp) -> dict[str, LivingRun]:
    """Ask every living run to stop; return them as `living_runs` does."""
    alive = living_runs(connection, me, now)
    connection.execute(
        sa.update(tables.run)
        .where(tables.run.c.run_id.in_(list(alive)))
        .values(stop_requested=True)
    )
    return alive


def _may_hold(lease_until: int, now: Stamp) -> bool:
    # Clocks of two hosts differ a little, and another process may renew after we looked at ours.
    return now.micros < lease_until <= _lease_end(now) + round(LEASE_SECONDS * 1e6)


def _lease_end(now: Stamp) -> int:
    return now.micros + round(LEASE_SECONDS * 1e6)


def new_run_id() -> str:
    """Return a fresh id for a run."""
    return uuid.uuid4().hex[:12]
