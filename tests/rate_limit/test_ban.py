"""Ban: the pace closes in on the limit behind it, and tries come when it is over."""

from __future__ import annotations

import pytest

from incarts_pipeline.rate_limit.ban import Ban
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.leases import Shared
from incarts_pipeline.rate_limit.signals import Hints
from tests.support.rates.answers import ACCEPTED
from tests.support.rates.limiters import Ban as BanLimiter, Bucket, Fixed, Outage
from tests.support.rates.simulator import Simulation


def sent(rate: float, seconds: float) -> History:
    """Return a history of so many a second."""
    history = History()
    for i in range(int(rate * seconds)):
        history.add(i / rate)
    return history


@pytest.mark.parametrize("limit", [3.0, 9.7, 80.0])
def test_the_pace_closes_in_on_the_limit(limit: float) -> None:
    """At the cost of few bans it is ridden to within 3 %, wherever it lies."""
    ban, bans = Ban(60.0), 1
    pace = ban.met(100.0, sent(2.0, 100.0), 100.0)
    for _ in range(25):
        if pace > limit:
            bans, pace = bans + 1, ban.met(pace, sent(2.0, 100.0), 100.0)
        elif not ban.is_close:
            pace = ban.survived(pace)
    assert 0.97 * limit <= pace <= limit
    assert bans <= 9


def test_a_pace_that_was_fine_and_is_banned_fell() -> None:
    """Then less is known than before: what was accepted on average is where it begins."""
    ban = Ban(60.0, fine=10.0, bad=10.1)
    assert ban.met(10.0, sent(5.0, 100.0), 100.0) == pytest.approx(5.0 * 2 ** (1 / 3), rel=0.02)


def test_more_is_tried_after_a_rest() -> None:
    """A limit that rose is found again, a little at a time."""
    ban = Ban(60.0, fine=10.0, bad=10.1)
    assert ban.is_close
    assert 300.0 < ban.rest < 1_000.0
    ban.ended(60.5, 1)  # a second one: then it is surely no outage
    assert ban.rest > 1_000.0
    assert 10.0 < ban.survived(10.0) < 11.0


def test_a_try_that_was_too_early_is_followed_by_later_ones() -> None:
    """One goes soon, in case it was no ban; then each waits twice as long as the one before."""
    ban = Ban(60.0)
    waits = [ban.over_at(0.0, tries) for tries in range(4)]
    assert waits[0] < 10.0
    assert waits[1] >= 60.0
    assert waits == sorted(waits)
    ban.ended(130.0, 2)
    assert ban.over_at(0.0, 1) >= 130.0


def test_two_blocks_of_one_length_are_bans() -> None:
    """A second's limit whose refusals ban for a minute is taken for no limit of a minute."""
    limiter = BanLimiter(Fixed(10, 1), strikes=2, prolongs=False)
    simulation = Simulation(limiter, Shared(RateController(100.0)))
    result = simulation.run(900.0)
    assert simulation.controller.ban is not None
    assert result.use(10.0, 700.0, 900.0) >= 0.4


def banned(ban: Ban, rate: float) -> RateController:
    """Return a controller that rides a rate beside a ban."""
    controller = RateController(100.0)
    controller.ban = ban
    controller.meter.begin(rate)
    controller._cruise(0.0)
    return controller


def test_an_outage_leaves_a_pace_to_begin_with() -> None:
    """Nothing accepted for the time that is looked at says nothing of the limit."""
    assert Ban(60.0).met(2.0, sent(2.0, 100.0), 5_000.0) >= 0.25


def test_a_ban_takes_ten_minutes_at_most_and_is_short_again() -> None:
    """What lasted longer was an outage, and one that ended at once shows that it is over."""
    ban = Ban(60.0)
    ban.ended(9_600.0, 9)
    assert ban.length == 60.0
    ban.ended(480.0, 4)
    assert ban.length == 480.0
    assert ban.over_at(0.0, 8) <= 601.0
    ban.ended(3.0, 0)
    assert ban.length == 60.0


def test_a_pace_well_above_one_that_was_banned_is_no_ban() -> None:
    """After a rest a tenth more is tried; once that is fine, the limit is looked for anew."""
    ban, pace = Ban(60.0, fine=10.0, bad=10.1), 10.0
    while not ban.is_doubted:
        pace = ban.survived(pace)
        assert pace < 11.0
    assert pace > 10.6


def test_an_outage_is_no_ban_for_good() -> None:
    """One that is taken for a ban is given up when the limit behind it rises."""
    bucket = Bucket(2, 4)
    simulation = Simulation(Outage(bucket, 300.0, 396.0), Shared(RateController(100.0)))
    simulation.run(500.0)
    assert simulation.controller.ban is not None
    bucket.rate = 6.0
    result = simulation.run(2_500.0)
    assert simulation.controller.ban is None
    assert result.use(6.0, 2_000.0, 2_500.0) >= 0.95


def test_an_outage_beside_a_ban_costs_little_more_than_it_lasts() -> None:
    """Twenty minutes of nothing but 429s: half an hour later the limit is ridden again."""
    limiter = Outage(BanLimiter(Bucket(2, 4)), 1_000.0, 2_200.0)
    controller = banned(Ban(60.0, fine=1.9, bad=1.93), 1.9)
    result = Simulation(limiter, Shared(controller)).run(6_000.0)
    assert result.use(2.0, 4_000.0, 6_000.0) >= 0.75


def test_a_pace_that_nobody_used_is_not_fine() -> None:
    """A few requests in a minute prove no pace of twenty a second."""
    controller, now = banned(Ban(60.0, bad=25.0), 20.0), 0.0
    for _ in range(100):
        now += max(controller.ask(now), 3.0)
        controller.answered(ACCEPTED, sent_at=now, now=now + 0.05)
    assert controller.ban is not None
    assert controller.ban.fine == 0.0


def test_a_hint_beside_a_ban_that_came_true_before_may_fail() -> None:
    """Ten minutes that are told of a ban of one are waited for a few times only."""
    controller = banned(Ban(60.0), 3.0)
    controller.told.standings["retry-after"] = 2.0
    limiter = BanLimiter(Bucket(2, 4), prolongs=False)
    simulation = Simulation(
        limiter,
        Shared(controller),
        hint=lambda _at, accepted: Hints(retry_after=None if accepted else 600.0),
    )
    result = simulation.run(8_000.0)
    assert simulation.controller.told.standing("retry-after") < 1.0
    assert result.use(2.0, 6_000.0, 8_000.0) >= 0.8
