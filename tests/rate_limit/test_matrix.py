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
from tests.support.rates.simulator import Simulation

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
    "20/s + 600/60 s": Bound(0.95, 0.018, early=90),
    "fixed 250/25 s": Bound(0.98, 0.005),
    "anchored 450/45 s": Bound(0.99, 0.005),
    "fixed 900/90 s": Bound(0.98, 0.005),
    "sliding log 1000/100 s": Bound(0.99, 0.005),
    "bucket 60/min burst 60": Bound(0.97, 0.005),
    "bucket 100/min burst 100": Bound(0.97, 0.005),
    "0.1 % by chance": Bound(0.97, 0.003),
    "1 % by chance": Bound(0.93, 0.013, early=400),
    "fixed 600/60 s, edges late by 0 to 2 s": Bound(0.95, 0.007),
    "anchored 600/60 s, edges late by 0 to 2 s": Bound(0.93, 0.008),
    "4 replicas of 150/60 s": Bound(0.9, 0.02, early=180),
    "4 anchored replicas of 150/60 s": Bound(0.88, 0.025, early=180),
    "4 replicas of 12/s": Bound(0.93, 0.02, early=450),
    "4 in flight": Bound(0.9, 0.002),
    "8 in flight": Bound(0.9, 0.002, early=80),
    "20 in flight": Bound(0.96, 0.002),
}
STACKED = {"10/s + 5000/h": Bound(0.97, 0.01), "100/min + 1000/h": Bound(0.97, 0.03)}
BANNED = {
    "600/60 s, ban": Bound(0.88, 0.002),
    "anchored 600/60 s, ban": Bound(0.88, 0.002),
    "bucket 10/s, ban": Bound(0.9, 0.015),
    "600/60 s, ban that tries prolong": Bound(0.85, 0.01),
    "bucket 50/s, ban that tries prolong": Bound(0.98, 0.01),
}
QUICK = ("fixed 600/60 s", "sliding log 600/60 s", "bucket 60/min burst 60")
COUNTED = ("fixed 600/60 s", "anchored 600/60 s", "sliding log 600/60 s", "bucket 50/s burst 100")


def check(limit: str, hint: str, workers: int, bound: Bound) -> None:
    """Ride a limit, and compare what came of it with its bound."""
    limiter = LIMITERS[limit]()
    shared = Shared(RateController(100.0))
    # Where requests at work are limited, they are the time that a round trip takes.
    latency = 0.01 if isinstance(limiter, InFlight) else 0.08
    simulation = Simulation(
        limiter, shared, workers=workers, latency=latency, hint=HINTS[hint](limiter)
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
    assert sum(at <= HOUR for at in result.refused) <= 120


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
@pytest.mark.parametrize(("limit", "use"), [("8 in flight", 0.9), ("20 in flight", 0.92)])
def test_eight_workers_find_a_cap_together(limit: str, use: float) -> None:
    """Refusals go with what all of them have under way, and none of them knows that alone."""
    check(limit, "none", 8, Bound(use, 0.012, early=200))


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("limit", COUNTED)
def test_eight_workers_share_fairly(limit: str) -> None:
    """As one would, each an equal share, with round trips of 40 to 120 ms."""
    check(limit, "none", 8, Bound(0.95, 0.01, early=150))
