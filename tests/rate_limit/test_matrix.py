"""Limits of many kinds and hints of many styles: each cell of the matrix keeps its bound.

In simulated time, 20 minutes; use and refusals are those after the first five.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Shared
from tests.support.rates.hints import HINTS
from tests.support.rates.limiters import LIMITERS, InFlight
from tests.support.rates.simulator import JITTERS, Jitter, Simulation, no_jitter

WARM, LONG = 300.0, 1_200.0  # seconds
HOUR, HOURS = 3_600.0, 10_800.0  # seconds, where a limit is of an hour


class Bound(NamedTuple):
    """At least so much of the budget is used, at most such a share and so many are refused."""

    use: float
    refused: float
    early: int = 60  # before the steady state


BOUNDS = {
    "fixed 600/60 s": Bound(0.99, 0.003),
    "anchored 600/60 s": Bound(0.99, 0.003),
    "sliding log 600/60 s": Bound(0.99, 0.003),
    "sliding counter 600/60 s": Bound(0.98, 0.003),
    "bucket 50/s burst 100": Bound(0.99, 0.003),
    "bucket 50/s burst 1000": Bound(0.99, 0.003),
    "bucket 5/s burst 2": Bound(0.95, 0.01),
    "10 per 1 s": Bound(0.95, 0.01),
    "30 per 60 s": Bound(0.95, 0.01),
    "20/s + 600/60 s": Bound(0.97, 0.006, early=80),
    "fixed 250/25 s": Bound(0.98, 0.005, early=80),
    "anchored 450/45 s": Bound(0.99, 0.005),
    "fixed 900/90 s": Bound(0.98, 0.005),
    "sliding log 1000/100 s": Bound(0.99, 0.005),
    "bucket 60/min burst 60": Bound(0.97, 0.005),
    "bucket 100/min burst 100": Bound(0.97, 0.005),
    "0.1 % by chance": Bound(0.97, 0.003),
    "1 % by chance": Bound(0.93, 0.013, early=400),
    "fixed 600/60 s, edges late by 0 to 2 s": Bound(0.95, 0.007),
    "anchored 600/60 s, edges late by 0 to 2 s": Bound(0.92, 0.005),
    "4 replicas of 150/60 s": Bound(0.9, 0.02, early=150),
    "4 anchored replicas of 150/60 s": Bound(0.9, 0.025, early=150),
    "4 sliding replicas of 150/60 s": Bound(0.87, 0.017, early=150),
    "3 replicas of 1000/60 s": Bound(0.93, 0.01, early=450),
    "4 replicas of 12/s": Bound(0.95, 0.012, early=200),
    "4 in flight": Bound(0.9, 0.002),
    "8 in flight": Bound(0.9, 0.002, early=80),
    "20 in flight": Bound(0.96, 0.002),
}
STACKED = {"10/s + 5000/h": Bound(0.97, 0.005), "100/min + 1000/h": Bound(0.97, 0.005)}
BANNED = {
    "600/60 s, ban": Bound(0.88, 0.002, early=75),
    "anchored 600/60 s, ban": Bound(0.84, 0.002, early=70),
    "bucket 10/s, ban": Bound(0.95, 0.01),
    "10 per 1 s, ban": Bound(0.88, 0.01),
    "600/60 s, ban that tries prolong": Bound(0.85, 0.01),
    "bucket 50/s, ban that tries prolong": Bound(0.98, 0.01),
}
# By the seconds of a round trip, of which a tenth or two come by chance.
DISTANT = {
    ("fixed 600/60 s", 0.02): Bound(0.98, 0.003),
    ("fixed 600/60 s", 0.2): Bound(0.98, 0.005, early=90),
    ("fixed 600/60 s", 0.4): Bound(0.97, 0.01, early=110),
    ("fixed 600/60 s", 1.0): Bound(0.96, 0.015, early=200),
    ("bucket 50/s burst 100", 0.02): Bound(0.99, 0.003),
    ("bucket 50/s burst 100", 0.2): Bound(0.99, 0.01, early=150),
    ("bucket 50/s burst 100", 0.4): Bound(0.98, 0.01, early=150),
    ("bucket 50/s burst 100", 1.0): Bound(0.98, 0.01, early=250),
    ("bucket 5/s burst 2", 0.02): Bound(0.94, 0.005),
    ("bucket 5/s burst 2", 0.2): Bound(0.93, 0.005),
    ("bucket 5/s burst 2", 0.4): Bound(0.88, 0.01),
    ("bucket 5/s burst 2", 1.0): Bound(0.78, 0.02),
    ("10 per 1 s", 0.02): Bound(0.95, 0.005),
    ("10 per 1 s", 0.2): Bound(0.92, 0.015, early=120),
    ("10 per 1 s", 0.4): Bound(0.88, 0.03, early=120),
    ("10 per 1 s", 1.0): Bound(0.8, 0.035, early=180),
    ("20 in flight", 0.02): Bound(0.93, 0.005, early=80),
}
NEAR = [("bucket 5/s burst 2", 0.02), ("bucket 5/s burst 2", 0.4)]
QUICK = ("fixed 600/60 s", "sliding log 600/60 s", "bucket 60/min burst 60")
COUNTED = ("fixed 600/60 s", "anchored 600/60 s", "sliding log 600/60 s", "bucket 50/s burst 100")


def check(
    limit: str,
    hint: str,
    workers: int,
    bound: Bound,
    *,
    latency: float | None = None,
    jitter: Jitter = no_jitter,
) -> None:
    """Ride a limit, and compare what came of it with its bound."""
    limiter = LIMITERS[limit]()
    shared = Shared(RateController(100.0))
    # Where requests at work are limited, they are the time that a round trip takes.
    simulation = Simulation(
        limiter,
        shared,
        workers=workers,
        latency=latency or (0.01 if isinstance(limiter, InFlight) else 0.08),
        jitter=jitter,
        hint=HINTS[hint](limiter),
    )
    result = simulation.run(LONG)
    assert result.use(limiter.rate, WARM, LONG) >= bound.use
    assert result.refusals(WARM) <= bound.refused
    assert sum(at <= WARM for at in result.refused) <= bound.early
    assert result.fairness(WARM) >= 0.99
    assert result.hopeless == []  # no limit here lasts so long, whatever its hints say


@pytest.mark.parametrize("limit", QUICK)
def test_a_limit_is_found_and_ridden(limit: str) -> None:
    """Without any hint: nearly all of the budget is used, and hardly a request refused."""
    check(limit, "none", 1, BOUNDS[limit])


@pytest.mark.slow
@pytest.mark.no_cover  # tracing would triple its time
@pytest.mark.parametrize("limit", [limit for limit in BOUNDS if limit not in QUICK])
def test_each_kind_of_limit(limit: str) -> None:
    """The other kinds, lengths and bursts, without any hint."""
    check(limit, "none", 1, BOUNDS[limit])


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("limit", STACKED)
def test_two_limits_at_once(limit: str) -> None:
    """A limit of an hour behind one of a second or a minute: both are ridden, hour after hour."""
    limiter, bound = LIMITERS[limit](), STACKED[limit]
    result = Simulation(limiter, Shared(RateController(100.0))).run(HOURS)
    assert result.use(limiter.rate, HOUR, HOURS) >= bound.use
    assert result.refusals(HOUR) <= bound.refused
    assert sum(at <= HOUR for at in result.refused) <= 170


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("limit", BANNED)
def test_bans_are_waited_for(limit: str) -> None:
    """Three refusals ban for a minute, and trying may prolong that."""
    check(limit, "none", 1, BANNED[limit])


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("hint", [hint for hint in HINTS if hint != "none"])
@pytest.mark.parametrize("limit", COUNTED)
def test_hints_true_and_false(limit: str, hint: str) -> None:
    """Whatever the headers say, the limit is used as it is without them."""
    check(limit, hint, 1, Bound(0.95, 0.01, early=150))


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize(("limit", "use"), [("8 in flight", 0.9), ("20 in flight", 0.95)])
def test_eight_workers_find_a_cap_together(limit: str, use: float) -> None:
    """Refusals go with what all of them have under way, and none of them knows that alone."""
    check(limit, "none", 8, Bound(use, 0.003, early=110))


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("limit", COUNTED)
def test_eight_workers_share_fairly(limit: str) -> None:
    """As one would, each an equal share, with round trips of 40 to 120 ms."""
    check(limit, "none", 8, Bound(0.95, 0.01, early=150))


@pytest.mark.parametrize(("limit", "latency"), NEAR)
def test_a_slow_bucket_near_and_far(limit: str, latency: float) -> None:
    """A server that is far away is no cap on requests at work."""
    check(limit, "none", 1, DISTANT[limit, latency], latency=latency)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize(("limit", "latency"), [cell for cell in DISTANT if cell not in NEAR])
def test_each_distance(limit: str, latency: float) -> None:
    """Round trips of 20 milliseconds to a second."""
    check(limit, "none", 1, DISTANT[limit, latency], latency=latency)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("hint", ["none", "Retry-After"])
@pytest.mark.parametrize("workers", [1, 4, 8])
@pytest.mark.parametrize("jitter", JITTERS)
def test_departures_that_are_late_by_chance(jitter: str, workers: int, hint: str) -> None:
    """A second's limit is ridden where each request is late by as much as half of its turn."""
    bound = Bound(0.92, 0.02, early=150)
    check("10 per 1 s", hint, workers, bound, jitter=JITTERS[jitter])


@pytest.mark.parametrize("jitter", [no_jitter, *JITTERS.values()])
def test_measuring_is_over_soon(jitter: Jitter) -> None:
    """A limit of ten a second costs few refusals from the first half a minute on."""
    limiter = LIMITERS["10 per 1 s"]()
    simulation = Simulation(limiter, Shared(RateController(100.0)), latency=0.02, jitter=jitter)
    result = simulation.run(60.0)
    assert result.refusals(30.0) <= 0.025
    assert result.use(limiter.rate, 30.0, 60.0) >= 0.85
