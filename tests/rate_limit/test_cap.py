"""Cap: told apart from a rate by how many were under way when refusals came."""

from __future__ import annotations

from typing import Any

import pytest

from incarts_pipeline.rate_limit.cap import Cap, Flights
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from tests.support.rates.answers import ACCEPTED
from tests.support.rates.limiters import Bucket, InFlight
from tests.support.rates.simulator import Simulation


def meets(cap: Cap, most: int, *, requests: int = 400, refused_in: float = 0.02) -> int | None:
    """Send bursts of growing size to a server with room for so many; return the cap shown.

    What it lets through is answered after 0.1 s.
    """
    now, sent, shown = 0.0, 0, None
    while sent < requests and shown is None:
        now, size = now + 1.0, 1 + int(now) % (most + 4)
        for i in range(size):
            sent_at, refused = now + 0.001 * i, i >= most
            took = refused_in if refused else 0.1
            shown = shown or cap.saw(sent_at, sent_at + took, 0.1, refused=refused)
        sent += size
    return shown


def test_refusals_above_a_number_show_a_cap() -> None:
    """How many were under way is known once the answers are in, whoever sent them."""
    assert meets(Cap(), 8) == 8
    assert meets(Cap(), 3) == 3


def test_what_takes_no_time_to_work_on_is_no_cap() -> None:
    """Answers that take as long whether refused or not are on the way all the time."""
    assert meets(Cap(), 8, refused_in=0.1) is None


def test_refusals_at_any_number_show_none() -> None:
    """A limit of another kind refuses as many of those that left with few under way."""
    cap = Cap()
    for i in range(2_000):
        now = 1.0 + 0.02 * i
        assert cap.saw(now, now + 0.1 + 0.02 * (i % 5), 0.1, refused=i % 40 == 0) is None


def test_a_burst_that_was_refused_shows_none() -> None:
    """All that was under way when a limit was met says no more than one of them."""
    cap = Cap()
    for i in range(2_000):
        pace = 80.0 if i < 100 else 50.0
        now = 1.0 + i / pace
        assert cap.saw(now, now + 0.1, 0.1, refused=93 <= i < 100) is None


def test_a_limit_that_refuses_all_is_none_of_the_caps() -> None:
    """Refused in a row, and nothing accepted between: the cap stays, and others see to it."""
    cap = Cap()
    cap.begin(8, 0.0)
    for i in range(40):
        cap.follow(1.0 + i, 1.1 + i, full=True, refused=True)
    assert cap.is_used_up
    assert not cap.is_wrong


def test_a_cap_that_goes_on_refusing_was_none() -> None:
    """It falls step by step, and then it is looked for anew."""
    cap = Cap()
    cap.begin(8, 0.0)
    for i in range(400):
        cap.follow(1.0 + i, 1.1 + i, full=True, refused=i % 2 == 0)
    assert cap.is_wrong


@pytest.mark.parametrize("first", [1, 2, 8])
def test_a_cap_that_refuses_one_alone_was_none(first: int) -> None:
    """With nobody else under way a cap has room; what refuses even then counts otherwise."""
    cap = Cap()
    cap.begin(first, 0.0)
    for i in range(400):
        if not cap.is_wrong:
            cap.follow(1.0 + i, 1.1 + i, full=True, refused=i % 2 == 0)
    assert cap.is_wrong


class Busy(Simulation):
    """A sender is held up now and then; after that all that is due leaves at once."""

    def _ask(self, worker: Any, now: float) -> None:
        if self._dice.random() < 0.02:
            self._ask_again(worker, now + self._dice.uniform(0.02, 0.1))
        else:
            super()._ask(worker, now)


@pytest.mark.parametrize("seed", [3, 4, 7, 8])
def test_a_bucket_that_refuses_what_leaves_at_once_is_no_cap(seed: int) -> None:
    """A small bucket, quick answers and a busy machine: only what comes at once is refused."""
    simulation = Busy(
        Bucket(100, 2), Shared(RateController(None)), latency=0.003, seed=seed, rows=900
    )
    result = simulation.run(60.0)
    learned = simulation.controller.learned
    assert learned is not None
    assert learned.kind is LimitKind.BUCKET
    assert learned.rate < 110.0
    assert len(result.accepted) == 900
    assert len(result.refused) <= 100


