"""`make soak`: faults of every kind for as long as one likes; prints what was seen.

    python -m tests.end_to_end.soak --minutes 10 --kills 200

Exits 1 when anything was duplicated, lost, forgotten or undone, and says how to see it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox.config import Faults, SandboxConfig
from incarts_pipeline.sandbox.process import SandboxProcess
from tests.end_to_end.simulation.campaign import Findings, on_sqlite, pure_on_all_cores
from tests.support.processes import kill_and_run_again

_ROWS = 40
_PURE_BATCH = 50_000
_SQLITE_BATCH = 500


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


def main() -> int:
    """Run both parts and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of simulation")
    parser.add_argument("--kills", type=int, default=200, help="real processes to kill")
    parser.add_argument("--seed", type=int, default=1_000_000, help="where the seeds begin")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="incarts-soak-") as folder:
        found = simulate(asked.minutes * 60, asked.seed, Path(folder))
        wrong = kill(asked.kills, asked.seed, Path(folder))
    for said in wrong:
        print(said)
    return bool(found.problems or wrong)


if __name__ == "__main__":
    sys.exit(main())
