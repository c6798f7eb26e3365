"""The rate controller finds limits that nobody tells, and rides them; in simulated time only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from incarts_pipeline.models import RateHints
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.token_bucket import TokenBucket
from tests.support.rates.answers import ACCEPTED, FAILED, LOST, refused
from tests.support.rates.limiters import (
    LIMITERS,
    Bucket,
    Counting,
    Fixed,
    Foreign,
    Limiter,
    SlidingLog,
)
from tests.support.rates.simulator import Result, Simulation

WARM, LONG = 300.0, 1_200.0  # seconds

# Tracing would triple their time; one worker reaches all of the controller's lines.
untraced = pytest.mark.no_cover
eight = pytest.param(8, marks=[untraced, pytest.mark.slow])


@dataclass(frozen=True)
class Figures:
    """What is promised of a limit; `ridden` in seconds and `span`, in which 95 % must be used."""

    use: float  # at least, of the budget
    refused: float  # at most, of the requests
    early: int = 60  # 429s before, at most
    ridden: float | None = 180.0
    span: float = 60.0


FIGURES = {
    "fixed 600/60 s": Figures(0.99, 0.003),
    "anchored 600/60 s": Figures(0.99, 0.003),
    "sliding log 600/60 s": Figures(0.99, 0.003),
    "sliding counter 600/60 s": Figures(0.98, 0.003),
    "bucket 50/s burst 100": Figures(0.99, 0.003, ridden=20.0, span=5.0),
    "bucket 50/s burst 1000": Figures(0.99, 0.003, early=150, ridden=20.0, span=5.0),
    "bucket 5/s burst 2": Figures(0.95, 0.01, ridden=None),
    "10 per 1 s": Figures(0.90, 0.01, ridden=None),
    "30 per 60 s": Figures(0.95, 0.03, span=90.0),  # a request is 3 % of a window
    "20/s + 600/60 s": Figures(0.95, 0.01),
}


@cache
def ridden(name: str, workers: int) -> Result:
    """Return what becomes of a limit without any hint."""
    return Simulation(LIMITERS[name](), Shared(RateController(100.0)), workers=workers).run(LONG)


@pytest.mark.parametrize("workers", [1, eight])
@pytest.mark.parametrize("name", FIGURES)
def test_limit_is_found_and_ridden(name: str, workers: int) -> None:
    """Without any hint: nearly all of the budget is used, soon, fairly, and hardly a 429."""
    figures, result, rate = FIGURES[name], ridden(name, workers), LIMITERS[name]().rate
    assert result.use(rate, WARM, LONG) >= figures.use
    assert result.refusals(WARM) <= figures.refused
    assert sum(at <= WARM for at in result.refused) <= figures.early
    assert result.fairness(WARM) >= 0.99
    if figures.ridden is not None:
        assert result.ridden_after(rate, 0.0, WARM, figures.span) <= figures.ridden


def reset_of(limiter: Fixed, at: float) -> float:
    """Return the seconds until an aligned or anchored window is reset."""
    return limiter.began + limiter.window - at


def retry_after(limiter: Fixed, at: float, accepted: bool) -> RateHints:
    """Rounded up, as servers do."""
    return RateHints() if accepted else RateHints(retry_after=float(int(reset_of(limiter, at)) + 1))


def reset_only(limiter: Fixed, at: float, accepted: bool) -> RateHints:
    """X-RateLimit-Limit and -Reset without a window's length."""
    return RateHints(limit=limiter.n, reset=float(int(reset_of(limiter, at)) + 1))


def policy(limiter: Fixed, at: float, accepted: bool) -> RateHints:
    """RateLimit-Policy names the limit whole."""
    return RateHints(limit=limiter.n, window=limiter.window, reset=reset_of(limiter, at))


@pytest.mark.parametrize("hint", [retry_after, reset_only, policy])
@pytest.mark.parametrize("workers", [1, eight])
def test_hints_shorten_the_learning(hint: Callable[..., RateHints], workers: int) -> None:
    """With any kind of hint there are fewer refusals, and no less use."""
    limiter = Fixed(600, 60)
    shared = Shared(RateController(100.0))
    hinted = Simulation(
        limiter, shared, workers=workers, hint=lambda at, ok: hint(limiter, at, ok)
    ).run(LONG)
    assert hinted.use(limiter.rate, WARM, LONG) >= 0.985
    assert len(hinted.refused) < len(ridden("fixed 600/60 s", workers).refused)


def test_policy_is_believed_at_once_and_distrusted_once_it_is_wrong() -> None:
    """A limit that the server names is used without provoking it; one that is a lie is measured."""
    limiter = Fixed(600, 60)
    named = RateController(100.0)
    result = Simulation(limiter, named, hint=lambda at, ok: policy(limiter, at, ok)).run(100.0)
    assert (named.learned, result.refused) == (named.told, [])
    liar = RateController(100.0)
    lie = RateHints(limit=6_000, window=60.0)
    result = Simulation(limiter, liar, hint=lambda _at, _ok: lie).run(LONG)
    assert liar.survey.hints.distrusted
    assert result.use(limiter.rate, WARM, LONG) >= 0.98


