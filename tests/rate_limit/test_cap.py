"""Cap: told apart from a rate by how many were under way when refusals came."""

from __future__ import annotations

from incarts_pipeline.rate_limit.cap import Cap, Flights
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind


def test_refusals_above_a_number_show_a_cap() -> None:
    """Eight pass and nine don't; refusals at any number show nothing."""
    cap, other = Cap(), Cap()
    for i in range(400):
        cap.saw(1 + i % 8, refused=False)
        other.saw(1 + i % 8, refused=i % 50 == 0)
    for _ in range(6):
        cap.saw(9, refused=True)
    assert cap.shown() == 8
    assert other.shown() is None


def test_a_cap_that_refuses_whatever_is_under_way_was_none() -> None:
    """It falls step by step, and then it is looked for anew."""
    cap = Cap()
    cap.begin(8)
    for _ in range(40):
        cap.saw(1, refused=True)
    assert cap.is_wrong


def test_one_more_is_tried_now_and_then() -> None:
    """A cap that was raised is followed; one that wasn't is kept, at the cost of few refusals."""
    cap, refused = Cap(), 0
    cap.begin(4)
    for _ in range(20_000):
        is_over = (cap.most or 0) > 6
        refused += is_over
        cap.saw(cap.most or 1, refused=is_over)
    assert cap.most == 6
    assert refused <= 0.005 * 20_000


def test_answers_that_never_come_hold_nobody_up() -> None:
    """A request that was lost counts as under way for five seconds."""
    flights = Flights()
    flights.leave(0.0)
    assert flights.is_full(1, 1.0)
    assert not flights.is_full(1, 6.0)


def test_a_learned_cap_is_kept_to_at_once() -> None:
    """A later run has no more under way than an earlier one found to be fine."""
    known = Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3)
    controller = RateController(None, known)
    waits = [controller.ask(0.001 * i) for i in range(4)]
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert waits[3] > 0.0
    assert controller.learned == Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3)


def test_workers_share_a_cap() -> None:
    """Each gets its share of what may be under way, and what is left over goes in turns."""
    known = Learned(kind=LimitKind.IN_FLIGHT, rate=60.0, budget=3)
    shared = Shared(RateController(None, known))
    names = ["one", "two"]
    for now in (1.0, 6.0):
        for name in names:
            shared.exchange(Report(name, None, [], 8), now)
        most = [shared.exchange(Report(name, None, [], 8), now).most or 0 for name in names]
        assert sorted(most) == [1, 2]
