"""Attempts: how often something is repeated, how long it rests, and how it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import tenacity

from incarts_pipeline.models import Reason
from incarts_pipeline.write.attempts import AttemptResult, Attempts, pause
from incarts_pipeline.write.throttle import Slot
from tests.write.test_throttle import throttle_of

SETTLED, KEPT_BACK = AttemptResult.SETTLED, AttemptResult.KEPT_BACK
IN_DOUBT, NO_EFFECT = AttemptResult.IN_DOUBT, AttemptResult.NO_EFFECT
MOST = {IN_DOUBT: 2, NO_EFFECT: 3}


def made(results: Sequence[AttemptResult], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let attempts end so; return for each that was made whether it was a retry."""
    monkeypatch.setattr("incarts_pipeline.write.attempts._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("incarts_pipeline.write.attempts._BACK_OFF", tenacity.wait_none())
    left, found = list(results), list[bool]()

    async def attempt(slot: Slot) -> AttemptResult:
        found.append(slot.is_retry)
        return left.pop(0)

    async def main() -> None:
        async with Attempts(throttle_of(1), most=MOST, grace=1.0) as begun:
            await begun.begin("walmart", "add_to_cart", attempt)

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

        async with Attempts(throttle, most=MOST, grace=0.01) as begun:
            await begun.begin("walmart", "add_to_cart", hang)
            await asyncio.sleep(0)
            await begun.begin("walmart", "add_to_cart", hang)
            throttle.stop.request(Reason.STOPPED)
            await begun.begin("walmart", "add_to_cart", hang)
        assert (throttle.in_flight.count, throttle._acquired) == (0, 0)

    asyncio.run(asyncio.wait_for(main(), 30.0))


def test_one_that_never_began_leaves_no_slot() -> None:
    """A task that is cancelled before its first step gives its slot back too."""

    async def main() -> None:
        throttle = throttle_of(1)

        async def never(_slot: Slot) -> AttemptResult:
            raise AssertionError("begun after all")

        async def broken() -> None:
            async with Attempts(throttle, most=MOST, grace=1.0) as begun:
                await begun.begin("walmart", "add_to_cart", never)
                raise ValueError("something else")

        with pytest.raises(ExceptionGroup):
            await broken()
        assert throttle._acquired == 0

    asyncio.run(main())
