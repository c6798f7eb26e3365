"""The world around the runs: clocks, hosts, a catalog that changes, and a seeded schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.rekeying import KeyChange
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.state_machine import ReplayRule
from incarts_pipeline.models import AnswerKind, State
from tests.end_to_end.simulation import process
from tests.end_to_end.simulation.connection import Connection
from tests.end_to_end.simulation.ledgers import Ledger
from tests.end_to_end.simulation.server import BROKEN, FAULTS, Fault, Reply, Server
from tests.end_to_end.simulation.writer import Writer

WINDOW = 1500.0  # what the runs trust the server to remember, in seconds
_LATEST = 250.0  # how late a request may still take effect, in seconds
_DOUBLED = (Fault.DOUBLED, Fault.PACED_TWICE)
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
    connection: Connection = field(default_factory=Connection)
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

    def __init__(self, seed: int, ledger: Ledger, *, rolls_back: bool = True) -> None:
        self.rng = random.Random(seed)
        self.chance = self.rng.random
        self.ledger = ledger
        self.rolls_back = rolls_back  # whether the ledger is a file that may be
        self.t = 1.8e9
        self.server = Server(
            window=WINDOW * self.rng.choice((1.0, 1.0, 1.001, 4.0)),
            stores_errors=self.chance() < 0.3,
            conflicts=self.chance() < 0.5,
        )
        self.server.echoes, self.server.tells = self.rng.choice(
            ((True, True), (True, False), (False, True), (False, False))
        )
        self.hosts = [Host(0, booted_at=self.t - 500), Host(1, booted_at=self.t - 90_000)]
        self.catalog: dict[str, bytes] = {"1": b"A"}
        if self.chance() < 0.6:
            self.catalog["2"] = self.rng.choice((b"A", b"B"))
        self.processes: list[Process] = []
        self.dice = Dice()
        self.faults: list[Fault] = []  # those that come next, before the dice are asked
        self.kinds: Sequence[Fault] = FAULTS  # those that the dice choose from
        self.fingerprint = "key-1"
        self.runs = 0
        self.requests = 0
        self.rows: dict[str, str] = {}  # key as it was sent → row key, also of a lost ledger
        self.befell: dict[str, int] = {}
        self.answers: dict[str, Reply] = {}  # the last one under each key
        self.settled: dict[int, frozenset[str]] = {}  # op id → its links, once it was done
        self.counted = 0  # of the server's links
        self.duplicates: list[str] = []
        self.rekeyed: dict[str, str] = {}  # row key → the one that a person says it had before
        self.moved: dict[str, str] = {}  # key of a row to which a link moved → that link
        self.writer = Writer()

    # What processes ask of the world.

    def now(self, me: Process) -> Stamp:
        """Return this instant on a process's host."""
        return me.host.stamp(self.t)

    def rule(self, me: Process) -> ReplayRule:
        """Return the replay rule as a process's settings have it."""
        return self.writer.rule(window=WINDOW, api_key_fingerprint=me.fingerprint)

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

    def send(self, me: Process, sent: Sent) -> Reply:
        """Carry a request to the server and its answer back, or whatever befalls them."""
        self.requests += 1
        self.pass_time(self.chance() * 3)
        fault = self._fault()
        operation = sent.operation
        key = operation.idempotency_key
        if self.writer.keys_per_attempt:
            key = f"{key}-{sent.number}"
        self.rows.setdefault(key, operation.row_key)
        if self.writer.looks_first and me.connection.waiting:
            me.connection.close()
        delay = self.chance() * _LATEST
        reply = self.server.receive(key, operation.body, self.t, fault, delay)
        self._count_links()
        own = self.server.signed(reply, sent.correlation_id, operation.body)
        return self._read(me, key, own, fault)

    def _read(self, me: Process, key: str, own: Reply, fault: Fault) -> Reply:
        """Return the answer that arrives for the one that was given."""
        if own.kind is AnswerKind.NOT_SENT:
            return own
        if fault in BROKEN:
            me.connection.close()
            return own
        answers = [self._swapped(key, own, fault)]
        # What comes twice and says nothing of whose it is is told only by looking before sending.
        is_told = own.echo is not None or own.content is not None
        late = self.chance() < 0.5 and (fault not in _DOUBLED or is_told)
        if fault in _DOUBLED:
            answers = [own, own]
        elif fault is Fault.LATE_ANSWER:
            answers = [Reply(AnswerKind.UNKNOWN), own]
        return me.connection.exchange(answers, late=late)

    def _swapped(self, key: str, own: Reply, fault: Fault) -> Reply:
        """Return an answer as a fault has it that puts another's into its place."""
        others = [one for other, one in self.answers.items() if other != key]
        if own.link_id or own.echo:  # only a correlation id can tell whose an error is
            self.answers[key] = own
        if fault is Fault.REDIRECTED and own.link_id:
            return own._replace(kind=self.writer.see_other, link_id=None, content=None)
        if fault is Fault.LINK_OF_ANOTHER and own.link_id:
            return own._replace(link_id=self._link_of_another(key) or own.link_id)
        if fault is Fault.SWAPPED and not self.server.is_silent:
            return others[-1] if others else Reply(AnswerKind.UNKNOWN)
        if fault is Fault.SWAPPED_BODY and own.link_id:
            made = [one for one in others if one.content is not None]
            return own._replace(link_id=made[-1].link_id, content=made[-1].content) if made else own
        return own

    def _link_of_another(self, key: str) -> str | None:
        """Return a link of other content that the ledger knows."""
        known = self.ledger.operations()
        own = {op.content_hash for op in known if op.key == key}
        found = [link for op in known if op.content_hash not in own for link in sorted(op.links)]
        return found[-1] if found else None

    def record(self, me: Process, outcome: Outcome) -> None:
        """Record an outcome, and remember what is done from now on."""
        self.ledger.record(me.run_id, outcome)
        if outcome.answer and outcome.answer.made:
            self._remember_settled()

    def rekey(self, me: Process, change: KeyChange, body: bytes) -> None:
        """Move a link; what was made of this content for the old key is the new one's from now.

        Links of the row's earlier contents stay with the old key's history.
        """
        if not self.ledger.rekey(change, me.run_id, self.living(me), self.now(me)):
            return
        self.count("moved")
        for key, row_key in self.rows.items():
            if row_key == change.old_key and self.server.bodies.get(key) == {body}:
                self.rows[key] = change.row_key
        new = next(op for op in self.ledger.operations() if op.op_id == self._used(change.row_key))
        self.moved[new.key] = min(new.links)
        self._remember_settled()

    def _used(self, row_key: str) -> int | None:
        return self.ledger.row(row_key).op_id

    def _remember_settled(self) -> None:
        for op in self.ledger.operations():
            if op.state is State.DONE and op.links:
                self.settled[op.op_id] = self.settled.get(op.op_id, frozenset()) | op.links

    def pass_time(self, seconds: float) -> None:
        """Let time go by; who isn't frozen keeps its lease."""
        self.t += seconds
        for one in self.processes:
            if one.alive and not one.ended and one.frozen_until <= self.t:
                one.lease_until = one.host.stamp(self.t).wall + LEASE_SECONDS
        self.server.land(self.t)
        self._count_links()

    def _count_links(self) -> None:
        """Note the links that were made since, and for what a row had a link already."""
        for n in range(self.counted, len(self.server.links)):
            key, body, link_id = self.server.links[n]
            row_key = self.rows[key]
            if any(
                self.rows[other] == row_key and b == body for other, b, _ in self.server.links[:n]
            ):
                self.duplicates.append(f"{link_id} is one more for row {row_key} with {body!r}")
        self.counted = len(self.server.links)

    def _fault(self) -> Fault:
        if self.faults:
            return self.faults.pop(0)
        if self.dice.fault and self.chance() < self.dice.fault:
            return self._note(self.kinds[int(self.chance() * len(self.kinds))])
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
        if not self.rolls_back:
            return
        self.count("rolled back")
        self.ledger.roll_back()
        self.settled = {}
        self._remember_settled()

    @property
    def is_refused(self) -> bool:
        """Whether the ledger is known not to be the newest, so that no run begins on it."""
        return self.writer.witnessed and not self.ledger.is_newest()

    def restore(self) -> None:
        """Do what a person does once a run was refused: hold what was sent since the backup."""
        self.count("restored")
        self.ledger.restore()

    def rest(self) -> None:
        """Let all that is under way arrive, and all leases end: a dead host's by its own clock."""
        skew = max(one.offset for one in self.hosts) - min(one.offset for one in self.hosts)
        self.pass_time(_LATEST + LEASE_SECONDS + skew + 1)

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
        happen(world, jumpy)
    return world