def test_ceiling_is_never_exceeded() -> None:
    """A limit above the ceiling is not looked for."""
    limiter = Bucket(500, 100)
    result = Simulation(limiter, RateController(40.0)).run(120.0)
    assert result.refused == []
    in_any_second = max(sum(t <= at < t + 1 for at in result.accepted) for t in range(20, 110))
    assert in_any_second <= 43


def test_ceiling_below_the_limit_is_not_taken_for_more() -> None:
    """A limit that was found close below the ceiling doesn't grow in our mind."""
    controller = RateController(40.0, Learned(kind=LimitKind.BUCKET, rate=39.0))
    Simulation(Bucket(500, 100), controller).run(1_000.0)
    assert controller.learned is not None
    assert controller.learned.rate <= 40.0


def test_start_is_gentle() -> None:
    """One request a second, doubled each second."""
    result = Simulation(Bucket(1e6, 1e6), RateController(None), latency=0.01).run(5.0)
    counts = [sum(t <= at < t + 1 for at in result.accepted) for t in range(5)]
    assert [abs(count - 2**t) <= 1 + t for t, count in enumerate(counts)] == [True] * 5


def test_what_was_learned_is_used_at_once() -> None:
    """A later run begins at the rate that an earlier one measured, without a refusal."""
    first = RateController(100.0)
    Simulation(Fixed(600, 60), first).run(300.0)
    assert first.learned is not None
    later = Simulation(Fixed(600, 60), RateController(100.0, first.learned)).run(110.0)
    assert later.refused == []
    assert later.use(10.0, 0.0, 110.0) >= 0.98


def test_retry_after_is_the_end_of_a_second() -> None:
    """Servers round up, so the canary goes at the beginning of that second."""
    controller = RateController(None)
    controller.ask(0.0)
    controller.answered(refused(30.0), sent_at=0.0, now=0.1)
    assert 29.0 <= controller.ask(0.1) + 0.1 <= 29.2


def test_one_canary_at_a_time() -> None:
    """While blocked one request goes; when nobody hears of it, another one after five seconds."""
    controller = RateController(None)
    controller.ask(0.0)
    controller.answered(refused(), sent_at=0.0, now=0.1)
    at = 0.1 + controller.ask(0.1)
    assert controller.ask(at) == 0.0
    assert controller.ask(at + 1.0) > 0.0
    assert controller.ask(at + 5.1) == 0.0


def test_late_refusals_of_older_requests_are_ignored() -> None:
    """A 429 of a request that left before the block ended says nothing new."""
    controller = RateController(None)
    controller.ask(0.0)
    controller.answered(refused(), sent_at=0.0, now=0.1)
    at = 0.1 + controller.ask(0.1)
    assert controller.ask(at) == 0.0
    controller.answered(ACCEPTED, sent_at=at, now=at + 0.1)
    controller.answered(refused(), sent_at=0.05, now=at + 0.2)
    assert controller.blocked_for(at + 0.2) == 0.0


def test_trouble_does_not_move_the_rate() -> None:
    """5xx and timeouts are no limit."""
    controller = RateController(100.0, Learned(kind=LimitKind.BUCKET, rate=20.0))
    for i in range(50):
        controller.ask(float(i))
        controller.answered(FAILED if i % 2 else LOST, sent_at=float(i), now=i + 0.5)
    assert controller.phase is Phase.CRUISE
    assert controller.learned == Learned(kind=LimitKind.BUCKET, rate=20.0)


def test_retry_after_of_a_day_is_hopeless() -> None:
    """It says for how long, so that the run can end and say when to go on."""
    controller = RateController(None)
    controller.ask(0.0)
    assert controller.hopeless_for(0.0) is None
    controller.answered(refused(86_400.0), sent_at=0.0, now=0.1)
    wait = controller.hopeless_for(1.0)
    assert wait is not None
    assert wait > 86_000
    assert "next try in" in controller.waiting_for(1.0)


def test_nothing_but_429_is_hopeless_after_a_while() -> None:
    """A quarter of an hour of refused canaries, in a few dozen tries, not in a thousand."""
    controller, now, tries = RateController(100.0), 0.0, 0
    while controller.hopeless_for(now) is None:
        assert now < 2_000.0
        wait = controller.ask(now)
        now += wait
        if wait == 0.0:
            tries += 1
            controller.answered(refused(), sent_at=now, now=now + 0.05)
            now += 0.05
    assert 900.0 <= now <= 1_000.0
    assert tries < 80


def test_words_for_what_was_learned() -> None:
    """People read the limit as it is."""
    window = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0)
    assert str(window) == "600 requests per 60 s"
    assert str(Learned(kind=LimitKind.BUCKET, rate=49.96)) == "about 50 requests a second"


