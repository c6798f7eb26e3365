"""Worlds with workers: plans are applied or enqueued, also while workers carry out an earlier one.

    python -m tests.end_to_end.simulation.workers 20000

plays as many schedules on the model, prints what befell them, and what the checks find when a rule
is broken.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import claims, enqueued
from incarts_pipeline.ledger.claims import Call, Claim, Operation
from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES, OPEN_STATES, ReplayRule
from incarts_pipeline.models import State
from tests.end_to_end.simulation import checks, process
from tests.end_to_end.simulation.campaign import Findings, ends, without_fsync
from tests.end_to_end.simulation.ledgers import SET_ID, Ledger, call_for
from tests.end_to_end.simulation.memory_ledger import MemoryLedger
from tests.end_to_end.simulation.process import content_hash
from tests.end_to_end.simulation.sqlite_ledger import SqliteLedger
from tests.end_to_end.simulation.world import Dice, Process, World, happen, review

_PATIENCE = 3  # looks at nothing to do, or at a row that another run is sending
_AT_ONCE = 2  # operations that a worker claims
_CHANGES = 0.02  # of a step, that another plan is enqueued beside what runs


class Queue(Ledger, Protocol):
    """A ledger with what is enqueued in it; every call is one transaction."""

    def withdraw(self) -> None: ...
    def enqueue(
        self, call: Call, turn: int, run: str, living: Collection[str], now: Stamp
    ) -> Claim: ...
    def enqueue_doubts(self, run: str, living: Collection[str], stay: Collection[str]) -> None: ...
    def claim_enqueued(
        self,
        run: str,
        rule: ReplayRule,
        living: Collection[str],
        now: Stamp,
        given_up: Collection[int],
    ) -> list[Operation]: ...
    def give_back(self, run: str) -> list[int]: ...


class MemoryQueue(MemoryLedger):
    """The model; a test breaks one of its rules at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.withdraws = True  # what a plan enqueued is the next plan's to keep or to drop
        self.takes_away = True  # what is withdrawn, from who has claimed it
        self.keeps_history = True  # of older content in doubt: its link isn't the row's

    def withdraw(self) -> None:
        """Take back what is enqueued and was never sent."""
        for op in self._in.ops.values():
            if self.withdraws and op.turn is not None and op.state is State.INTENDED:
                op.turn = None
                op.run_id = None if self.takes_away else op.run_id
                self._changed()

    def enqueue(
        self, call: Call, turn: int, run: str, living: Collection[str], now: Stamp
    ) -> Claim:
        """Record a call for workers, or say why not."""
        claim, operation = self.claim(call, run, living, now)
        if operation is not None:
            op = self._in.ops[operation.op_id]
            op.turn, op.run_id, op.for_history = turn, None, False
            op.call = replace(op.call, expected_op_id=call.expected_op_id)
        return claim

    def enqueue_doubts(self, run: str, living: Collection[str], stay: Collection[str]) -> None:
        """Leave what is in doubt, and nobody's, to workers."""
        for op in self._in.ops.values():
            if op.state in DOUBTFUL_STATES and op.run_id not in living:
                op.operation_state = op.operation_state.claimed()
                op.turn, op.run_id, op.epoch = 0, None, op.epoch + 1
                op.for_history = self.keeps_history and op.call.row_key in stay
                self._changed()

    def claim_enqueued(
        self,
        run: str,
        rule: ReplayRule,
        living: Collection[str],
        now: Stamp,
        given_up: Collection[int],
    ) -> list[Operation]:
        """Take on what is enqueued and nobody's."""
        found = [
            op
            for op in self._in.ops.values()
            if op.turn is not None
            and op.run_id not in (*living, run)
            and op.op_id not in given_up
            and (op.state is State.INTENDED or self._may_settle(op.op_id, rule, now))
        ]
        found.sort(key=lambda op: (op.turn, op.op_id))
        taken = []
        for op in found[:_AT_ONCE]:
            self._changed()
            used = self._in.rows.get(op.call.row_key, (None, ""))[0]
            if op.state is State.INTENDED and used != op.call.expected_op_id:
                op.turn, op.run_id = None, None
                continue
            op.turn = 0
            taken.append(self._take(op, run))
        return taken

    def _may_settle(self, op_id: int, rule: ReplayRule, now: Stamp) -> bool:
        op = self._in.ops[op_id]
        state = op.operation_state
        if op.state not in DOUBTFUL_STATES or state.first_sent is None:
            return False
        is_old = state.first_sent.micros <= now.micros - round(rule.deadline * 1e6)
        return is_old or state.api_key_fingerprint in (None, rule.api_key_fingerprint)

    def give_back(self, run: str) -> list[int]:
        """Let others have what a worker has claimed; return what that was."""
        mine = [
            op
            for op in self._in.ops.values()
            if op.turn is not None
            and op.run_id == run
            and op.state in OPEN_STATES
            and op.state is not State.NEEDS_REVIEW
        ]
        for op in mine:
            op.run_id = None
            self._changed()
        return [op.op_id for op in mine]


