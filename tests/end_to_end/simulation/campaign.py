"""Many seeds at once: play each, check it, and say which ones went wrong."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.settings import DatabasePlace, LedgerPlace
from tests.end_to_end.simulation import checks
from tests.end_to_end.simulation.ledgers import Known, Ledger
from tests.end_to_end.simulation.memory_ledger import MemoryLedger
from tests.end_to_end.simulation.postgres_ledger import PostgresLedger
from tests.end_to_end.simulation.server import FAULTS, Fault
from tests.end_to_end.simulation.sqlite_ledger import SqliteLedger
from tests.end_to_end.simulation.world import World, calm, review, schedule

_CHUNK = 2_000


@dataclass(slots=True)
class Findings:
    """What a campaign saw: problems by seed, and how often what happened."""

    schedules: int = 0
    links: int = 0
    problems: dict[int, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: Findings) -> None:
        """Take in another campaign's findings."""
        self.schedules += other.schedules
        self.links += other.links
        self.problems |= other.problems
        self.counts += other.counts

    def tell(self, seed: int, world: World, wrong: list[str]) -> None:
        """Count a world that was played to its end, and keep what is wrong."""
        self.schedules += 1
        self.links += len(world.server.links)
        self.counts.update(world.befell)
        self.counts["requests"] += world.requests
        if wrong:
            self.problems[seed] = wrong

    def __str__(self) -> str:
        befell = ", ".join(f"{name} {n:,}" for name, n in self.counts.most_common())
        seeds = "".join(
            f"\n  seed {seed}: {'; '.join(said[:3])}"
            f"\n    python -m tests.end_to_end.simulation {seed}"
            for seed, said in list(self.problems.items())[:5]
        )
        return (
            f"{self.schedules:,} schedules, {self.links:,} links, "
            f"{len(self.problems):,} with problems{seeds}\n  {befell}"
        )


def play(world: World) -> list[str]:
    """Play a world's schedule to its end; return what is wrong, in order."""
    wrong = checks.always(schedule(world))
    wrong += checks.always(calm(world)) + checks.forgotten(world) + checks.disputed(world)
    calm(review(world))
    calm(calm(review(world)))  # a key that was given up may follow on one that is held
    return wrong + checks.always(world) + checks.forgotten(world, reviewed=True)


def pure(seeds: Iterable[int]) -> Findings:
    """Play schedules on the model."""
    found = Findings()
    for seed in seeds:
        found.tell(seed, world := World(seed, MemoryLedger()), play(world))
    return found


def pure_on_all_cores(first: int, last: int) -> Findings:
    """Play the schedules from `first` up to, not including, `last`, on every core."""
    chunks = [range(at, min(at + _CHUNK, last)) for at in range(first, last, _CHUNK)]
    found = Findings()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(pure, chunks):
            found.add(part)
    return found


def on_sqlite(seeds: Iterable[int], file: Path) -> Findings:
    """Play schedules on real SQLite, each also on the model: both must end alike."""
    engine = _prepared(file)
    sa.event.listen(engine, "connect", without_fsync)
    found = Findings()
    for seed in seeds:
        ledger = SqliteLedger(engine, file)
        _play_on_both(found, seed, World(seed, ledger), World(seed, MemoryLedger()))
        ledger.close()
    engine.dispose()
    return found


def on_postgres(seeds: Iterable[int], place: DatabasePlace) -> Findings:
    """Play schedules on PostgreSQL as `on_sqlite` does; no database is rolled back in them."""
    engine = _prepared(place)
    found = Findings()
    for seed in seeds:
        world = World(seed, PostgresLedger(engine), rolls_back=False)
        _play_on_both(found, seed, world, World(seed, MemoryLedger(), rolls_back=False))
    engine.dispose()
    return found


def _prepared(place: LedgerPlace) -> sa.Engine:
    engine = prepare_file(place, "https://api.incarts.example")
    with engine.begin() as connection:
        ensure_sets(connection, "demo", ["s"], ["sku"])
    engine.dispose()
    return engine


def _play_on_both(found: Findings, seed: int, world: World, model: World) -> None:
    wrong = play(world)
    play(model)
    if (ours := ends(world.ledger)) != (theirs := ends(model.ledger)):
        wrong.append(f"the database ends with {ours}, the model with {theirs}")
    found.tell(seed, world, wrong)


def ends(ledger: Ledger) -> list[tuple[object, ...]]:
    """Return all that two ledgers of one world must agree in."""

    def end(op: Known) -> tuple[object, ...]:
        return op.key, op.state, sorted(op.links)

    rows = [(key, ledger.row(key).content_hash) for key in ("1", "2", "3")]
    return [*sorted(map(end, ledger.operations())), *rows]


def without_fsync(connection: sa.pool.PoolProxiedConnection, _: object) -> None:
    """Speed schedules up: what they look for is not what a power cut leaves behind."""
    connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]


Careless = Callable[[World], None]


def careless(
    seeds: Iterable[int], change: Careless, kinds: Sequence[Fault] = FAULTS
) -> Counter[str]:
    """Play schedules in worlds that `change` made careless; count what the checks notice.

    `kinds` are the faults that befall requests: all, or those that a rule is there for.
    """
    noticed: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed, MemoryLedger())
        world.kinds = kinds
        change(world)
        calm(schedule(world))
        noticed["duplicated"] += bool(checks.duplicates(world))
        noticed["lost"] += bool(checks.lost(world))
        noticed["wrong"] += bool(checks.wrong(world))
    return noticed