def happen(world: World, jumpy: bool) -> None:
    """Let something happen between two runs."""
    chance, rng = world.chance, world.rng
    world.pass_time(rng.choice((0.5, 20.0, 40.0, 900.0, WINDOW - 601, WINDOW - 599, 7200.0)))
    if chance() < 0.5:
        key = rng.choice(("1", "2"))
        content = rng.choice((b"A", b"B", b"A", None))
        world.catalog.pop(key, None)
        if content is not None:
            world.catalog[key] = content
    if chance() < 0.3:
        respell(world)
    if world.is_refused:
        world.restore()
    elif chance() < 0.1:
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


def respell(world: World) -> None:
    """Spell a row's key in another way, and say so."""
    used, free = sorted(world.catalog), sorted({"1", "2", "3"} - world.catalog.keys())
    if not used or not free:
        return
    world.count("key changed")
    old_key, row_key = world.rng.choice(used), world.rng.choice(free)
    world.catalog[row_key] = world.catalog.pop(old_key)
    world.rekeyed = {new: old for new, old in world.rekeyed.items() if new != old_key}
    world.rekeyed[row_key] = old_key


def calm(world: World, host: int = 0) -> World:
    """Let everything rest, then run once more without trouble."""
    world.dice = Dice()
    world.faults.clear()
    world.rest()
    if world.is_refused:
        world.restore()
    world.start(host)
    world.play()
    return world


def review(world: World) -> World:
    """Do what the runbook says, with Incarts' help: adopt the link that exists, else recreate.

    A link that was moved to a row since the backup was made is its own: it is printed.
    """
    made = world.moved | {key: link_id for key, _, link_id in world.server.links}
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
