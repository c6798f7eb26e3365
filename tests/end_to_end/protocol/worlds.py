"""Worlds: two workers, their rows, and what may happen next, crashes, cuts and time among it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

from incarts_pipeline.ledger.state_machine import Replay
from incarts_pipeline.models import State
from tests.end_to_end.protocol.ledger import Lease, ViolatedError, crashed
from tests.end_to_end.protocol.rows import At, Row, Task, aged, told_apart
from tests.end_to_end.protocol.steps import (
    Now,
    Play,
    after_commit,
    commits,
    effected,
    finished,
    may_mark,
    planned,
    steps,
)

_AT_THE_LEDGER = (At.IDLE, At.THROUGH, At.READING, At.READ)
_FLAGGED = (State.SENT, State.IN_DOUBT, State.NEEDS_REVIEW)


class World(NamedTuple):
    """All there is; a worker's lease is None while it isn't running."""

    workers: tuple[Lease | None, Lease | None]
    dead: tuple[Lease, ...]  # of killed runs, as long as they hold
    rows: tuple[int, ...]  # by their numbers
    troubles: int  # that may still come
    starts: int


class Next(NamedTuple):
    """What may happen, and the world after it; without one, what is wrong with it."""

    told: str
    world: World | None
    wrong: str = ""


class Worlds:
    """The graph of all worlds under some rules, within some bounds.

    Rows are numbered, and what may happen to one is worked out once: rows know nothing of each
    other, but for the transactions, the crashes and the time that they share.
    """

    def __init__(self, play: Play, *, sorts_rows: bool = True) -> None:
        self._play = play
        self._sorts = sorts_rows  # which of two equal rows is the first makes no difference
        self._numbers: dict[Row, int] = {}
        self._rows: list[Row] = []
        self._steps: dict[tuple[int, Now], list[tuple[str, int, bool, str]]] = {}
        self._commits: dict[tuple[int, int, str, bool], tuple[int, str]] = {}
        self._checked: dict[tuple[int, tuple[Lease, ...]], str] = {}
        self._aged: dict[int, int] = {}

    def first(self) -> World:
        """Return the world in which the first worker has just begun."""
        bounds = self._play.bounds
        rows = tuple(self._number(Row()) for _ in range(bounds.rows))
        world = World((None, None), (), rows, bounds.troubles, bounds.starts)
        [begun] = self._starts(world, (0,))
        assert begun.world is not None
        return begun.world

    def row(self, number: int) -> Row:
        """Return a row by its number."""
        return self._rows[number]

    def _number(self, row: Row) -> int:
        row = told_apart(row)
        found = self._numbers.get(row)
        if found is None:
            found = self._numbers[row] = len(self._rows)
            self._rows.append(row)
        return found

    def after(self, world: World) -> Iterator[Next]:
        """Yield all that may happen next."""
        yield from self._starts(world, (0, 1))
        for worker, lease in enumerate(world.workers):
            if lease is not None:
                yield from self._of_worker(world, worker, lease)
        yield from self._lands(world)
        yield from self._ticks(world)

    def wrong(self, world: World) -> str:
        """Return what is wrong with a world, nothing if all is well."""
        leases = () if self._play.rules.leases_end else _leases(world)
        for number in world.rows:
            key = (number, leases)
            if key not in self._checked:
                self._checked[key] = _wrong(self._rows[number], leases, self._play)
            if found := self._checked[key]:
                return found
        return ""

    def _with_rows(self, world: World, rows: tuple[int, ...]) -> World:
        return world._replace(rows=tuple(sorted(rows)) if self._sorts else rows)

    def _mapped(self, world: World, change: Callable[[Row], Row]) -> World:
        rows = tuple(self._number(change(self._rows[one])) for one in world.rows)
        return self._with_rows(world, rows)

    def _starts(self, world: World, workers: tuple[int, ...]) -> Iterator[Next]:
        for worker in workers:
            if world.workers[worker] is not None or not world.starts:
                continue
            run_id = f"run {1 + self._play.bounds.starts - world.starts}"
            begun = _with_worker(world, worker, Lease(run_id))
            begun = begun._replace(starts=world.starts - 1)
            after = self._mapped(begun, partial(planned, worker=worker, play=self._play))
            yield Next(f"{run_id} begins on host {worker}", after)

    def _of_worker(self, world: World, worker: int, lease: Lease) -> Iterator[Next]:
        rows = [self._rows[one] for one in world.rows]
        tasks = [row.tasks[worker] for row in rows]
        is_cut = any(task.on_disk is not None for task in tasks)
        now = self._now(world, worker, lease)
        for place, (number, task) in enumerate(zip(world.rows, tasks, strict=True)):
            if task.on_disk is not None or (is_cut and task.at in _AT_THE_LEDGER):
                continue
            for told, after, fault, wrong in self._steps_of(number, now):
                label = f"{lease.run_id}, row {place}: {told}"
                yield self._came(world, (place,), (after,), label, wrong, trouble=fault)
        if is_cut:
            yield self._reconnects(world, worker, now)
        else:
            yield from self._writes(world, worker, now)
        if all(task.is_idle and not task.outcomes for task in tasks):
            yield Next(f"{lease.run_id} ends", _with_worker(world, worker, None))
        if world.troubles:
            yield self._crashes(world, worker, lease)

    def _now(self, world: World, worker: int, lease: Lease) -> Now:
        locked = any(
            self._rows[one].tasks[1 - worker].at in (At.READING, At.READ) for one in world.rows
        )
        return Now(_leases(world), worker, lease.run_id, locked, world.troubles > 0)

    def _steps_of(self, number: int, now: Now) -> list[tuple[str, int, bool, str]]:
        key = (number, now)
        found = self._steps.get(key)
        if found is None:
            found = []
            try:
                for told, row, fault in steps(self._rows[number], now, self._play):
                    found.append((told, self._number(row), fault, ""))
            except ViolatedError as error:
                found.append(("goes on", number, False, str(error)))
            self._steps[key] = found
        return found

    def _came(
        self,
        world: World,
        places: tuple[int, ...],
        numbers: tuple[int, ...],
        told: str,
        wrong: str,
        *,
        trouble: bool = False,
    ) -> Next:
        if wrong:
            return Next(told, None, wrong)
        rows = list(world.rows)
        for place, number in zip(places, numbers, strict=True):
            rows[place] = number
        after = world._replace(troubles=world.troubles - trouble)
        return Next(told, self._with_rows(after, tuple(rows)))

    def _writes(self, world: World, worker: int, now: Now) -> Iterator[Next]:
        """Write what was handed over, in groups of every kind, with and without a cut."""
        for group in product(*(self._jobs(number, now) for number in world.rows)):
            places = tuple(place for place, marks in enumerate(group) if marks is not None)
            if not places:
                continue
            jobs = [(world.rows[place], bool(group[place])) for place in places]
            told = " and ".join(
                f"row {place}: {'the mark' if group[place] else 'the answer'}" for place in places
            )
            came = [self._commit(number, now, marks=marks) for number, marks in jobs]
            wrong = next((wrong for _, wrong in came if wrong), "")
            after = tuple(number for number, _ in came)
            yield self._came(world, places, after, f"{now.run_id}, {told} is on disk", wrong)
            if not self._play.bounds.cuts or not world.troubles or wrong:
                continue
            for on_disk in (True, False):
                cut = tuple(
                    self._cut(number, now, marks=marks, on_disk=on_disk) for number, marks in jobs
                )
                said = f"cut {'after' if on_disk else 'before'} COMMIT"
                yield self._came(
                    world, places, cut, f"{now.run_id}, {told}: {said}", "", trouble=True
                )

    def _jobs(self, number: int, now: Now) -> Sequence[bool | None]:
        """Return what of a row may be in a group: nothing, its answers, or its next mark too."""
        row = self._rows[number]
        if self._is_locked(row, now.worker):
            return (None,)
        answers = (False,) if row.tasks[now.worker].outcomes else ()
        allowed = self._play.rules.marks_first and may_mark(row, now, self._play) is Replay.ALLOWED
        return (None, *answers, *((True,) if allowed else ()))

    def _is_locked(self, row: Row, worker: int) -> bool:
        """Say whether another transaction has the row's operations."""
        task = row.tasks[1 - worker]
        reads = task.at in (At.READING, At.READ) and bool(task.operations)
        return self._play.rules.locks_rows and reads

    def _commit(self, number: int, now: Now, *, marks: bool) -> tuple[int, str]:
        key = (number, now.worker, now.run_id, marks)
        if key not in self._commits:
            try:
                row, ours = commits(self._rows[number], now, self._play, marks=marks)
                told = self._number(after_commit(row, now, self._play, ours))
                self._commits[key] = (told, "")
            except ViolatedError as error:
                self._commits[key] = (number, str(error))
        return self._commits[key]

    def _cut(self, number: int, now: Now, *, marks: bool, on_disk: bool) -> int:
        """Return a row whose worker doesn't know whether what it handed over is on disk."""
        before = self._rows[number]
        task = before.tasks[now.worker]
        row, ours = commits(before, now, self._play, marks=marks)
        row = row if on_disk else before
        if self._play.rules.commit_seq:
            unsure = task._replace(on_disk=on_disk, ours=ours, since=0)
            return self._number(row.with_task(now.worker, unsure))
        if marks:  # taken for not recorded, which ends the run; its answers are kept
            task = task._replace(at=At.ENDING) if task.outcomes else Task()
        return self._number(row.with_task(now.worker, task))

    def _reconnects(self, world: World, worker: int, now: Now) -> Next:
        """Read the count of commits, and know."""

        def knows(row: Row) -> Row:
            task = row.tasks[worker]
            known = row.with_task(worker, task._replace(on_disk=None, ours=None))
            if not task.on_disk:
                return known
            return after_commit(known, now, self._play, task.ours)

        return Next(f"{now.run_id} connects again and reads its count", self._mapped(world, knows))

    def _crashes(self, world: World, worker: int, lease: Lease) -> Next:
        gone = self._mapped(world, lambda row: crashed(row, worker))
        gone = _with_worker(gone, worker, None)
        holds = (lease,) if lease.until > 0 or not self._play.rules.leases_end else ()
        dead = tuple(sorted((*world.dead, *holds)))
        return Next(
            f"{lease.run_id} is killed", gone._replace(dead=dead, troubles=world.troubles - 1)
        )

    def _lands(self, world: World) -> Iterator[Next]:
        for place, number in enumerate(world.rows):
            row = self._rows[number]
            for flight in sorted(set(row.late)):
                late = list(row.late)
                late.remove(flight)
                told = f"row {place}: a late request arrives"
                try:
                    there = effected(row._replace(late=tuple(late)), flight.key)
                except ViolatedError as error:
                    yield Next(told, None, str(error))
                    continue
                yield self._came(world, (place,), (self._number(there),), told, "")

    def _ticks(self, world: World) -> Iterator[Next]:
        """Let a lease's time pass; requests are late by one tick at most."""
        for number in world.rows:
            row = self._rows[number]
            if any(one is not None and one.age for one in (*row.late, *row.flights)):
                return
        running = [worker for worker, lease in enumerate(world.workers) if lease is not None]
        for renews in product((True, False), repeat=len(running)):
            lapses = renews.count(False)
            if lapses <= world.troubles:
                yield self._tick(world, dict(zip(running, renews, strict=True)), lapses)

    def _tick(self, world: World, renews: dict[int, bool], lapses: int) -> Next:
        after = world._replace(troubles=world.troubles - lapses)
        for worker, does in renews.items():
            lease = world.workers[worker]
            assert lease is not None
            after = _with_worker(after, worker, lease._replace(until=1 if does else 0))
        dead = [one._replace(until=0) for one in world.dead if not self._play.rules.leases_end]
        rows = tuple(self._older(number) for number in world.rows)
        still = [str(worker) for worker, does in renews.items() if not does]
        said = f"; host {' and '.join(still)} stands still" if still else ""
        return Next(f"time passes{said}", self._with_rows(after._replace(dead=tuple(dead)), rows))

    def _older(self, number: int) -> int:
        if number not in self._aged:
            self._aged[number] = self._number(aged(self._rows[number]))
        return self._aged[number]


def _with_worker(world: World, worker: int, lease: Lease | None) -> World:
    first, second = world.workers
    return world._replace(workers=(lease, second) if worker == 0 else (first, lease))


def _leases(world: World) -> tuple[Lease, ...]:
    return (*(lease for lease in world.workers if lease is not None), *world.dead)


def _wrong(row: Row, leases: tuple[Lease, ...], play: Play) -> str:
    """Return what is wrong with a row, now or after one more run that nothing befalls."""
    for key, _ in row.made:
        op = next((one for one in row.ops if one.key == key), None)
        if op is None or not (op.links or op.state in _FLAGGED):
            return f"a link is lost: {'its operation is gone' if op is None else op.state}"
    for op in row.ops:
        if op.state is State.NEEDS_REVIEW and op.key not in row.left and not op.excused:
            return "a person is asked about an operation that never left"
    try:
        last = finished(row, leases, play)
    except ViolatedError as error:
        return f"{error}, in the next run"
    wanted = play.bounds.contents[0]
    ends = (State.DONE, State.REJECTED)
    settled = any(
        one.state is State.NEEDS_REVIEW or (one.content == wanted and one.state in ends)
        for one in last.ops
    )
    return "" if settled else "the row is stuck: the next run neither makes nor flags its link"
