"""A run's history: nothing is lost, nothing grows without bound."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.models import Answer, AnswerKind, State
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.write.metrics import MOST, Latencies, RunMetrics, Timeline

KINDS = st.sampled_from([AnswerKind.LINK, AnswerKind.RATE_LIMITED, AnswerKind.UNKNOWN])


@given(st.lists(st.tuples(st.floats(0, 1e6), KINDS), max_size=60))
def test_every_answer_is_in_one_slice(answers: list[tuple[float, AnswerKind]]) -> None:
    """Whatever the pauses, each answer is counted once, in the slice of its time."""
    line = Timeline()
    now = 100.0
    times: list[float] = []
    for pause, kind in answers:
        now += pause
        times.append(now)
        line.add(now, kind)
    assert sum(one.answers for one in line.slices) == len(answers)
    assert sum(one.links for one in line.slices) == sum(k is AnswerKind.LINK for _, k in answers)
    assert len(line.slices) <= MOST
    for at in times:
        assert line.slices[int((at - times[0]) / line.width)].answers


def test_long_run_has_few_slices() -> None:
    """A million answers over eleven days are at most 600 slices; the last rate of each is kept."""
    line = Timeline()
    for i in range(100_000):
        line.add(float(i * 10), AnswerKind.LINK, limit=float(i), pace=None)
    assert MOST / 2 <= len(line.slices) <= MOST
    assert line.width == 2048.0
    assert line.slices[-1].limit == 99_999.0
    limits = [one.limit or 0.0 for one in line.slices]
    assert limits == sorted(limits)


def test_a_clock_that_stands_still_is_no_trouble() -> None:
    """Answers at one instant, or before the first one, go into the first slice."""
    line = Timeline()
    for at in (5.0, 5.0, 4.0):
        line.add(at, AnswerKind.LINK)
    assert [one.links for one in line.slices] == [3]


@given(
    st.lists(st.floats(0.0011, 200.0), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.9, 0.99, 1.0]),
)
def test_quantiles_are_right_within_a_bin(seconds: list[float], share: float) -> None:
    """They differ from the exact ones by at most half a bin, whatever was counted."""
    taken = Latencies()
    for one in seconds:
        taken.add(one)
    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    found = taken.quantile(share)
    assert found is not None
    assert found == pytest.approx(exact, rel=0.026)
    assert sum(n for _, _, n in taken.spread()) == len(seconds)
    assert taken.longest == max(seconds)


def test_latencies_out_of_range_stay_in_the_outer_bins() -> None:
    """No time is too short or too long to be counted."""
    taken = Latencies()
    assert (taken.quantile(0.5), taken.spread()) == (None, [])
    for one in (0.0, 1e-9, 3600.0):
        taken.add(one)
    assert sum(taken.bins) == 3
    assert taken.quantile(0.1) is not None
    assert (taken.bins[0], taken.bins[-1], taken.longest) == (2, 1, 3600.0)


def test_metrics_keep_history() -> None:
    """An answer goes into counts, latencies and the timeline, with limit and pace as of then."""
    metrics = RunMetrics()
    learned = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=100, window=10.0)
    refused = Answer(kind=AnswerKind.RATE_LIMITED, correlation_id="x", status=429)
    metrics.answered(refused, State.INTENDED, latency=0.1, now=7.0, limit=learned, pace=9.5)
    [one] = metrics.timeline.slices
    assert (one.limited, one.limit, one.pace) == (1, 10.0, 9.5)
    assert (metrics.errors["429"], metrics.latencies.count, metrics.limit) == (1, 1, learned)


def test_a_limit_that_was_not_met_is_none() -> None:
    """The rate that was reached without a limit is not drawn as one."""
    metrics, made = RunMetrics(), Answer(kind=AnswerKind.LINK, correlation_id="x", status=201)
    reached = Learned(kind=LimitKind.OPEN, rate=100.0)
    metrics.answered(made, State.DONE, latency=0.1, now=7.0, limit=reached, pace=100.0)
    assert (metrics.timeline.slices[0].limit, metrics.limit) == (None, reached)
