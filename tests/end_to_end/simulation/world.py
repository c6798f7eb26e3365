"""The world around the runs: clocks, hosts, a catalog that changes, and a seeded schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from incarts_pipeline.api.attribution import attribute
from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.state_machine import ReplayRule
from incarts_pipeline.models import AnswerKind, State
from tests.end_to_end.simulation import process
from tests.end_to_end.simulation.ledgers import Ledger
from tests.end_to_end.simulation.server import FAULTS, Fault, Reply, Server

WINDOW = 1500.0  # what the runs trust the server to remember, in seconds
_LATEST = 250.0  # how late a request may still take effect, in seconds
_SMALL_JUMP = 140.0  # clock changes and differences between hosts that the margin covers


@dataclass(slots=True)
class Host:
    """A machine: its wall clock is off by `offset`, its boot clock can't be set."""

    number: int
    offset: float = 0.0
    boots: int = 0
    booted_at: float = 0.0

    def stamp(self, t: float) -> Stamp:
        """Return what its clocks show at the true time `t`."""
        boot_id = f"{self.number}.{self.boots}"
        return Stamp(wall=t + self.offset, boot=t - self.booted_at, boot_id=boot_id)


@dataclass(slots=True)
class Process:
    """One run under way."""

    run_id: str
    host: Host
    fingerprint: str
    steps: Iterator[str] = field(default_factory=lambda: iter(()))
    lease_until: float = 0.0  # on its host's wall clock
    frozen_until: float = 0.0  # true time
    alive: bool = True
    ended: bool = False


@dataclass(slots=True)
class Dice:
    """How wild a schedule is: each a probability."""

    fault: float = 0.0
    crash: float = 0.0
    freeze: float = 0.0


