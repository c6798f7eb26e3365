"""A limit that changes, in simulated time: noticed soon, at the cost of few 429s."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Shared
from tests.support.rates.limiters import Bucket, Fixed, Limiter, SlidingLog, Stacked, scale
from tests.support.rates.simulator import Simulation


@pytest.mark.slow
@pytest.mark.no_cover  # tracing would triple its time
@pytest.mark.parametrize("changed", [500.0, 594.0])
@pytest.mark.parametrize("factor", [0.5, 1.5])
@pytest.mark.parametrize(
    ("make", "span"),
    [
        (lambda: Fixed(600, 60), 60.0),
        (lambda: Fixed(600, 60, anchored=True), 60.0),
        (lambda: SlidingLog(600, 60), 60.0),
        (lambda: Bucket(50, 100), 5.0),
    ],
    ids=["fixed", "anchored", "sliding log", "bucket"],
)
def test_limit_that_changes_is_followed(
    make: Callable[[], Limiter], span: float, factor: float, changed: float
) -> None:
    """A limit that is halved or raised by half is ridden again, whenever that happens."""
    limiter = make()
    simulation = Simulation(limiter, Shared(RateController(100.0)))
    simulation.run(changed)
    scale(limiter, factor)
    until = changed + 600.0
    result = simulation.run(until)
    assert result.use(limiter.rate, changed + 330.0, until) >= 0.9
    assert result.refusals(changed + 330.0) <= 0.02


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("changed", [900.0, 990.0])
@pytest.mark.parametrize(("factor", "within"), [(0.5, 150.0), (1.5, 480.0)])
def test_second_limit_that_changes_is_followed(
    factor: float, within: float, changed: float
) -> None:
    """A limit of a minute behind one of a second is ridden again, the first one kept to."""
    second = Fixed(600, 60)
    limiter = Stacked(Fixed(20, 1), second)
    simulation = Simulation(limiter, Shared(RateController(100.0)))
    simulation.run(changed)
    scale(second, factor)
    until = changed + within + 600.0
    result = simulation.run(until)
    assert result.use(limiter.rate, changed + within, until) >= 0.95
    assert result.refusals(changed) <= 0.015
