"""The rate ceiling, on a clock that only the test moves."""

from __future__ import annotations

import pytest

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from tests.support.rates.answers import refused


def fixed(rate: float | None) -> RateController:
    """Return a controller that keeps to a rate."""
    return RateController(rate, learns=False)


def send_for(bucket: RateController, start: float, seconds: float) -> int:
    """Send as fast as the bucket lets us; return how many went."""
    now, sent = start, 0
    while now < start + seconds:
        wait = bucket.ask(now)
        sent += wait == 0.0
        now += wait
    return sent


def test_paces_at_the_ceiling() -> None:
    """Ten seconds at 50 a second are 500 requests, give or take the first token."""
    assert abs(send_for(fixed(50), 0.0, 10.0) - 500) <= 3


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("rate", [0.5, 7.0, 100.0, 1_000.0, 5_000.0])
@pytest.mark.parametrize("uptime", [0.1, 2e4 + 0.1, 3e6 + 0.1, 3e8 + 0.1])
def test_clock_of_a_machine_that_was_never_restarted(
    uptime: float, rate: float, adaptive: bool
) -> None:
    """After ten years a clock tells no less than 60 ns, and no wait may be too short for it."""
    pacer = fixed(rate)
    if adaptive:
        pacer = RateController(None, Learned(kind=LimitKind.BUCKET, rate=rate))
    now, sent, asked = uptime, 0, 0
    while sent < 500:
        wait = pacer.ask(now)
        sent, asked, now = sent + (wait == 0.0), asked + 1, now + wait
        assert asked <= 5 * 500
    assert adaptive or abs(sent / (now - uptime) / rate - 1.0) < 0.02  # the other one probes


def test_asking_for_an_earlier_time_ends() -> None:
    """Who asks for now after another leased ahead is told once when there is more."""
    bucket = fixed(20)
    send_for(bucket, 1_000.0, 0.21)
    wait = bucket.ask(1_000.1)
    assert wait > 0.1
    assert bucket.ask(1_000.1 + wait + 1e-9) == 0.0


def test_no_burst_after_idling() -> None:
    """An hour of silence does not turn into a burst."""
    bucket = fixed(20)
    bucket.ask(0.0)
    burst = 0
    while bucket.ask(3600.0) == 0.0:
        burst += 1
    assert burst <= 1


def test_no_ceiling() -> None:
    """Without a ceiling nothing waits."""
    bucket = fixed(None)
    assert [bucket.ask(0.0) for _ in range(100)] == [0.0] * 100


def test_a_refusal_stops_everybody() -> None:
    """One request at a time finds out whether it is over; then the rate is the same again."""
    bucket = fixed(100)
    bucket.ask(0.0)
    bucket.answered(refused(7.0), sent_at=0.0, now=1.0)
    now = 1.0 + bucket.ask(1.0)
    assert now > 1.0
    assert bucket.ask(now) == 0.0
    assert bucket.ask(now) > 0.0, "the one that finds out is under way"
    assert bucket.pace == 100


@pytest.mark.parametrize("rate", [0, -1])
def test_refuses_senseless_rates(rate: float) -> None:
    """A ceiling must be above zero."""
    with pytest.raises(ValueError, match="above 0"):
        fixed(rate)
