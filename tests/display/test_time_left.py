"""Time left: it grows only for a reason that is told."""

from __future__ import annotations

import random

import pytest

from incarts_pipeline.display.progress import Watch
from incarts_pipeline.display.time_left import TimeLeft
from incarts_pipeline.models import State
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.write.metrics import RunMetrics


@pytest.mark.parametrize("seed", range(20))
def test_no_growth_without_a_reason(seed: int) -> None:
    """Whatever the pace does, a time left that is more than the one before says why."""
    chance = random.Random(seed)
    metrics = RunMetrics(planned=20_000)
    watch, now, last = Watch(metrics, 0.0), 0.0, None
    pace = 50.0
    while metrics.done < metrics.planned:
        now += chance.choice([0.2, 0.5, 30.0])
        if chance.random() < 0.1:
            pace = chance.choice([5.0, 20.0, 80.0, 300.0])
        metrics.waiting = "Incarts said 429" if chance.random() < 0.1 else ""
        if chance.random() < 0.02:
            metrics.planned += 500
        if not metrics.waiting:
            metrics.states[State.DONE] += int(pace * chance.uniform(0.0, 0.6)) + 1
        glance = watch.look(now)
        if last is not None and glance.left is not None and glance.left > last + 1e-6:
            assert glance.why or glance.waiting, (now, last, glance)
        last = glance.left


def test_each_reason_is_told() -> None:
    """More to do, another limit, errors and a lower pace are told apart, until it gets less."""
    left = TimeLeft()
    left.look(0.0, remaining=1_000, pace=10.0, facts={"more to do": 1_000})
    assert (left.seconds, left.why) == (100.0, "")
    left.look(10.0, remaining=2_000, pace=10.0, facts={"more to do": 2_000})
    assert (left.seconds, left.why) == (200.0, "more to do")
    left.look(20.0, remaining=1_900, pace=2.0, facts={"more to do": 2_000})
    assert (left.seconds, left.why) == (950.0, "slower: 2/s, was 10/s")
    left.look(30.0, remaining=1_000, pace=10.0, facts={"more to do": 2_000})
    assert (left.seconds, left.why) == (100.0, "")


def test_a_small_slip_is_held() -> None:
    """An estimate that is a little worse than the one before goes on counting down."""
    left = TimeLeft()
    left.look(0.0, remaining=1_000, pace=10.0, facts={})
    left.look(10.0, remaining=930, pace=9.5, facts={})
    assert left.seconds == 90.0


def test_the_clock_stands_while_a_run_waits() -> None:
    """Nothing gets less while nothing goes out, and nothing gets more either."""
    left = TimeLeft()
    left.look(0.0, remaining=1_000, pace=10.0, facts={})
    for now in (30.0, 60.0):
        left.look(now, remaining=1_000, pace=0.0, facts={}, waiting=True)
        assert left.seconds == 100.0
    left.look(61.0, remaining=0, pace=10.0, facts={})
    assert left.seconds is None


def test_a_known_limit_bounds_the_pace() -> None:
    """A burst at the beginning promises nothing that the limit won't keep."""
    limit = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0)
    metrics = RunMetrics(planned=6_600, limit=limit)
    watch = Watch(metrics, 0.0)
    metrics.states[State.DONE] = 600
    assert watch.look(5.0).left == pytest.approx(600.0)
