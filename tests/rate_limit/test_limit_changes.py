"""A limit that changes, in simulated time: noticed soon, at the cost of few 429s."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from incarts_pipeline.rate_limit.block import Block
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.survey import Survey
from tests.support.rates.limiters import Bucket, Fixed, Limiter, SlidingCounter, SlidingLog, scale
from tests.support.rates.simulator import Simulation

WARM, LONG = 300.0, 1_200.0  # seconds

# Tracing would triple their time; one worker reaches all of the controller's lines.
untraced = pytest.mark.no_cover


@pytest.mark.slow
@untraced
@pytest.mark.parametrize(
    ("workers", "instants"),
    [(1, (500.0, 548.0, 594.0, 641.0)), (8, (530.0, 612.0))],
    ids=["1 worker", "8 workers"],
)
@pytest.mark.parametrize(
    ("make", "fallen", "risen", "span"),
    [
        (lambda: Fixed(600, 60), 150.0, 210.0, 60.0),
        (lambda: Fixed(600, 60, anchored=True), 150.0, 210.0, 60.0),
        (lambda: SlidingLog(600, 60), 150.0, 210.0, 60.0),
        (lambda: SlidingCounter(600, 60), 150.0, 210.0, 60.0),
        (lambda: Bucket(50, 100), 5.0, 60.0, 5.0),
    ],
    ids=["fixed", "anchored", "sliding log", "sliding counter", "bucket"],
)
def test_limit_that_changes_is_followed(
    make: Callable[[], Limiter],
    fallen: float,
    risen: float,
    span: float,
    workers: int,
    instants: tuple[float, ...],
) -> None:
    """A limit that is halved or raised by half is ridden again soon, whenever that happens.

    The instants lie at different places of a window and of the time between two probes.
    """
    for changed in instants:
        for factor, within in ((0.5, fallen), (1.5, risen)):
            limiter = make()
            simulation = Simulation(limiter, Shared(RateController(100.0)), workers=workers)
            simulation.run(changed)
            scale(limiter, factor)
            until = changed + 330.0
            result = simulation.run(until)
            assert result.ridden_after(limiter.rate, changed, until, span) <= within
            assert result.refusals(changed + within) <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(8, marks=untraced)])
def test_probes_of_a_bucket_are_paid_for_by_what_was_accepted(workers: int) -> None:
    """They come often where they cost one 429, and yet hardly a request is refused."""
    result = Simulation(Bucket(50, 100), Shared(RateController(100.0)), workers=workers).run(LONG)
    since = [at for at in result.refused if at > WARM]
    waits = [later - earlier for earlier, later in pairwise(since)]
    assert max(waits) <= 60.0
    assert result.refusals(WARM) <= 0.002


def test_pace_that_was_fine_is_believed_when_the_next_small_step_was_not() -> None:
    """A 429 close above a sustained pace needs no measuring; one far above it does."""
    learned = Learned(kind=LimitKind.BUCKET, rate=50.0)
    for pace, settled in ((55.0, True), (65.0, False)):
        survey = Survey()
        survey.climb(52.5)
        finding = survey.unblocked(
            learned,
            Block(began=10.0, watched_from=10.0, rate=50.0, gap=0.02, last_refused=10.0),
            phase=Phase.MEASURE,
            pace=pace,
            round_trip=0.08,
            sent_at=10.1,
            now=10.2,
        )
        assert (finding.pace is None) is settled
        assert (finding.learned == Learned(kind=LimitKind.BUCKET, rate=52.5)) is settled


@pytest.mark.slow
@pytest.mark.parametrize("window", [1.0, 10.0, 600.0])
def test_windows_of_other_lengths(window: float) -> None:
    """What is done is measured in windows: the budget of a short one and a long one is used."""
    limiter = Fixed(int(20 * window), window)
    warm, until = max(WARM, 4.0 * window), max(LONG, 8.0 * window)
    result = Simulation(limiter, RateController(100.0)).run(until)
    assert result.use(limiter.rate, warm, until) >= 0.9
    assert result.refusals(warm) <= 0.01
