"""Runs: one row per process that writes, with a lease that covers all that it has claimed.

A lease is renewed long before it ends. When it has ended, or its process is seen dead on this
machine, others may take on what the run had claimed; a lease for each operation would have to be
written as often as the operations themselves.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp, from_micros, machine_boot_id
from incarts_pipeline.ledger import tables

LEASE_SECONDS = 30.0
RENEW_SECONDS = 5.0

# How a run ended that nobody stopped: with all links of its catalog, or with some left over.
COMPLETE = "complete"
FINISHED = "finished"


class Task(StrEnum):
    """What a run is there for."""

    APPLY = "apply"  # to carry a plan out
    ENQUEUE = "enqueue"  # to record what a plan calls for, for workers
    WORK = "work"  # to carry out what is recorded for workers
    PUBLISH = "publish"  # to write the tables


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
    task: Task = Task.APPLY,
    partition: str | None = None,
) -> None:
    """Record that a run has begun, with a fresh lease."""
    connection.execute(
        sa.insert(tables.run).values(
            run_id=run_id,
            link_sets=json.dumps(sorted(link_sets)),
            task=task.value,
            partition=partition,
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


def name_sets(connection: sa.Connection, run_id: str, link_sets: Iterable[str]) -> None:
    """Record which link sets a worker is at by now."""
    connection.execute(
        sa.update(tables.run)
        .where(tables.run.c.run_id == run_id)
        .values(link_sets=json.dumps(sorted(link_sets)))
    )


def renew(connection: sa.Connection, run_id: str, now: Stamp, made: int | None = None) -> bool:
    """Renew the run's lease; return whether somebody asked the run to stop.

    `made` is how many links a worker has made, whose operations are older than itself.
    """
    connection.execute(
        sa.update(tables.run)
        .where(tables.run.c.run_id == run_id)
        .values(lease_until=_lease_end(now), made=made)
    )
    asked = connection.scalar(
        sa.select(tables.run.c.stop_requested).where(tables.run.c.run_id == run_id)
    )
    return bool(asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run made of its catalog's links, and what it left to later runs."""

    made: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What the runs that began on one day (UTC) made, and what the last of them left."""

    day: dt.date
    made: int
    remaining: int


def end_run(
    connection: sa.Connection,
    run_id: str,
    outcome: str,
    now: Stamp,
    progress: Progress | None = None,
) -> None:
    """Record that the run is over and give back what it had claimed.

    `outcome` is why it was stopped, else `COMPLETE` or `FINISHED`; `progress` is None for a run
    over anything but a catalog.
    """
    came_to = {"made": progress.made, "remaining": progress.remaining} if progress else {}
    connection.execute(
        sa.update(tables.run)
        .where(tables.run.c.run_id == run_id)
        .values(ended_at=now.micros, lease_until=now.micros, outcome=outcome, **came_to)
    )


def nights_of(connection: sa.Connection, link_sets: Iterable[str]) -> list[Night]:
    """Return what the runs over just these link sets made night by night, oldest first.

    A night without a run has no entry.
    """
    run, wanted = tables.run.c, frozenset(link_sets)
    query = sa.select(run.link_sets, run.started_at, run.made, run.remaining)
    found: dict[dt.date, Night] = {}
    for row in connection.execute(query.where(run.remaining.is_not(None)).order_by(run.started_at)):
        if _names(row.link_sets) == wanted:
            day = from_micros(row.started_at).date()
            before = found[day].made if day in found else 0
            found[day] = Night(day=day, made=before + row.made, remaining=row.remaining)
    return [*found.values()]


def complete_sets(connection: sa.Connection) -> set[str]:
    """Return the link sets that once had all links of their catalog."""
    found = sa.select(tables.run.c.link_sets).where(tables.run.c.outcome == COMPLETE).distinct()
    return {name for recorded in connection.scalars(found) for name in _names(recorded)}


def was_alone(connection: sa.Connection, run_id: str) -> bool:
    """Say whether no other run may have written anything since a run began."""
    run, other = tables.run, tables.run.alias()
    began = sa.select(run.c.started_at).where(run.c.run_id == run_id).scalar_subquery()
    # The lease of a run that is over ends with it.
    beside = sa.select(other.c.run_id).where(other.c.run_id != run_id, other.c.lease_until >= began)
    return connection.execute(beside.limit(1)).first() is None


def overtake(
    connection: sa.Connection,
    living: Mapping[str, LivingRun],
    link_sets: Collection[str],
    partition: str | None,
) -> None:
    """Ask living runs to stop that are enqueuing an older plan of the same rows."""
    older = [
        run_id
        for run_id, run in living.items()
        if run.task is Task.ENQUEUE
        and not run.link_sets.isdisjoint(link_sets)
        and (partition is None or run.partition in (None, partition))
    ]
    if older:
        r = tables.run.c
        connection.execute(
            sa.update(tables.run).where(r.run_id.in_(older)).values(stop_requested=True)
        )


def last_enqueued(
    connection: sa.Connection, link_sets: Iterable[str], partition: str | None
) -> str | None:
    """Return the run that enqueued last for just these link sets, None when none did."""
    r = tables.run.c
    names = json.dumps(sorted(link_sets))
    found = sa.select(r.run_id).where(
        r.task == Task.ENQUEUE.value,
        r.link_sets == names,
        r.partition.is_not_distinct_from(partition),
    )
    return connection.scalar(found.order_by(r.started_at.desc()).limit(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingRun:
    """A run that may be sending now."""

    link_sets: frozenset[str]
    pid: int
    host: str
    task: Task = Task.APPLY
    partition: str | None = None

    def __str__(self) -> str:
        return f"{', '.join(sorted(self.link_sets))} (pid {self.pid} on {self.host})"


def living_runs(connection: sa.Connection, me: Process, now: Stamp) -> dict[str, LivingRun]:
    """Return the runs that may still be sending, by their ids."""
    rows = connection.execute(sa.select(tables.run).where(tables.run.c.ended_at.is_(None)))
    return {
        row.run_id: LivingRun(
            link_sets=_names(row.link_sets),
            pid=row.pid,
            host=row.host,
            task=Task(row.task or Task.APPLY),
            partition=row.partition,
        )
        for row in rows
        if is_alive(row, me, now)
    }


def _names(recorded: str) -> frozenset[str]:
    """Return a run's link sets; earlier versions joined them by spaces."""
    if recorded.startswith('["') or recorded == "[]":
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
