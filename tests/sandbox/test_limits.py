"""The sandbox's limiters against a clock of their own."""

from __future__ import annotations

import itertools
import math
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.sandbox import Limit
from incarts_pipeline.sandbox.config import Hints, LimitKind, Per
from incarts_pipeline.sandbox.limits import (
    Limiter,
    Limiters,
    Passage,
    Reading,
    hint_headers,
    limiter,
)
from tests.support.sandbox_caller import NOON

_OWNERS = {Per.KEY: "k", Per.PROJECT: "p", Per.ADDRESS: "a"}


def passes(one: Limiter, now: float) -> bool:
    """Count a request if it may pass."""
    allowed = one.read(now).wait <= 0
    if allowed:
        one.count(now)
    return allowed


def spend(one: Limiter, now: float) -> int:
    """Count requests until the first refusal; return how many passed."""
    return next(n for n in itertools.count() if not passes(one, now))


def limiters(*limits: Limit, hints: str = "none", count_refused: bool = False) -> Limiters:
    """Return limiters of limits."""
    return Limiters(limits, hints=Hints(hints), count_refused=count_refused)


def admit(one: Limiters, now: float, **owners: str) -> Passage:
    """Ask the limiters, as this owner."""
    return one.admit(now, _OWNERS | {Per(name): owner for name, owner in owners.items()})


def test_fixed_window_is_aligned_to_the_clock() -> None:
    """A fixed window that is entered late ends with the clock's minute."""
    one = limiter(Limit(kind=LimitKind.FIXED, requests=3, seconds=60))
    assert spend(one, NOON + 50) == 3
    assert one.read(NOON + 50).wait == 10
    assert spend(one, NOON + 60) == 3


def test_anchored_window_begins_with_its_first_request() -> None:
    """An anchored window that is entered late lasts its whole length from there."""
    one = limiter(Limit(kind=LimitKind.ANCHORED, requests=3, seconds=60))
    assert spend(one, NOON + 50) == 3
    assert one.read(NOON + 60).wait == 50
    assert spend(one, NOON + 110) == 3
    assert one.read(NOON + 110).wait == 60


def test_sliding_log_frees_one_place_at_a_time() -> None:
    """Each request's place is free again one window after it."""
    one = limiter(Limit(kind=LimitKind.SLIDING_LOG, requests=2, seconds=10))
    assert [passes(one, NOON + at) for at in (0, 4, 5, 10, 11, 14)] == [
        True, True, False, True, False, True,
    ]  # fmt: skip


def test_sliding_counter_weighs_the_last_window() -> None:
    """Half a window on, half of the last window's requests still count."""
    one = limiter(Limit(kind=LimitKind.SLIDING_COUNTER, requests=10, seconds=60))
    assert spend(one, NOON) == 10
    assert one.read(NOON + 59).remaining == 0
    assert spend(one, NOON + 90) == 5
    assert one.read(NOON + 200).remaining == 10


def test_sliding_counter_forgets_after_two_windows() -> None:
    """A window without requests in between clears what came before."""
    one = limiter(Limit(kind=LimitKind.SLIDING_COUNTER, requests=10, seconds=60))
    spend(one, NOON)
    assert spend(one, NOON + 120) == 10


def test_bucket_has_a_burst_and_refills_evenly() -> None:
    """A bucket lets its burst through at once, then one request per refill."""
    one = limiter(Limit(kind=LimitKind.BUCKET, requests=2, seconds=1, burst=5))
    assert spend(one, NOON) == 5
    assert one.read(NOON).wait == pytest.approx(0.5)
    assert spend(one, NOON + 1) == 2
    assert spend(one, NOON + 1_000) == 5


@pytest.mark.parametrize("kind", LimitKind)
@given(
    gaps=st.lists(st.floats(0, 8), min_size=1, max_size=60),
    requests=st.integers(1, 6),
    seconds=st.sampled_from([1.0, 2.5, 10.0]),
)
def test_wait_is_the_truth(
    kind: LimitKind, gaps: list[float], requests: int, seconds: float
) -> None:
    """After the wait that a refusal tells a request passes, and shortly before it none does."""
    one, now = limiter(Limit(kind=kind, requests=requests, seconds=seconds)), NOON
    for gap in gaps:
        now += gap
        wait = one.read(now).wait
        assert (wait > 0) == (one.read(now).remaining == 0)
        if wait > 2e-4:
            assert one.read(now + wait - 1e-4).wait > 0
        now += wait + 1e-5
        assert passes(one, now)


@given(gaps=st.lists(st.floats(0, 3), max_size=80), requests=st.integers(1, 5))
def test_sliding_log_keeps_its_promise(gaps: list[float], requests: int) -> None:
    """No stretch of a window's length ever holds more than the limit."""
    one = limiter(Limit(kind=LimitKind.SLIDING_LOG, requests=requests, seconds=5))
    times = [now for now in itertools.accumulate(gaps, initial=NOON) if passes(one, now)]
    assert all(later - at >= 5 for at, later in zip(times, times[requests:], strict=False))