class SqliteQueue(SqliteLedger):
    """The library's own statements."""

    def withdraw(self) -> None:
        """Take back what is enqueued and was never sent."""
        self._do(lambda c: enqueued.withdraw(c, {"s": SET_ID}, {}))

    def enqueue(
        self, call: Call, turn: int, run: str, living: Collection[str], now: Stamp
    ) -> Claim:
        """Record a call for workers, or say why not."""

        def work(connection: sa.Connection) -> Claim:
            [(claim, operation)] = claims.claim_calls(
                connection, [call], run, living, now, retry_rejected=False
            )
            if operation is not None:
                enqueued.enqueue(connection, [operation], turn, run)
            return claim

        return self._do(work)

    def enqueue_doubts(self, run: str, living: Collection[str], stay: Collection[str]) -> None:
        """Leave what is in doubt, and nobody's, to workers."""
        rows = {(SET_ID, row_key) for row_key in stay}
        self._do(lambda c: enqueued.enqueue_doubts(c, [SET_ID], run, living, rows))

    def claim_enqueued(
        self,
        run: str,
        rule: ReplayRule,
        living: Collection[str],
        now: Stamp,
        given_up: Collection[int],
    ) -> list[Operation]:
        """Take on what is enqueued and nobody's."""
        me = enqueued.Worker(run_id=run, rule=rule, given_up=given_up)
        return self._do(lambda c: enqueued.claim_enqueued(c, [SET_ID], me, living, now, _AT_ONCE))

    def give_back(self, run: str) -> list[int]:
        """Let others have what a worker has claimed; return what that was."""
        return sorted(self._do(lambda c: enqueued.give_back(c, run)))


class WorkersWorld(World):
    """A world in which each process may apply, enqueue or work; `queue` is its ledger."""

    def __init__(self, seed: int, queue: Queue) -> None:
        super().__init__(seed, queue)
        self.queue = queue
        self.wanted: dict[str, bytes | None] = {}  # row → content, in the newest plan
        self.enqueues_on = False  # a plan that a newer one has overtaken
        self.newest = ""  # the process that has planned last
        self.outdated: list[str] = []  # what workers sent though it was withdrawn

    def begin(self, steps: Callable[[WorkersWorld, Process], Iterator[str]], host: int) -> Process:
        """Start a process that does something."""
        self.runs += 1
        me = Process(f"run-{self.runs}", self.hosts[host], self.fingerprint)
        me.steps = steps(self, me)
        me.lease_until = self.now(me).wall + LEASE_SECONDS
        self.processes.append(me)
        return me

    def start(self, host: int = 0) -> Process:
        """Start one of the three."""
        steps = self.rng.choice((apply, enqueue, work, work))
        self.count(steps.__name__)
        return self.begin(steps, host)

    def step(self, me: Process) -> None:
        """Let a process go on; now and then another plan comes meanwhile."""
        super().step(me)
        if self.dice.crash and self.chance() < _CHANGES:
            self.count("planned meanwhile")
            self.catalog[self.rng.choice(("1", "2"))] = self.rng.choice((b"A", b"B"))
            self.begin(enqueue, me.host.number)

    def withdrawn(self, me: Process, catalog: dict[str, bytes]) -> None:
        """Make a catalog the newest plan."""
        self.queue.withdraw()
        self.newest = me.run_id
        self.wanted = {row_key: content_hash(body) for row_key, body in catalog.items()}


