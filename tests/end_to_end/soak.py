"""`make soak`: faults of every kind for as long as one likes; prints what was seen.

    python -m tests.end_to_end.soak --minutes 10 --kills 200 --foreign 10 --damages 100
    python -m tests.end_to_end.soak --store postgres --kills 100 --restarts 50 --shared 3600

Exits 1 when anything was wrong, duplicated, lost, forgotten or undone, and says how to see it
again. What must be refused, and is, is counted beside.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox.config import Faults, Limit, LimitKind, SandboxConfig
from incarts_pipeline.sandbox.process import SandboxProcess
from incarts_pipeline.settings import DatabasePlace
from tests.end_to_end import host_rounds, postgres_rounds, rounds
from tests.end_to_end.simulation.campaign import (
    Findings,
    on_postgres,
    on_sqlite,
    pure_on_all_cores,
)
from tests.support import postgres
from tests.support.chaos import Damage
from tests.support.fault_proxy import FOREIGN
from tests.support.processes import kill_and_run_again

_ROWS = 40
_PURE_BATCH = 50_000
_SQLITE_BATCH = 500
_POSTGRES_BATCH = 20


def simulate(seconds: float, first: int, folder: Path) -> Findings:
    """Play schedules on the model and on SQLite in turn until the time is over."""
    pure, real = Findings(), Findings()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pure.add(pure_on_all_cores(first, first + _PURE_BATCH))
        real.add(on_sqlite(range(first, first + _SQLITE_BATCH), folder / f"{first}.db"))
        first += _PURE_BATCH
    print(f"on the model:  {pure}")
    print(f"on SQLite:     {real}")
    pure.add(real)
    return pure


def kill(times: int, seed: int, folder: Path) -> list[str]:
    """Kill runs at failpoints and at random moments on a sandbox with faults; say what is wrong."""
    dice = random.Random(seed)
    wrong: list[str] = []
    killed = runs = requests = 0
    for number in range(times):
        faults = Faults.spread(dice.choice((0.0, 0.2, 0.4)))
        own = folder / str(number)
        own.mkdir()
        place = dice.choice([*Place, None, None, None])
        failpoint = f"{place}:{dice.randint(1, 12)}" if place else ""
        after = None if place else dice.uniform(0.8, 3.5)
        config = SandboxConfig(faults=faults, latency=dice.choice((0.0, 0.02)))
        with SandboxProcess(config) as box:
            found = kill_and_run_again(box, own, _ROWS, failpoint=failpoint, after=after)
        killed += found.was_killed
        runs += found.runs
        requests += found.requests
        wrong += [f"kill {number} ({failpoint or after}): {said}" for said in found.wrong]
    print(
        f"real processes: {times} started, {killed} killed while at work, {runs} runs, "
        f"{requests:,} requests for {times * _ROWS:,} rows, {len(wrong)} problems"
    )
    return wrong


def answer(times: int, rows: int, folder: Path) -> list[str]:
    """Double, delay and swap answers between real processes and the sandbox; say what is wrong."""
    wrong: list[str] = []
    for kinds in [*((kind,) for kind in FOREIGN), FOREIGN]:
        count = rounds.Count()
        with SandboxProcess(SandboxConfig()) as box:
            for number in range(times):
                own = folder / f"answers-{'-'.join(kinds)}-{number}"
                count.add(rounds.foreign(box, own, kinds, rows))
        print(f"answers {' or '.join(kinds)}: {count}", flush=True)
        wrong += count.wrong
    return wrong


def damage(times: int, seed: int, folder: Path) -> list[str]:
    """Damage ledgers of killed processes, and under living ones; say what is wrong."""
    dice, wrong = random.Random(seed), []
    kinds = [(kind, False) for kind in Damage] + [(kind, True) for kind in rounds.UNDER_A_RUN]
    with SandboxProcess(SandboxConfig(latency=0.02)) as box:
        for kind, under in kinds:
            count = rounds.Count()
            when = "under a run" if under else "between runs"
            for number in range(times):
                own = folder / f"{kind}-{number}-{when.replace(' ', '-')}"
                count.add(rounds.damaged(box, own, kind, dice, under=under))
            print(f"ledger {kind} {when}: {count}", flush=True)
            wrong += count.wrong
        count = rounds.children_killed(box, folder / "children", times, dice)
    print(f"reading process killed: {count}", flush=True)
    return wrong + count.wrong


def on_a_database(minutes: float, kills: int, restarts: int, seed: int, folder: Path) -> list[str]:
    """Do the same with a ledger in PostgreSQL, and with its server; say what is wrong."""
    dice, found, wrong = random.Random(seed), Findings(), []
    with postgres.server() as server:  # one that syncs nothing: these crashes are simulated
        until, first = time.monotonic() + minutes * 60, seed
        while time.monotonic() < until:
            batch = range(first, first + _POSTGRES_BATCH)
            found.add(on_postgres(batch, DatabasePlace(uri=server.uri(), name="simulated")))
            first += _POSTGRES_BATCH
    print(f"on PostgreSQL: {found}", flush=True)
    with postgres_rounds.database() as server, SandboxProcess(SandboxConfig(latency=0.03)) as box:
        if kills:
            killed, count = postgres_rounds.runs_killed(box, server, folder, kills, dice)
            print(f"runs killed: {killed}: {count}", flush=True)
            wrong += count.wrong
        if restarts:
            stopped, backends, count = postgres_rounds.servers_stopped(
                box, server, folder, restarts, dice
            )
            print(f"servers stopped: {stopped}, backends killed: {backends}: {count}", flush=True)
            wrong += count.wrong
    return wrong + [f"seed {number}" for number in found.problems]


def on_two_hosts(rows: int, folder: Path) -> list[str]:
    """Let workers on two hosts share a limit of 40 a second; say what is wrong."""
    limit = Limit(kind=LimitKind.BUCKET, requests=40, seconds=1.0)
    wrong: list[str] = []
    with (
        postgres_rounds.database() as server,
        SandboxProcess(SandboxConfig(limits=(limit,), latency=0.03)) as box,
    ):
        place = DatabasePlace(uri=server.uri())
        for name, came in host_rounds.shared_limit(box, place, folder, rows).items():
            print(f"workers on two hosts, {name}: {came}", flush=True)
            wrong += [f"{name}: {said}" for said in came.wrong]
    return wrong


def main() -> int:
    """Run all parts and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of simulation")
    parser.add_argument("--kills", type=int, default=200, help="real processes to kill")
    parser.add_argument("--foreign", type=int, default=3, help="runs with each kind of answers")
    parser.add_argument("--rows", type=int, default=100, help="in each of these")
    parser.add_argument("--damages", type=int, default=20, help="ledgers with each kind of damage")
    parser.add_argument("--restarts", type=int, default=50, help="of a database's server")
    parser.add_argument("--shared", type=int, default=0, help="links by workers on two hosts")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1_000_000, help="where the seeds begin")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="incarts-soak-") as folder:
        own = Path(folder)
        if asked.store == "postgres":
            wrong = on_a_database(asked.minutes, asked.kills, asked.restarts, asked.seed, own)
            wrong += on_two_hosts(asked.shared, own) if asked.shared else []
            print(*wrong, sep="\n")
            return bool(wrong)
        found = simulate(asked.minutes * 60, asked.seed, own)
        wrong = kill(asked.kills, asked.seed, own)
        wrong += answer(asked.foreign, asked.rows, own)
        wrong += damage(asked.damages, asked.seed, own)
    for said in wrong:
        print(said)
    return bool(found.problems or wrong)


if __name__ == "__main__":
    sys.exit(main())