@given(gaps=st.lists(st.floats(0, 3), max_size=80), burst=st.integers(1, 5))
def test_bucket_keeps_its_promise(gaps: list[float], burst: int) -> None:
    """No stretch ever holds more than the burst and what was refilled in it."""
    one = limiter(Limit(kind=LimitKind.BUCKET, requests=2, seconds=5, burst=burst))
    times = [now for now in itertools.accumulate(gaps, initial=NOON) if passes(one, now)]
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + (times[last] - start) * 2 / 5 + 1e-6


def test_stacked_limits_all_apply() -> None:
    """The tighter of two limits binds, and what it refuses uses up nothing of the other."""
    one = limiters(Limit(requests=2, seconds=1), Limit(requests=5, seconds=60))
    passed = [sum(admit(one, NOON + second).allowed for _ in range(9)) for second in range(4)]
    assert passed == [2, 2, 1, 0]


@pytest.mark.parametrize(("count_refused", "passed"), [(False, True), (True, False)])
def test_refused_requests_may_count(count_refused: bool, passed: bool) -> None:
    """Where refused requests count, hammering keeps a sliding log full."""
    limit = Limit(kind=LimitKind.SLIDING_LOG, requests=1, seconds=10)
    one = limiters(limit, count_refused=count_refused)
    assert admit(one, NOON).allowed
    assert not admit(one, NOON + 5).allowed
    assert admit(one, NOON + 11).allowed is passed


def test_owing_bucket_pays_back() -> None:
    """Where refused requests count, a bucket owes at most one burst."""
    limit = Limit(kind=LimitKind.BUCKET, requests=1, seconds=1, burst=2)
    one = limiters(limit, count_refused=True)
    for _ in range(50):
        admit(one, NOON)
    assert not admit(one, NOON + 2.9).allowed


@pytest.mark.parametrize("per", Per)
def test_owners_are_counted_apart(per: Per) -> None:
    """Each key, project or address has the whole limit for itself."""
    one = limiters(Limit(requests=1, per=per))
    assert admit(one, NOON, **{per.value: "one"}).allowed
    assert not admit(one, NOON, **{per.value: "one"}).allowed
    assert admit(one, NOON, **{per.value: "two"}).allowed


def test_retry_after_is_rounded_up() -> None:
    """Retry-After is in whole seconds, never too short, and only on refusals."""
    one = limiters(Limit(requests=1, seconds=60), hints="retry_after")
    assert admit(one, NOON + 0.25).headers == {}
    assert admit(one, NOON + 0.25).headers == {"retry-after": "60"}
    assert admit(one, NOON + 58.5).headers == {"retry-after": "2"}


def test_retry_after_can_be_a_date() -> None:
    """The date is the first whole second at which a request may pass."""
    one = limiters(Limit(requests=1, seconds=60), hints="retry_after_date")
    assert admit(one, NOON + 12.5).headers == {}
    date = parsedate_to_datetime(admit(one, NOON + 12.5).headers["retry-after"])
    assert date.timestamp() == NOON + 60


def test_ratelimit_headers_stand_on_every_answer() -> None:
    """The draft's headers name each policy with what is left of it."""
    one = limiters(Limit(requests=2, seconds=1), Limit(requests=100, seconds=60), hints="ratelimit")
    assert admit(one, NOON + 0.5).headers == {
        "ratelimit": '"default";r=1;t=1, "limit2";r=99;t=60',
        "ratelimit-policy": '"default";q=2;w=1, "limit2";q=100;w=60',
    }


def test_x_ratelimit_tells_the_limit_that_binds() -> None:
    """Of several limits, the one with the fewest requests left is told."""
    one = limiters(
        Limit(requests=100, seconds=1), Limit(requests=3, seconds=60), hints="x_ratelimit"
    )
    assert admit(one, NOON + 0.5).headers == {
        "x-ratelimit-limit": "3",
        "x-ratelimit-remaining": "2",
        "x-ratelimit-reset": "60",
    }


@pytest.mark.parametrize("hints", Hints)
@pytest.mark.parametrize("allowed", [True, False])
def test_without_limits_there_is_nothing_to_tell(hints: Hints, allowed: bool) -> None:
    """No limit, no headers."""
    assert hint_headers(hints, [], [], now=NOON, allowed=allowed) == {}


def test_hints_can_be_withheld() -> None:
    """A server may refuse without a word of when to come back."""
    reading = Reading(wait=math.pi, remaining=0, reset=math.pi)
    assert hint_headers(Hints.NONE, [Limit()], [reading], now=NOON, allowed=False) == {}
