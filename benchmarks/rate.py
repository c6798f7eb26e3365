"""The rate controller and its peers against limits of every kind, in simulated time.

    python benchmarks/rate.py [--seconds 1800] [--quick] [--picture rate.png]

For each limit, without any hint, with 1 and with 8 workers of unequal latency: the share of the
budget that was used and the share of 429s in the steady state, the 429s before it, Jain's index of
what the workers sent, and what was learned; use and 429s by the round trip; then how long a changed
limit takes to be ridden again, the worst of many instants. Needs `os.fork`, so Linux or macOS.
The limits and the simulator are those of the tests.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.rate_peers import PEERS
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Shared
from tests.support.rates.hints import HINTS
from tests.support.rates.limiters import LIMITERS, Bucket, scale
from tests.support.rates.simulator import JITTERS, Simulation, no_jitter

WARM = 300.0  # seconds
_MAIN = (
    "fixed 600/60 s",
    "anchored 600/60 s",
    "sliding log 600/60 s",
    "sliding counter 600/60 s",
    "bucket 50/s burst 100",
)
_DISTANT = (*_MAIN[:3], "bucket 50/s burst 100", "bucket 5/s burst 2", "10 per 1 s")
_ROUND_TRIPS = (0.02, 0.08, 0.2, 0.4, 1.0)  # seconds
_FROM, _CYCLE, _INSTANTS = 600.0, 180.0, 24  # seconds; a cycle of probes is no longer
_TAIL = 540.0  # seconds that a changed limit is ridden on
_STEP = 5.0  # seconds


def ours() -> Shared:
    """Return a fresh shared controller with the default ceiling."""
    return Shared(RateController(100.0))


def steady(names: Sequence[str], seconds: float) -> None:
    """Print use and 429s of each limit, ours and the peers'."""
    print(f"{'limit':26}{'workers':>8}{'pacer':>19}{'use':>9}{'429s':>8}{'before':>8}{'Jain':>8}")
    for name in names:
        make = LIMITERS[name]
        for workers in (1, 8):
            for pacer, start in {"ours": ours(), **PEERS}.items():
                limiter = make()
                simulation = Simulation(limiter, start, workers=workers)
                result = simulation.run(seconds)
                early = sum(at <= WARM for at in result.refused)
                learned = simulation.shared.controller.learned if simulation.shared else ""
                print(
                    f"{name:26}{workers:8}{pacer:>19}{result.use(limiter.rate, WARM, seconds):9.2%}"
                    f"{result.refusals(WARM):8.2%}{early:8,}{result.fairness(WARM):8.4f}  "
                    f"{learned}",
                    flush=True,
                )


def hinted(seconds: float) -> None:
    """Print use and 429s of the main limits with each style of hints, true and false ones."""
    print(f"\n{'hints':26}{'limit':26}{'workers':>8}{'use':>9}{'429s':>8}{'before':>8}")
    for style, make in HINTS.items():
        for name in _MAIN:
            for workers in (1, 8):
                limiter = LIMITERS[name]()
                simulation = Simulation(limiter, ours(), workers=workers, hint=make(limiter))
                result = simulation.run(seconds)
                early = sum(at <= WARM for at in result.refused)
                print(
                    f"{style:26}{name:26}{workers:8}{result.use(limiter.rate, WARM, seconds):9.2%}"
                    f"{result.refusals(WARM):8.2%}{early:8,}",
                    flush=True,
                )


def distant(seconds: float) -> None:
    """Print use and 429s by the round trip, and where each request is late by chance."""
    print(f"\n{'limit':26}{'round trip':>12}{'late':>20}{'use':>9}{'429s':>8}{'before':>8}")
    late = {"": no_jitter, **JITTERS}
    cells = [(name, trip, "") for name in _DISTANT for trip in _ROUND_TRIPS]
    cells += [(name, 0.08, jitter) for name in _DISTANT for jitter in JITTERS]
    for name, trip, jitter in cells:
        limiter = LIMITERS[name]()
        simulation = Simulation(limiter, ours(), latency=trip, jitter=late[jitter])
        result = simulation.run(seconds)
        early = sum(at <= WARM for at in result.refused)
        print(
            f"{name:26}{trip:12.2f}{jitter:>20}{result.use(limiter.rate, WARM, seconds):9.2%}"
            f"{result.refusals(WARM):8.2%}{early:8,}",
            flush=True,
        )