class World:
    """Everything that a schedule plays with; `t` is the true time in seconds."""

    def __init__(self, seed: int, ledger: Ledger) -> None:
        self.rng = random.Random(seed)
        self.chance = self.rng.random
        self.ledger = ledger
        self.t = 1.8e9
        self.server = Server(
            window=WINDOW * self.rng.choice((1.0, 1.0, 1.001, 4.0)),
            stores_errors=self.chance() < 0.3,
            conflicts=self.chance() < 0.5,
        )
        self.server.echoes, self.server.tells = self.rng.choice(
            ((True, True), (True, False), (False, True))
        )
        self.hosts = [Host(0, booted_at=self.t - 500), Host(1, booted_at=self.t - 90_000)]
        self.catalog: dict[str, bytes] = {"1": b"A"}
        if self.chance() < 0.3:
            self.catalog["2"] = b"A"
        self.processes: list[Process] = []
        self.dice = Dice()
        self.faults: list[Fault] = []  # those that come next, before the dice are asked
        self.fingerprint = "key-1"
        self.runs = 0
        self.requests = 0
        self.rows: dict[str, str] = {}  # key as it was sent → row key, also of a lost ledger
        self.befell: dict[str, int] = {}
        self.answers: dict[str, Reply] = {}  # the last one under each key
        self.doubled: Reply | None = None  # waits on the connection for the next request
        self.settled: dict[int, frozenset[str]] = {}  # op id → its links, once it was done
        # What a careless writer would do, for showing that the checks notice.
        self.marks_first = True
        self.keys_per_attempt = False
        self.witnessed = True
        self.judges = ReplayRule
        self.attribute = attribute

    # What processes ask of the world.

    def now(self, me: Process) -> Stamp:
        """Return this instant on a process's host."""
        return me.host.stamp(self.t)

    def rule(self, me: Process) -> ReplayRule:
        """Return the replay rule as a process's settings have it."""
        return self.judges(window=WINDOW, api_key_fingerprint=me.fingerprint)

    def living(self, me: Process) -> list[str]:
        """Return the runs that a process takes for alive, as `ledger.runs.is_alive` judges."""
        wall = self.now(me).wall
        return [
            other.run_id
            for other in self.processes
            if not other.ended
            and other.lease_until > wall
            and (other.alive or other.host is not me.host)
        ]

    def send(self, sent: Sent) -> Reply:
        """Carry a request to the server and its answer back, or whatever befalls them."""
        self.requests += 1
        self.pass_time(self.chance() * 3)
        fault = self._fault()
        operation = sent.operation
        key = operation.idempotency_key
        if self.keys_per_attempt:
            key = f"{key}-{sent.number}"
        self.rows[key] = operation.row_key
        delay = self.chance() * _LATEST
        reply = self.server.receive(key, operation.body, self.t, fault, delay)
        own = self.server.signed(reply, sent.correlation_id, operation.body)
        return self._delivered(key, own, fault)

    def _delivered(self, key: str, own: Reply, fault: Fault) -> Reply:
        """Return the answer that arrives for the one that was given."""
        reply, waiting, self.doubled = own, self.doubled, None
        if waiting is not None and own.kind is not AnswerKind.NOT_SENT:
            reply = waiting
        others = [one for other, one in self.answers.items() if other != key]
        if fault is Fault.SWAPPED:
            reply = others[-1] if others else Reply(AnswerKind.UNKNOWN)
        elif fault is Fault.SWAPPED_BODY:
            made = [one for one in others if one.content is not None]
            if made and own.link_id:
                reply = own._replace(link_id=made[-1].link_id, content=made[-1].content)
        # Only a correlation id can tell whose an error is.
        if own.link_id or (own.echo and own.kind is not AnswerKind.NOT_SENT):
            self.answers[key] = own
            self.doubled = own if fault is Fault.DOUBLED else None
        return reply

    def record(self, me: Process, outcome: Outcome) -> None:
        """Record an outcome, and remember what is done from now on."""
        self.ledger.record(me.run_id, outcome)
        if outcome.state is State.DONE and outcome.answer and outcome.answer.made:
            known = self.settled.get(outcome.operation.op_id, frozenset())
            self.settled[outcome.operation.op_id] = known | {outcome.answer.made.id}

    def pass_time(self, seconds: float) -> None:
        """Let time go by; who isn't frozen keeps its lease."""
        self.t += seconds
        for one in self.processes:
            if one.alive and not one.ended and one.frozen_until <= self.t:
                one.lease_until = one.host.stamp(self.t).wall + LEASE_SECONDS
        self.server.land(self.t)

    def _fault(self) -> Fault:
        if self.faults:
            return self.faults.pop(0)
        if self.dice.fault and self.chance() < self.dice.fault:
            return self._note(FAULTS[int(self.chance() * len(FAULTS))])
        return Fault.NONE

    def _note(self, what: Fault) -> Fault:
        self.count(what.value)
        return what

    def count(self, what: str) -> None:
        """Count what befell this world."""
        self.befell[what] = self.befell.get(what, 0) + 1

    # What schedules do to the world.

    def start(self, host: int = 0) -> Process:
        """Start a run."""
        self.runs += 1
        me = Process(f"run-{self.runs}", self.hosts[host], self.fingerprint)
        me.steps = process.run(self, me)
        me.lease_until = self.now(me).wall + LEASE_SECONDS
        self.processes.append(me)
        return me

    def step(self, me: Process) -> None:
        """Let a process go to its next boundary; there it may die or freeze."""
        try:
            next(me.steps)
        except StopIteration:
            me.ended = True
            return
        if self.dice.crash and self.chance() < self.dice.crash:
            self.crash(me)
        elif self.dice.freeze and self.chance() < self.dice.freeze:
            self.freeze(me, self.chance() * 2_000)

    def crash(self, me: Process) -> None:
        """Kill a process where it stands."""
        self.count("crash")
        me.alive = False
        me.steps = iter(())

    def freeze(self, me: Process, seconds: float) -> None:
        """Stop a process for a while, longer than its lease perhaps."""
        self.count("freeze")
        me.frozen_until = self.t + seconds

    def roll_back(self) -> None:
        """Put the last backup in the ledger's place; what it doesn't have is no longer done."""
        self.count("rolled back")
        self.ledger.roll_back(witnessed=self.witnessed)
        links = {op.op_id: op.links for op in self.ledger.operations() if op.state is State.DONE}
        self.settled = {op_id: found for op_id, found in links.items() if found}

    def running(self) -> list[Process]:
        """Return the processes that have something left to do."""
        return [one for one in self.processes if one.alive and not one.ended]

    def play(self) -> None:
        """Run what was started until it is over, in an order that the dice decide."""
        while running := self.running():
            awake = [one for one in running if one.frozen_until <= self.t]
            if not awake:
                self.pass_time(min(one.frozen_until for one in running) - self.t + 0.001)
                continue
            self.step(awake[int(self.chance() * len(awake))])
            self.t += self.chance() * 0.1
        self.processes = [one for one in self.processes if not one.ended]