def test_ceiling_must_make_sense() -> None:
    """A ceiling of nothing would never send."""
    with pytest.raises(ValueError, match="above 0"):
        RateController(0.0)


@pytest.mark.slow
@untraced
@pytest.mark.parametrize(
    ("limiter", "least", "most"),
    [
        (Counting(600, 60), 0.9, 0.02),
        (Counting(20, 1), 0.8, 0.01),
        (Foreign(Fixed(600, 60), 3.0), 0.98, 0.01),
        (Foreign(Bucket(50, 100), 20.0), 0.98, 0.01),
        (Foreign(SlidingLog(600, 60), 3.0), 0.95, 0.03),
    ],
    ids=["refused count too", "refused count too, 1 s", "fixed", "bucket", "log"],
)
def test_limits_that_are_hard_to_see(limiter: Limiter, least: float, most: float) -> None:
    """Where refused requests count too, or somebody else's: what is left is used, politely."""
    result = Simulation(limiter, Shared(RateController(100.0)), workers=8).run(900.0)
    assert result.use(limiter.rate, WARM, 900.0) >= least
    assert result.refusals(WARM) <= most


@pytest.mark.slow
@untraced
@pytest.mark.parametrize("limiter", [Fixed(600, 60), Bucket(50, 100), Fixed(30, 60)])
def test_workers_come_and_go(limiter: Limiter) -> None:
    """Who joins gets an equal share, and who dies without a word takes nothing along."""
    simulation = Simulation(limiter, Shared(RateController(100.0)), workers=2)
    simulation.run(600.0)
    for _ in range(3):
        simulation.join()
    simulation.run(700.0)
    for number in (0, 3):
        simulation.kill(number)
    result = simulation.run(1_500.0)
    assert result.use(limiter.rate, 600.0, 1_500.0) >= 0.97
    assert result.refusals(600.0) <= 0.02
    shares = [sum(at > 800.0 for at in result.by_worker[number]) for number in (1, 2, 4)]
    assert max(shares) <= 1.1 * min(shares)


@pytest.mark.parametrize("killed", [0, 1])
def test_canary_that_dies_costs_five_seconds(killed: int) -> None:
    """One of two workers is killed while its request may be the one that tries the window."""
    limiter = Fixed(600, 60)
    simulation = Simulation(limiter, Shared(RateController(100.0)), workers=2)
    now = 0.0
    while simulation.controller.block is None or simulation.controller.block.canary_sent is None:
        now += 0.01
        simulation.run(now)
    simulation.kill(killed)
    result = simulation.run(now + 600.0)
    assert result.use(limiter.rate, now + 120.0, now + 600.0) >= 0.9


def test_clock_that_jumps_ahead_lets_no_burst_out() -> None:
    """After a laptop slept an hour the pace goes on; no more than 0.15 s are made up for."""
    shared = Shared(RateController(100.0, Learned(kind=LimitKind.BUCKET, rate=50.0)))
    at_once = 0
    for now in (0.0, 3_600.0, 3_600.001):
        lease = shared.exchange(Report("one", 100.0, [], 512), now)
        at_once = max(at_once, sum(slot <= now for slot in lease.slots))
    assert at_once <= 0.15 * 50.0 + 1


def test_clock_that_falls_back_changes_nothing() -> None:
    """Time that was heard of holds, so that nothing is leased twice."""
    shared = Shared(RateController(100.0, Learned(kind=LimitKind.BUCKET, rate=50.0)))
    first = shared.exchange(Report("one", 100.0, [], 512), 1_000.0)
    again = shared.exchange(Report("two", 100.0, [], 512), 10.0)
    assert min([*again.slots, 1e9]) > max(first.slots)


def test_limit_that_is_never_met_is_remembered_as_open() -> None:
    """A later run goes on from the pace that nothing was refused at."""
    shared = Shared(RateController(None))
    simulation = Simulation(Bucket(1e6, 1e6), shared, latency=0.01)
    simulation.run(9.0)
    known = simulation.controller.known
    assert known is not None
    assert known.kind is LimitKind.OPEN
    assert known.rate > 60
    assert str(known).startswith("none met up to")
    later = RateController(None, known)
    assert (later.pace, later.learned, later.phase) == (2 * known.rate, None, Phase.START)
    limiter = Bucket(50, 100)
    result = Simulation(limiter, Shared(RateController(100.0, known))).run(600.0)
    assert result.use(limiter.rate, 60.0, 600.0) >= 0.98
    assert len(result.refused) <= 60


def test_fixed_rate_gives_up_on_nothing_but_429s() -> None:
    """The same patience with a rate that is given: a quarter of an hour."""
    bucket, now = TokenBucket(10.0), 0.0
    while bucket.hopeless_for(now) is None:
        assert now < 2_000.0
        wait = bucket.ask(now)
        now += wait
        if wait == 0.0:
            bucket.answered(refused(), sent_at=now, now=now)
    assert now >= 900.0