def apply(world: WorkersWorld, me: Process) -> Iterator[str]:
    """Do it all in one process."""
    if not world.is_refused:
        world.withdrawn(me, world.catalog)
    yield from process.run(world, me)


def enqueue(world: WorkersWorld, me: Process) -> Iterator[str]:
    """Record what the catalog wants, for workers."""
    yield "begun"
    if world.is_refused:
        world.count("refused to run")
        return
    catalog = dict(world.catalog)
    rows = {row_key: world.ledger.row(row_key) for row_key in catalog}
    yield "planned"
    world.withdrawn(me, catalog)
    yield "withdrawn"
    stay = [key for key, body in catalog.items() if rows[key].content_hash == content_hash(body)]
    world.queue.enqueue_doubts(me.run_id, world.living(me), stay)
    yield "doubts enqueued"
    for row_key, body in sorted(catalog.items()):
        yield from process.move_link(world, me, row_key, body)
    for turn, (row_key, body) in enumerate(sorted(catalog.items()), start=1):
        if world.newest != me.run_id and not world.enqueues_on:
            break
        row = rows[row_key]
        past = process.past_link(row, body)
        if past is not None:
            world.ledger.reuse(row_key, past, row.op_id, me.run_id, world.now(me))
            yield "reused"
        elif process.wants_call(row, body):
            call = call_for(row_key, body, row.op_id)
            for _ in range(_PATIENCE):
                living, now = world.living(me), world.now(me)
                if world.newest != me.run_id and not world.enqueues_on:
                    break
                if world.queue.enqueue(call, turn, me.run_id, living, now) is not Claim.BUSY:
                    break
                yield "another run is at it"
            yield "enqueued"
    me.ended = True


def work(world: WorkersWorld, me: Process) -> Iterator[str]:
    """Carry out what is enqueued until there is nothing more, for a while."""
    yield "begun"
    if world.is_refused:
        world.count("refused to run")
        return
    given_up: set[int] = set()
    idle = 0
    while idle < _PATIENCE:
        found = world.queue.claim_enqueued(
            me.run_id, world.rule(me), world.living(me), world.now(me), given_up
        )
        yield "claimed"
        yield from process.at_once(world, [_carry(world, me, operation) for operation in found])
        given_up.update(world.queue.give_back(me.run_id))
        idle = 0 if found else idle + 1
        world.pass_time(world.chance() * 5)
        yield "gave back"
    me.ended = True


def _carry(world: WorkersWorld, me: Process, operation: Operation) -> Iterator[str]:
    """Send one operation; note when it isn't, or no longer, what the newest plan wants."""
    is_first = operation.operation_state.first_sent is None
    for step in process.carry(world, me, operation):
        if step == "marked" and is_first:
            is_first = False
            if world.wanted.get(operation.row_key) != operation.content_hash:
                world.outdated.append(f"row {operation.row_key}: {operation.body!r}")
        yield step