def test_one_more_is_tried_now_and_then() -> None:
    """A cap that was raised is followed; one that wasn't is kept, at the cost of few refusals."""
    cap, refused = Cap(), 0
    cap.begin(4, 0.0)
    for i in range(20_000):
        is_over = (cap.most or 0) > 6
        refused += is_over
        cap.follow(1.0 + i, 1.1 + i, full=True, refused=is_over)
    assert cap.most == 6
    assert refused <= 0.005 * 20_000


def test_answers_that_never_come_hold_nobody_up() -> None:
    """A request that was lost counts as under way for five seconds."""
    flights = Flights()
    flights.leave(0.0)
    assert flights.is_full(1, 1.0)
    assert not flights.is_full(1, 6.0)


def test_a_refusal_frees_no_place_until_one_ends() -> None:
    """The server is full until then: what is sent at once is refused again, and again."""
    flights = Flights()
    for _ in range(3):
        flights.leave(0.0)
    flights.arrive(0.1, refused=True)
    assert flights.is_full(3, 0.1)
    flights.arrive(0.2, refused=False)
    assert not flights.is_full(3, 0.2)
    flights.leave(0.2)
    flights.leave(0.2)
    assert flights.is_full(3, 0.2)
    # An answer that never comes holds this up no longer than it would by itself.
    flights.arrive(0.3, refused=True)
    assert flights.is_full(3, 5.2)
    assert not flights.is_full(3, 5.4)


def test_one_that_is_refused_alone_may_go_again() -> None:
    """No other of this sender is under way whose end would show that there is room."""
    flights = Flights()
    flights.leave(0.0)
    flights.arrive(0.1, refused=True)
    assert not flights.is_full(1, 0.1)


def test_a_learned_cap_is_kept_to_at_once() -> None:
    """A later run has no more under way than an earlier one found to be fine."""
    known = Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3)
    controller = RateController(None, known)
    waits = [controller.ask(0.02 * i) for i in range(4)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert waits[3] > 0.0
    assert controller.learned == Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3)


def test_a_cap_is_told_with_the_pace_that_was_reached() -> None:
    """A plan that reckons with more than this machine makes of a cap would promise too much."""
    controller = RateController(None, Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3))
    for i in range(90):  # thirty a second
        assert controller.ask(i / 30) == 0.0
        controller.answered(ACCEPTED, sent_at=i / 30, now=i / 30 + 0.03)
    assert controller.learned is not None
    assert controller.learned.rate == pytest.approx(30.0, rel=0.1)


def test_workers_share_a_cap() -> None:
    """Each gets its share of what may be under way, and what is left over goes in turns."""
    known = Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3)
    shared = Shared(RateController(None, known))
    names = ["one", "two"]
    for now in (1.0, 31.0):
        for name in names:
            shared.exchange(Report(name, None, [], 8), now)
        most = [shared.exchange(Report(name, None, [], 8), now).most or 0 for name in names]
        assert sorted(most) == [1, 2]


@pytest.mark.parametrize(
    ("cap", "seconds", "window"), [(3, 0.05, (1_000, 3_600.0)), (8, 0.3, (5_000, 86_400.0))]
)
def test_a_cap_is_found_by_a_job_that_fits_into_a_long_window(
    cap: int, seconds: float, window: tuple[int, float]
) -> None:
    """It goes at once, not at the window's pace, which would keep nobody under way."""
    budget, length = window
    known = Learned(
        kind=LimitKind.WINDOW, rate=budget / length, budget=budget, window=length, burst=100.0
    )
    shared = Shared(RateController(100.0, known))
    result = Simulation(InFlight(cap, seconds), shared, rows=900).run(300.0)
    assert len(result.accepted) == 900
    assert len(result.refused) <= 100