@dataclass(frozen=True)
class Change:
    """What came of one change: seconds until it is ridden; use and 429s from then on."""

    after: float
    use: float
    refused: float


def changes() -> None:
    """Print how soon 95 % of a changed limit is used, and goes on to be: the worst of many."""
    print(
        f"\nthe worst of {_INSTANTS} changes, {_CYCLE / _INSTANTS:g} s apart\n"
        f"{'limit':26}{'workers':>8}{'change':>8}{'seconds':>9}{'median':>8}"
        f"{'use after':>11}{'429s after':>12}"
    )
    for name in _MAIN:
        for workers in (1, 8):
            found: dict[float, list[Change]] = {0.5: [], 1.5: []}
            limiter = LIMITERS[name]()
            simulation = Simulation(limiter, ours(), workers=workers)
            for i in range(_INSTANTS):
                at = _FROM + i * _CYCLE / _INSTANTS
                simulation.run(at)
                for factor, so_far in found.items():
                    so_far.append(_apart(partial(_changed, simulation, at, factor)))
            for factor, all_of_them in found.items():
                print(
                    f"{name:26}{workers:8}{f'× {factor:g}':>8}"
                    f"{max(one.after for one in all_of_them):9.0f}"
                    f"{median(one.after for one in all_of_them):8.0f}"
                    f"{min(one.use for one in all_of_them):11.2%}"
                    f"{max(one.refused for one in all_of_them):12.2%}",
                    flush=True,
                )


def _changed(simulation: Simulation, at: float, factor: float) -> Change:
    limiter, until = simulation.limiter, at + _TAIL
    scale(limiter, factor)
    result = simulation.run(until)
    span = _STEP if isinstance(limiter, Bucket) else 60.0
    after = result.ridden_after(limiter.rate, at, until, span)
    use = result.use(limiter.rate, at + after, until) if after < _TAIL else 0.0
    return Change(after, use, result.refusals(at + after))


def _apart(work: Callable[[], Change]) -> Change:
    """Do the work in a copy of this process, so that the simulation here goes on as it was."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    change = pickle.loads(answer)
    assert isinstance(change, Change)
    return change


def draw(file: Path) -> None:
    """Draw accepted requests, and refused ones, against a limit that changes twice."""
    from matplotlib.figure import Figure

    pacers: dict[str, Callable[[], Shared] | type] = {"incarts_pipeline": ours, **PEERS}
    figure = Figure(figsize=(9, 9), layout="constrained")
    plots = figure.subplots(len(pacers), sharex=True)
    for axes, (name, make) in zip(plots, pacers.items(), strict=True):
        limiter = Bucket(50, 100)
        start = make() if name == "incarts_pipeline" else make
        simulation = Simulation(limiter, start, workers=8)
        simulation.run(400.0)
        scale(limiter, 0.5)
        simulation.run(800.0)
        scale(limiter, 1.5)
        result = simulation.run(1_200.0)
        edges = [i * _STEP for i in range(int(1_200 / _STEP) + 1)]
        weights = [1 / _STEP] * len(result.accepted)
        axes.hist(result.accepted, edges, weights=weights, histtype="step", label="accepted")
        weights = [1 / _STEP] * len(result.refused)
        axes.hist(result.refused, edges, weights=weights, color="tab:red", label="refused (429)")
        axes.step([0, 400, 800, 1_200], [50, 50, 25, 37.5], color="black", lw=0.8, label="limit")
        share = len(result.refused) / (len(result.refused) + len(result.accepted))
        axes.set_title(f"{name}: {share:.2%} refused", loc="left", fontsize=10)
        axes.set_ylim(0, 90)
        axes.set_ylabel("requests/s")
    axes.set_xlabel("seconds")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    figure.savefig(file, dpi=110)
    print(f"wrote {file}")


def main() -> None:
    """Print the tables, and draw when asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1_800.0)
    parser.add_argument("--quick", action="store_true", help="400 seconds of the main limits")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.quick:
        steady(_MAIN, 400.0)
    else:
        steady(list(LIMITERS), options.seconds)
        hinted(options.seconds)
        distant(options.seconds)
        changes()
    if options.picture:
        draw(options.picture)


if __name__ == "__main__":
    main()
