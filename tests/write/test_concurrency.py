"""How many requests are under way at most, and what trouble costs."""

from __future__ import annotations

import pytest

from incarts_pipeline.settings import MOST
from incarts_pipeline.write.circuit_breaker import Breaker
from incarts_pipeline.write.concurrency import ConcurrencyLimit


def test_cap_follows_pace_and_latency() -> None:
    """Little's law, with some to spare; a cap that was asked for stays."""
    under_way = ConcurrencyLimit()
    assert under_way.cap(None) == under_way.cap(50.0) == 32, "nothing is known yet"
    for _ in range(100):
        under_way.took(0.4)
    assert 100 * 0.4 < under_way.cap(100.0) < 2 * 100 * 0.4
    assert under_way.cap(1.0) == 8
    assert under_way.cap(1e9) == MOST
    assert ConcurrencyLimit(5).cap(100.0) == 5


def test_budget_is_used_up_by_retries_and_earned_by_successes() -> None:
    """500 tokens: a failure in two costs 5 and gives 1 back; then everybody pauses."""
    breaker, failures = Breaker(), 0
    while not breaker.wait(0.0):
        breaker.failed(0.0, timeout=False)
        failures += 1
        breaker.succeeded(retry=False) if breaker.tokens else None
    assert failures == pytest.approx(500 / 4, abs=2)
    assert Breaker().wait(0.0) == 0.0
    healthy = Breaker()
    for _ in range(10_000):
        healthy.failed(0.0, timeout=True)
        for _ in range(10):
            healthy.succeeded(retry=False)
    assert not healthy.wait(0.0), "one failure in eleven is paid for"


def test_timeouts_cost_twice() -> None:
    """A timeout holds a place for long, so it costs more."""
    slow, quick = Breaker(), Breaker()
    for _ in range(10):
        slow.failed(0.0, timeout=True)
        quick.failed(0.0, timeout=False)
    assert 500 - slow.tokens == 2 * (500 - quick.tokens)


def test_half_open_lets_one_request_through() -> None:
    """After the pause one probe goes; the others wait for what it finds."""
    breaker = Breaker()
    for _ in range(12):
        breaker.failed(0.0, timeout=False)
    assert breaker.wait(0.0) == 2.0
    assert breaker.wait(2.0) == 0.0
    breaker.started(2.0)
    assert breaker.wait(2.1) > 0.0, "the probe is out"
    breaker.finished(1.0)
    assert breaker.wait(2.1) > 0.0, "an older request says nothing"
    breaker.failed(2.2, timeout=False)
    breaker.finished(2.0)
    assert breaker.wait(2.2) == pytest.approx(4.0), "the pause is doubled"
    breaker.started(6.2)
    breaker.succeeded(retry=True)
    breaker.finished(6.2)
    assert [breaker.wait(6.3), breaker.tokens >= 100] == [0.0, True]


def test_probe_that_never_left_frees_its_place() -> None:
    """A probe whose request could not even be marked is over too."""
    breaker = Breaker()
    for _ in range(12):
        breaker.failed(0.0, timeout=False)
    breaker.started(2.0)
    breaker.finished(2.0)
    assert breaker.wait(2.1) == 0.0
