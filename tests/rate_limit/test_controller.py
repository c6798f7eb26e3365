"""The rate controller's rules, one at a time; in simulated time only."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.course import FIRST
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.signals import Hints, Outcome, Policy, Signal
from incarts_pipeline.rate_limit.worker import Slots
from tests.support.rates.answers import ACCEPTED, UNKNOWN, refused
from tests.support.rates.limiters import Bucket, Fixed, Limiter
from tests.support.rates.simulator import Simulation

WARM = 300.0  # seconds

# Tracing would triple their time; one worker reaches all of the controller's lines.
untraced = pytest.mark.no_cover


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


def test_start_is_ten_a_second_doubled_each_second() -> None:
    """A small job needs no more than seconds, and a limit is met with few requests too many."""
    result = Simulation(Bucket(1e6, 1e6), RateController(None), latency=0.01).run(4.0)
    counts = [sum(t <= at < t + 1 for at in result.accepted) for t in range(4)]
    expected = [FIRST * 2**t for t in range(4)]
    assert counts == pytest.approx(expected, rel=0.25)


def test_what_was_learned_is_used_at_once() -> None:
    """A later run begins at the rate that an earlier one measured, without a refusal."""
    first = RateController(100.0)
    Simulation(Fixed(600, 60), first).run(300.0)
    assert first.learned is not None
    later = Simulation(Fixed(600, 60), RateController(100.0, first.learned)).run(110.0)
    assert later.refused == []
    assert later.use(10.0, 0.0, 110.0) >= 0.98


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
    """A refusal of a request that left before the block ended says nothing new."""
    controller = RateController(None)
    for at in (0.0, 0.2):
        controller.ask(at)
    controller.answered(refused(), sent_at=0.0, now=0.3)
    at = 0.3 + controller.ask(0.3)
    assert controller.ask(at) == 0.0
    controller.answered(ACCEPTED, sent_at=at, now=at + 0.1)
    controller.answered(refused(), sent_at=0.2, now=at + 0.2)
    assert controller.block is None


def test_trouble_is_no_limit() -> None:
    """5xx and timeouts change nothing of what is known; their permits are given back, in part."""
    controller = RateController(100.0, Learned(kind=LimitKind.BUCKET, rate=20.0))
    for i in range(50):
        controller.ask(float(i))
        controller.answered(UNKNOWN, sent_at=float(i), now=i + 0.5)
    assert controller.phase is Phase.CRUISE
    assert controller.learned is not None
    assert controller.learned.rate == 20.0


@pytest.mark.parametrize("failures_count", [False, True])
@pytest.mark.parametrize("failing", [0.1, 0.3])
def test_trouble_among_the_answers(failing: float, failures_count: bool) -> None:
    """A tenth or a third of 5xx costs nothing of the limit, whether the server counts them or not.

    Where it does, what is left of the limit for good answers is what counts.
    """
    limiter = Fixed(600, 60)
    simulation = Simulation(
        limiter, Shared(RateController(100.0)), failing=failing, failures_count=failures_count
    )
    result = simulation.run(900.0)
    assert result.use(limiter.rate, WARM, 900.0) >= (0.95 if failures_count else 0.96)
    assert result.refusals(WARM) <= 0.01


@pytest.mark.parametrize(
    ("told", "most"),
    [
        (lambda at: 86_400.0 - at, 90.0),
        (lambda _at: 86_400.0, 1_400.0),  # may be milliseconds: refused for 15 minutes is the proof
    ],
    ids=["counts down", "constant"],
)
def test_a_wait_of_a_day_is_hopeless(told: Callable[[float], float], most: float) -> None:
    """Once asked again it says for how long, so that the run can end and say when to go on."""
    controller, now = RateController(None), 0.0
    while controller.hopeless_for(now) is None:
        assert now < most
        wait = controller.ask(now)
        now += wait
        if wait == 0.0:
            controller.answered(refused(told(now)), sent_at=now, now=now + 0.1)
            now += 0.1
    wait_left = controller.hopeless_for(now)
    assert wait_left is not None
    assert wait_left > 85_000
    waiting = controller.waiting_for(now)
    assert waiting is not None
    assert waiting.said == "429"


HOURLY = Learned(
    kind=LimitKind.WINDOW, rate=1_000 / 3_600, budget=1_000, window=3_600.0, burst=100.0
)


def test_a_known_hour_that_is_used_up_is_hopeless_at_once() -> None:
    """970 rows of 1000 went; a later run that meets the limit says when the hour is over."""
    limiter = Fixed(1000, 3600, anchored=True)
    simulation = Simulation(limiter, Shared(RateController(100.0, HOURLY)), rows=970)
    simulation.run(60.0)
    assert len(simulation.result.accepted) == 970
    simulation.rows = 1_100
    simulation.join()
    while not simulation.result.hopeless:
        simulation.run(simulation.now + 10.0)
        assert simulation.now < 300.0
    assert len(simulation.result.accepted) == 1_000
    assert len(simulation.result.refused) == 2  # a second one proves it
    wait = simulation.controller.hopeless_for(simulation.now)
    assert wait == pytest.approx(3_600.0 - simulation.now, abs=5.0)


def test_a_known_hour_says_when_to_go_on_though_nobody_saw_it_begin() -> None:
    """Used up by others before the first request: it ends an hour after that at the latest."""
    limiter = Fixed(1000, 3600, anchored=True)
    for _ in range(1_000):
        limiter.take(0.0)
    simulation = Simulation(limiter, Shared(RateController(100.0, HOURLY)))
    result = simulation.run(1_000.0)
    assert result.hopeless[0] < 950.0
    wait = simulation.controller.hopeless_for(1_000.0)
    assert wait == pytest.approx(2_600.0, abs=10.0)


def test_retry_after_in_milliseconds_is_asked_again() -> None:
    """30,000 that mean half a minute end no run: our own gaps are tried first."""
    limiter = Fixed(600, 60)

    def hint(_at: float, accepted: bool) -> Hints:
        return Hints() if accepted else Hints(retry_after=30_000.0)

    controller = RateController(100.0)
    result = Simulation(limiter, Shared(controller), hint=hint).run(600.0)
    assert result.hopeless == []
    assert result.use(limiter.rate, WARM, 600.0) >= 0.97


def test_nothing_but_refusals_is_hopeless_after_a_while() -> None:
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
    assert now >= 500.0
    assert tries < 80


def test_words_for_what_was_learned() -> None:
    """People read the limit as it is."""
    window = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0)
    assert str(window) == "600 requests per 60 s"
    assert str(Learned(kind=LimitKind.BUCKET, rate=49.96)) == "about 50 requests a second"
    assert str(Learned(kind=LimitKind.IN_FLIGHT, rate=49.96, budget=8)) == "8 requests at once"


def test_ceiling_must_make_sense() -> None:
    """A ceiling of nothing would never send."""
    with pytest.raises(ValueError, match="above 0"):
        RateController(0.0)


def test_a_quota_is_a_budget_and_no_pace() -> None:
    """5000 a day, of which a job needs 300: they go at once."""
    left = 5_000

    def hint(_at: float, _accepted: bool) -> Hints:
        nonlocal left
        left -= 1
        return Hints(policies=(Policy(remaining=left, reset=4e4),))

    result = Simulation(Bucket(1e6, 1e6), RateController(100.0), hint=hint, rows=300).run(60.0)
    assert len(result.accepted) == 300
    assert max(result.accepted) <= 7.0


def test_a_job_that_fits_goes_at_once() -> None:
    """600 a minute are known, 300 rows are left: they need seconds, and no refusal."""
    known = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0, burst=100.0)
    result = Simulation(Fixed(600, 60), Shared(RateController(100.0, known)), rows=300).run(60.0)
    assert len(result.accepted) == 300
    assert max(result.accepted) <= 4.5
    assert result.refused == []


def test_a_503_that_throttles_teaches_as_a_429_does() -> None:
    """What refused is the same to the controller, whatever its status."""
    controller = RateController(None)
    controller.ask(0.0)
    throttled = Signal(outcome=Outcome.REFUSED, said="503, Retry-After 1 s")
    controller.answered(throttled, sent_at=0.0, now=0.1)
    assert controller.block is not None


@untraced
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_long_way_makes_no_chance_of_a_limit(seed: int) -> None:
    """What is refused while many are under way is one block, and yet no stray."""
    simulation = Simulation(Fixed(10, 1.0), RateController(1_000.0), latency=0.2, seed=seed)
    result = simulation.run(300.0)
    assert result.use(10.0, 100.0, 300.0) >= 0.9
    assert result.refusals(100.0) <= 0.015


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


def test_a_canarys_slot_waits_for_a_sender_that_is_busy() -> None:
    """It stands alone, so used late it is no burst; dropped, it would hold all up for 5 s."""
    shared, slots = Shared(RateController(None)), Slots("one", None, None)
    assert slots.ask(0.0) > 0
    slots.take(shared.exchange(slots.report(0.0), 0.0), 0.0)
    assert slots.ask(0.0) == 0
    slots.answered(refused(), sent_at=0.0, now=0.05)
    for now in (0.05, 0.16):
        slots.ask(now)
        lease = shared.exchange(slots.report(now), now)
        slots.take(lease, now)
    assert lease.canary
    assert slots.ask(lease.slots[0] + 0.4) == 0


def test_a_canary_that_nobody_heard_of_is_no_window() -> None:
    """The five seconds until it is given up say nothing of how long the server was exhausted."""
    controller = RateController(None)
    controller.ask(0.0)
    controller.answered(refused(), sent_at=0.0, now=0.1)
    at = 0.1 + controller.ask(0.1)
    assert controller.ask(at) == 0.0
    at += 5.1
    assert controller.ask(at) == 0.0
    controller.answered(ACCEPTED, sent_at=at, now=at + 0.1)
    assert controller.meter.window.length is None
    assert controller.phase is Phase.START


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
    simulation.run(5.5)
    known = simulation.controller.learned
    assert known is not None
    assert known.kind is LimitKind.OPEN
    assert known.rate > 60
    assert str(known).startswith("none met up to")
    later = RateController(None, known)
    assert (later.pace, later.learned, later.phase) == (2 * known.rate, None, Phase.START)
    limiter = Bucket(50, 100)
    result = Simulation(limiter, Shared(RateController(100.0, known))).run(600.0)
    assert result.use(limiter.rate, 60.0, 600.0) >= 0.98
    assert len(result.refused) <= 90


SHARED = TypeAdapter(Shared)
KNOWN = [
    None,
    HOURLY,
    Learned(kind=LimitKind.WINDOW, rate=10.0, budget=1, window=1e-3),
    Learned(kind=LimitKind.BUCKET, rate=1e-3),
    Learned(kind=LimitKind.IN_FLIGHT, rate=10.0, budget=1),
]


@pytest.mark.parametrize("known", KNOWN, ids=repr)
def test_whatever_it_hears_it_goes_on(known: Learned | None) -> None:
    """Answers and hints without sense, pauses, clocks that jump: a wait and a pace are numbers."""
    for seed in range(20):
        dice, now = random.Random(seed), 5.0
        shared = Shared(RateController(dice.choice([None, 1.0, 100.0]), known))
        for _ in range(300):
            controller = shared.controller
            now += dice.choice([1e5, 60.0, -0.5]) if dice.random() < 0.03 else 0.0
            wait = controller.ask(now)
            assert 0.0 <= wait < 1e9
            if wait > 0:
                now += wait
                continue
            outcome = dice.choices(list(Outcome), [6, dice.choice([0, 1, 6]), 0.3])[0]
            policy = Policy(remaining=dice.choice([None, 0]), reset=dice.choice([None, 0.0, 1e12]))
            hints = Hints(retry_after=dice.choice([None, -5.0, 1.0, 3e4]), policies=(policy,) * 9)
            signal = Signal(outcome=outcome, hints=hints)
            took = dice.choice([0.0, 0.05, 30.0])
            controller.answered(signal, sent_at=now, now=now + took)
            now += took
            assert 0.0 < controller.speed < 1e12
            found = controller.learned
            assert found is None or found.is_sensible or found == known
            if dice.random() < 0.02:
                shared = SHARED.validate_json(SHARED.dump_json(shared))
