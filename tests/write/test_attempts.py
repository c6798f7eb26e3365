"""Attempts: how often something is repeated, how long it rests, and how it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import tenacity

from incarts_pipeline.models import Reason
from incarts_pipeline.write.attempts import AttemptResult, Attempts, pause
from incarts_pipeline.write.throttle import Slot
from tests.write.test_throttle import throttle_of

SETTLED, KEPT_BACK = AttemptResult.SETTLED, AttemptResult.KEPT_BACK
IN_DOUBT, NO_EFFECT = AttemptResult.IN_DOUBT, AttemptResult.NO_EFFECT
MOST = {IN_DOUBT: 2, NO_EFFECT: 3}


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work, whose attempts are made by a function."""

    attempt: Callable[[Slot], Awaitable[AttemptResult]]
    retailer: str = "walmart"
    intent: str = "add_to_cart"


def made(results: Sequence[AttemptResult], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let attempts end so; return for each that was made whether it was a retry."""
    monkeypatch.setattr("incarts_pipeline.write.attempts._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("incarts_pipeline.write.attempts._BACK_OFF", tenacity.wait_none())
    left, found = list(results), list[bool]()

    async def attempt(slot: Slot) -> AttemptResult:
        found.append(slot.is_retry)
        return left.pop(0)

    async def main() -> None:
        async with Attempts[Work](throttle_of(1), most=MOST, grace=1.0) as begun:
            await begun.begin([Work(attempt)])

    asyncio.run(main())
    return found


@pytest.mark.parametrize(
    ("results", "count"),
    [
        ([SETTLED], 1),
        ([IN_DOUBT, SETTLED], 2),
        ([IN_DOUBT, IN_DOUBT, SETTLED], 2),
        ([NO_EFFECT, IN_DOUBT, NO_EFFECT, SETTLED], 4),
        ([NO_EFFECT, NO_EFFECT, NO_EFFECT, SETTLED], 3),
        ([KEPT_BACK] * 50 + [SETTLED], 51),
    ],
)
def test_each_kind_of_failure_has_its_number(
    results: list[AttemptResult], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was only kept back is repeated for as long as the run goes on."""
    assert len(made(results, monkeypatch)) == count


def test_only_a_failure_makes_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was kept back has cost the breaker nothing, and gives nothing back."""
    results = [KEPT_BACK, NO_EFFECT, SETTLED]
    assert made(results, monkeypatch) == [False, False, True]


def rest(number: int, result: AttemptResult) -> float:
    """Return the pause after an attempt of this number that ended so."""
    state = tenacity.RetryCallState(tenacity.AsyncRetrying(), None, (), {})
    state.attempt_number = number
    state.set_result(result)
    return pause(state)


def test_pauses_double_up_to_a_bound() -> None:
    """From a quarter of a second to twenty, with a quarter of a second of chance; or none."""
    for number, seconds in ((1, 0.25), (2, 0.5), (3, 1.0), (4, 2.0), (99, 20.0)):
        assert seconds <= rest(number, IN_DOUBT) <= min(seconds + 0.25, 20.0)
    assert rest(5, KEPT_BACK) == 0.0


def test_cut_off_after_the_grace() -> None:
    """Once the end was asked for, what doesn't end by itself is cancelled, and leaves no slot."""

    async def main() -> None:
        throttle = throttle_of(1)

        async def hang(slot: Slot) -> AttemptResult:
            if await slot.depart():
                await asyncio.Event().wait()
            return KEPT_BACK

        async with Attempts[Work](throttle, most=MOST, grace=0.01) as begun:
            await begun.begin([Work(hang)])
            await asyncio.sleep(0)
            await begun.begin([Work(hang)])
            throttle.stop.request(Reason.STOPPED)
            await begun.begin([Work(hang)])
        assert (throttle.in_flight.count, throttle._acquired) == (0, 0)

    asyncio.run(asyncio.wait_for(main(), 30.0))


def test_one_that_never_began_leaves_no_slot() -> None:
    """A task that is cancelled before its first step gives its slot back too."""

    async def main() -> None:
        throttle = throttle_of(1)

        async def never(_slot: Slot) -> AttemptResult:
            raise AssertionError("begun after all")

        async def broken() -> None:
            async with Attempts[Work](throttle, most=MOST, grace=1.0) as begun:
                await begun.begin([Work(never)])
                raise ValueError("something else")

        with pytest.raises(ExceptionGroup):
            await broken()
        assert throttle._acquired == 0

    asyncio.run(main())


def test_what_may_leave_together_is_prepared_as_one() -> None:
    """A flight has as many as there are slots; what may not leave gives its slot to the next."""
    flights: list[int] = []
    attempted: list[int] = []

    async def attempt(number: int, _slot: Slot) -> AttemptResult:
        attempted.append(number)
        return SETTLED

    works = [Work(partial(attempt, number)) for number in range(9)]

    async def prepare(flight: Sequence[Work]) -> Sequence[Work]:
        flights.append(len(flight))
        return [work for work in flight if work is not works[1]]

    async def main() -> None:
        throttle = throttle_of(2)
        async with Attempts(throttle, most=MOST, grace=1.0, prepare=prepare) as begun:
            await begun.begin(works)
        assert throttle._acquired == 0

    asyncio.run(main())
    assert flights[0] == 6  # two under way, and four that make ready
    assert sum(flights) == 9
    assert attempted == [0, 2, 3, 4, 5, 6, 7, 8]


def test_what_an_open_circuit_concerns_is_left_out_of_a_flight() -> None:
    """The others leave, and nothing is prepared for it."""
    flights: list[Sequence[Work]] = []

    async def attempt(_slot: Slot) -> AttemptResult:
        return SETTLED

    works = [Work(attempt, retailer=name) for name in ("walmart", "kroger", "walmart", "target")]

    async def prepare(flight: Sequence[Work]) -> Sequence[Work]:
        flights.append(flight)
        return flight

    async def main() -> None:
        throttle = throttle_of(8)
        throttle.circuits.forbidden["walmart", "add_to_cart"] = "no"
        async with Attempts(throttle, most=MOST, grace=1.0, prepare=prepare) as begun:
            await begun.begin(works)
            await begun.begin(works[:1])
        assert throttle._acquired == 0

    asyncio.run(main())
    assert flights == [[works[1], works[3]]]


def test_flight_that_is_cut_off_while_it_makes_ready_leaves_no_slot() -> None:
    """Nothing of it is attempted."""

    async def never(_slot: Slot) -> AttemptResult:
        raise AssertionError("begun after all")

    async def prepare(_flight: Sequence[Work]) -> Sequence[Work]:
        await asyncio.Event().wait()
        raise AssertionError("not reached")

    async def main() -> None:
        throttle = throttle_of(4)
        async with Attempts(throttle, most=MOST, grace=0.01, prepare=prepare) as begun:
            await begun.begin([Work(never), Work(never)])
            throttle.stop.request(Reason.STOPPED)
        assert throttle._acquired == 0

    asyncio.run(asyncio.wait_for(main(), 30.0))
