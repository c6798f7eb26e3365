"""Share: a small share is refused by servers of which some are full, and a single one shows."""

from __future__ import annotations

import random

import pytest

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.rate_limit.share import Breaks, Share
from tests.support.rates.limiters import Bucket, Fixed, Limiter, Replicas, SlidingLog, scale
from tests.support.rates.simulator import Simulation


def ride(share: Share, limiter: Limiter, seconds: float, since: float = 0.0) -> tuple[int, int]:
    """Send at its pace, one a second while all are refused; return how many passed, and not."""
    now, accepted, refused, last = since, 0, 0, since
    while now < since + seconds:
        was_all = share.is_all
        if limiter.take(now):
            accepted += 1
            share.accepted(100.0)
            if was_all and now > last + 2.0:
                share.was_blocked(now, accepted)
            last = now
        else:
            refused += 1
            share.refused(is_blocked=was_all)
        now += 1.0 if share.is_all else 1.0 / share.pace
    return accepted, refused


def four(limit: type[Fixed] | type[SlidingLog]) -> Replicas:
    """Return four servers of 150 a minute that count by themselves."""
    return Replicas(*(limit(150, 60) for _ in range(4)))


def test_models_that_fail_once_may_try_again() -> None:
    """Many refusals that they didn't foretell are one episode, as after a change; two show it."""
    breaks = Breaks()
    assert not any(breaks.show(1_000 + 5 * i, 2) for i in range(100))
    assert [breaks.show(2_000 + 5 * i, 2) for i in range(5)] == [False] * 4 + [True]


def test_few_at_a_time_and_long_ago_show_nothing() -> None:
    """One refusal in 150 is chance, and what lies more than a few windows back is forgotten."""
    breaks = Breaks()
    assert not any(breaks.show(150 * i, 2) for i in range(200))
    assert not any(breaks.show(10_000 * i + j, 1) for i in range(20) for j in range(15))


@pytest.mark.parametrize("limit", [Fixed, SlidingLog])
@pytest.mark.parametrize("begins", [5.0, 25.0])
def test_a_small_share_is_refused(limit: type[Fixed] | type[SlidingLog], begins: float) -> None:
    """Wherever it begins, the limit is used, and less than two per cent are refused."""
    share, limiter = Share(begins), four(limit)
    ride(share, limiter, 600.0)
    accepted, refused = ride(share, limiter, 1_800.0, since=600.0)
    assert accepted >= 0.86 * 10.0 * 1_800.0
    assert 0.003 <= refused / (accepted + refused) <= 0.02
    assert not share.is_single


@pytest.mark.parametrize("limiter", [Bucket(10, 20), Fixed(10, 1)])
def test_a_single_server_shows(limiter: Limiter) -> None:
    """There, after one was refused the next one passes: models ride it with fewer refusals."""
    share = Share(10.5)
    ride(share, limiter, 900.0)
    assert share.is_single


def test_refusals_that_no_pace_avoids_are_chance() -> None:
    """One in twenty is refused whatever the pace: it isn't lowered for ever."""
    dice, share = random.Random(4), Share(40.0)
    for _ in range(40_000):
        if dice.random() < 0.05:
            share.refused(is_blocked=False)
        else:
            share.accepted(100.0)
    assert 0.03 <= share.by_chance <= 0.07
    assert share.pace > 20.0


def test_what_an_outage_leaves_grows_again() -> None:
    """Most are refused for ten minutes; half an hour later the pace is what it was.

    It fell to next to none, and so few are sent then that a run says little.
    """
    share, limiter, dice = Share(9.3), four(Fixed), random.Random(4)
    now = 0.0
    while now < 600.0:
        if dice.random() < 0.2 and limiter.take(now):
            share.accepted(100.0)
        else:
            share.refused(is_blocked=False)
        now += 1.0 / share.pace
    assert share.pace < 0.5
    ride(share, limiter, 2_400.0, since=now)
    assert share.pace > 8.0
    assert Share(1e-6).pace > 0.01


def test_times_in_which_nothing_passes_lower_it() -> None:
    """What was accepted between two of them is about what there is; too few tell nothing."""
    share = Share(20.0)
    assert share.was_blocked(60.0, 600) == 20.0
    assert share.was_blocked(70.0, 610) == 20.0
    assert share.was_blocked(120.0, 1_650) == pytest.approx(1_050 / 60.0)
    assert share.was_blocked(180.0, 1_700) == pytest.approx(0.75 * 1_050 / 60.0)


def test_requests_that_are_tried_while_nothing_passes_lower_nothing() -> None:
    """They say that it is full, which is known, and nothing of the pace."""
    share = Share(20.0)
    for _ in range(50):
        assert share.refused(is_blocked=True) == 20.0
    assert share.is_all
    assert (share.alone, share.again) == (0, 0)


@pytest.mark.slow
@pytest.mark.no_cover
def test_servers_that_change_are_followed() -> None:
    """Halved, or raised by half, they are ridden again, and a later run begins with the pace."""
    limiter = four(Fixed)
    simulation = Simulation(limiter, Shared(RateController(100.0)))
    simulation.run(900.0)
    for factor, since in ((0.5, 900.0), (1.5, 1_800.0)):
        for part in limiter.parts:
            scale(part, factor)
        result = simulation.run(since + 900.0)
        assert result.use(limiter.rate, since + 500.0, since + 900.0) >= 0.85
        assert result.refusals(since + 500.0) <= 0.03
    learned = simulation.controller.learned
    assert learned is not None
    assert learned.kind is LimitKind.SEVERAL
    assert learned.rate == pytest.approx(limiter.rate, rel=0.15)


def test_a_later_run_begins_with_what_was_learned() -> None:
    """It keeps the share small from the first minute on; a single server shows there, too."""
    limiter, known = four(Fixed), Learned(kind=LimitKind.SEVERAL, rate=9.3)
    assert str(known) == "about 9.3 requests a second, of servers that count by themselves"
    result = Simulation(limiter, Shared(RateController(100.0, known))).run(300.0)
    assert result.use(limiter.rate, 0.0, 300.0) >= 0.9
    assert result.refusals(0.0) <= 0.02
    single = Bucket(10, 20)
    simulation = Simulation(single, Shared(RateController(100.0, known)))
    result = simulation.run(1_500.0)
    assert simulation.controller.share is None
    assert result.use(single.rate, 1_000.0, 1_500.0) >= 0.98
    assert result.refusals(1_000.0) <= 0.005


def test_a_job_that_fits_keeps_to_the_pace() -> None:
    """Nobody knows what is left of servers that count by themselves: nothing goes at once."""
    known = Learned(kind=LimitKind.SEVERAL, rate=9.3, burst=100.0)
    controller = RateController(100.0, known, left=5)
    assert controller.ask(0.0) == 0.0
    assert controller.ask(0.0) == pytest.approx(1 / 9.3, rel=0.01)