def schedule(world: WorkersWorld) -> WorkersWorld:
    """Play one seeded schedule: processes of all three kinds at once, and events between."""
    chance, rng = world.chance, world.rng
    jumpy = chance() < 0.3
    hosts = 1 if jumpy else 2
    for _ in range(1 + int(chance() * 3)):
        world.dice = Dice(
            fault=rng.choice((0.0, 0.3, 0.6)),
            crash=rng.choice((0.0, 0.03, 0.1)),
            freeze=rng.choice((0.0, 0.05)),
        )
        for _ in range(1 + int(chance() * 3)):
            world.start(int(chance() * hosts))
        world.play()
        happen(world, jumpy)
    return world


def calm(world: WorkersWorld) -> WorkersWorld:
    """Let everything rest, then make what the catalog wants without trouble."""
    world.dice = Dice()
    world.faults.clear()
    world.rest()
    if world.is_refused:
        world.restore()
    if world.chance() < 0.3:
        steps: tuple[Callable[[WorkersWorld, Process], Iterator[str]], ...] = (apply,)
    else:  # what is in doubt is settled first; what follows on it takes another plan
        steps = (enqueue, work, enqueue, work)
    for one in steps:
        world.begin(one, 0)
        world.play()
    return world


def play(world: WorkersWorld) -> list[str]:
    """Play a world's schedule to its end; return what is wrong, in order."""
    wrong = checks.always(schedule(world))
    wrong += checks.always(calm(world)) + checks.forgotten(world) + checks.disputed(world)
    review(world)
    calm(world)
    review(world)
    calm(calm(world))
    wrong += checks.always(world) + checks.forgotten(world, reviewed=True)
    return wrong + world.outdated


def pure(seeds: Iterable[int], change: Callable[[WorkersWorld], None] | None = None) -> Findings:
    """Play schedules on the model, in worlds that `change` made careless."""
    found = Findings()
    for seed in seeds:
        world = WorkersWorld(seed, MemoryQueue())
        if change is not None:
            change(world)
        found.tell(seed, world, play(world))
    return found


def on_sqlite(seeds: Iterable[int], file: Path) -> Findings:
    """Play schedules on real SQLite, each also on the model: both must end alike."""
    found = Findings()
    engine = prepare_file(file, "https://api.incarts.example")
    sa.event.listen(engine, "connect", without_fsync)
    engine.dispose()
    with engine.begin() as connection:
        ensure_sets(connection, "demo", ["s"], ["sku"])
    for seed in seeds:
        ledger = SqliteQueue(engine, file)
        world, model = WorkersWorld(seed, ledger), WorkersWorld(seed, MemoryQueue())
        wrong = play(world)
        play(model)
        if (ours := ends(world.ledger)) != (theirs := ends(model.ledger)):
            wrong.append(f"SQLite ends with {ours}, the model with {theirs}")
        found.tell(seed, world, wrong)
        ledger.close()
    engine.dispose()
    return found


def keeps_queue(world: WorkersWorld) -> None:
    """Leave what an earlier plan enqueued as it is."""
    _model(world).withdraws = False


def keeps_claims(world: WorkersWorld) -> None:
    """Withdraw nothing from a worker that has claimed it."""
    _model(world).takes_away = False


def enqueues_on(world: WorkersWorld) -> None:
    """Go on enqueuing a plan that a newer one has overtaken."""
    world.enqueues_on = True


def marks_late(world: WorkersWorld) -> None:
    """Record an attempt only once it was sent."""
    world.writer.marks_first = False


CARELESS = (keeps_queue, keeps_claims, enqueues_on, marks_late)


def _model(world: WorkersWorld) -> MemoryQueue:
    assert isinstance(world.queue, MemoryQueue)
    return world.queue


def main() -> None:
    """Play, and print."""
    schedules = range(int(sys.argv[1]))
    found = pure(schedules)
    print(found, flush=True)  # noqa: T201
    for change in CARELESS:
        told = pure(schedules, change)
        kinds = Counter(one.split(" ")[0] for said in told.problems.values() for one in said)
        share = len(told.problems) / len(schedules)
        print(f"{change.__name__}: {share:.2%} {dict(kinds)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