def schedule(world: World) -> World:
    """Play one seeded schedule: wild runs, with events between them."""
    chance, rng = world.chance, world.rng
    # Only the boot clock tells a big change of the wall clock: then there is one host, and no boot.
    jumpy = chance() < 0.3
    hosts = 1 if jumpy else 2
    for _ in range(1 + int(chance() * 3)):
        world.dice = Dice(
            fault=rng.choice((0.0, 0.3, 0.6, 0.9)),
            crash=rng.choice((0.0, 0.03, 0.1)),
            freeze=rng.choice((0.0, 0.0, 0.05)),
        )
        world.start(int(chance() * hosts))
        if chance() < 0.3:
            world.start(int(chance() * hosts))
        world.play()
        _happen(world, jumpy)
    return world


def _happen(world: World, jumpy: bool) -> None:
    """Let something happen between two runs."""
    chance, rng = world.chance, world.rng
    world.pass_time(rng.choice((0.5, 20.0, 40.0, 900.0, WINDOW - 601, WINDOW - 599, 7200.0)))
    if chance() < 0.5:
        key = rng.choice(("1", "2"))
        content = rng.choice((b"A", b"B", b"A", None))
        world.catalog.pop(key, None)
        if content is not None:
            world.catalog[key] = content
    if chance() < 0.1:
        world.roll_back()
    elif chance() < 0.5:
        world.ledger.back_up()
    if chance() < 0.1:
        world.fingerprint = f"key-{rng.choice((1, 2))}"
    host = world.hosts[int(chance() * 2)]
    if chance() < 0.2:
        world.count("clock changed")
        host.offset = (chance() * 2 - 1) * _SMALL_JUMP
        if jumpy:
            host.offset += rng.choice((-3600, 3600))
    elif chance() < 0.1 and not jumpy:
        world.count("reboot")
        host.boots, host.booted_at = host.boots + 1, world.t


def calm(world: World, host: int = 0) -> World:
    """Let everything rest, then run once more without trouble."""
    world.dice = Dice()
    world.faults.clear()
    skew = max(one.offset for one in world.hosts) - min(one.offset for one in world.hosts)
    world.pass_time(_LATEST + LEASE_SECONDS + skew + 1)  # a dead host's lease ends by its own clock
    world.start(host)
    world.play()
    return world


def review(world: World) -> World:
    """Do what the runbook says, with Incarts' help: adopt the link that exists, else recreate."""
    made = {key: link_id for key, _, link_id in world.server.links}
    now = world.hosts[0].stamp(world.t)
    for op in world.ledger.operations():
        if op.state not in (State.SENT, State.IN_DOUBT, State.NEEDS_REVIEW):
            continue
        world.count("reviewed")
        if op.key in made:
            world.ledger.adopt(op.op_id, made[op.key], now)
        else:
            world.ledger.recreate(op.op_id, now)
    return world
