"""The throttle: how many slots are given out, and how many requests are under way."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from incarts_pipeline.cli.options import settings_for
from incarts_pipeline.clock import Clock
from incarts_pipeline.models import Answer, AnswerKind, RateHints, Reason, State
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import Stop
from incarts_pipeline.write.circuit_breaker import Circuits, EndKind
from incarts_pipeline.write.concurrency import ConcurrencyLimit
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.throttle import Slot, Throttle, open_throttle

STATE = State.INTENDED
LIMITED = Answer(kind=AnswerKind.RATE_LIMITED, correlation_id="limited", status=429)


def throttle_of(most: int) -> Throttle:
    """Return a throttle without a pace, for so many requests under way."""
    return Throttle(
        rate=RateController(None, learns=False),
        circuits=Circuits(),
        clock=Clock(),
        stop=Stop(),
        metrics=RunMetrics(),
        in_flight=ConcurrencyLimit(most),
    )


async def acquired(throttle: Throttle, count: int) -> list[Slot]:
    """Return so many acquired slots."""
    slots = [throttle.slot("walmart", "add_to_cart") for _ in range(count)]
    assert all([await slot.acquire() for slot in slots])
    return slots


async def _settled(*tasks: asyncio.Task[Any]) -> list[bool]:
    """Let everything run that can, and say which tasks are done."""
    for _ in range(20):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


def test_a_few_more_make_ready_than_are_under_way() -> None:
    """With 2 under way 4 more may acquire a slot; a seventh waits until one is released."""

    async def main() -> None:
        throttle = throttle_of(2)
        slots = [throttle.slot("walmart", "add_to_cart") for _ in range(7)]
        taking = [asyncio.create_task(slot.acquire()) for slot in slots]
        assert await _settled(*taking) == [True] * 6 + [False]
        slots[0].release()
        assert await _settled(taking[6]) == [True]

    asyncio.run(main())


def test_no_more_depart_than_may_be_under_way() -> None:
    """Those that are ready wait for a release, and each lets just one go."""

    async def main() -> None:
        throttle = throttle_of(2)
        slots = await acquired(throttle, 4)
        ready = [asyncio.create_task(slot.depart()) for slot in slots]
        assert await _settled(*ready) == [True, True, False, False]
        slots[0].release()
        assert await _settled(*ready) == [True, True, True, False]
        assert throttle.in_flight.count == 2
        slots[1].release()
        assert all(await _settled(*ready))
        assert all(task.result() for task in ready)

    asyncio.run(main())


def test_a_stop_keeps_back_who_has_not_departed() -> None:
    """All that wait are told so, though no request ends, and none counts as under way."""

    async def main() -> None:
        throttle = throttle_of(1)
        first, *others = await acquired(throttle, 4)
        assert await first.depart()
        waiting = [asyncio.create_task(slot.depart()) for slot in others]
        await _settled(*waiting)
        throttle.stop.request(Reason.STOPPED)
        throttle.notify_all()
        assert all(await _settled(*waiting))
        assert not any(task.result() for task in waiting)
        assert throttle.in_flight.count == 1

    asyncio.run(main())


@pytest.mark.parametrize("turn_has_come", [False, True])
def test_who_is_cut_off_while_waiting_takes_no_turn_along(turn_has_come: bool) -> None:
    """A cancelled one is passed over, also when it was just told to go."""

    async def main() -> None:
        throttle = throttle_of(1)
        first, *others = await acquired(throttle, 3)
        assert await first.depart()
        gone, next_one = (asyncio.create_task(slot.depart()) for slot in others)
        await _settled(gone, next_one)
        if turn_has_come:
            first.release()
        gone.cancel()
        await _settled(gone)
        if not turn_has_come:
            first.release()
        assert await _settled(next_one) == [True]
        assert next_one.result()

    asyncio.run(main())


def test_a_429_keeps_back_who_acquired_a_slot_before_it() -> None:
    """Not who acquires one afterwards, even while late answers to older requests come in."""

    async def main() -> None:
        throttle = throttle_of(3)
        one, late, before = await acquired(throttle, 3)
        assert await one.depart()
        assert await late.depart()
        one.answered(LIMITED, state=STATE)
        assert not await before.depart()
        (after,) = await acquired(throttle, 1)
        late.answered(LIMITED, state=STATE)
        assert await after.depart()

    asyncio.run(main())


class _TroubleError(Exception):
    """What ends a block."""


@pytest.mark.parametrize("departs", [False, True])
def test_slot_is_free_however_its_block_is_left(departs: bool) -> None:
    """After a return, an error or a cancellation another request may have its place."""

    async def main() -> None:
        throttle = throttle_of(1)

        async def use(error: BaseException | None) -> None:
            async with throttle.slot("walmart", "add_to_cart") as slot:
                assert slot is not None
                assert not departs or await slot.depart()
                if error is not None:
                    raise error

        async def hang() -> None:
            async with throttle.slot("walmart", "add_to_cart") as slot:
                assert slot is not None
                assert not departs or await slot.depart()
                await asyncio.Event().wait()

        await use(None)
        with pytest.raises(_TroubleError):
            await use(_TroubleError())
        task = asyncio.create_task(hang())
        await _settled(task)
        task.cancel()
        assert await _settled(task) == [True]
        assert throttle.in_flight.count == 0
        assert throttle._acquired == 0

    asyncio.run(main())


def test_there_is_no_slot_once_the_run_is_over() -> None:
    """Nor for a kind of link whose circuit is open; other kinds go on."""

    async def main() -> None:
        throttle = throttle_of(1)
        throttle.circuits.forbidden["walmart", "add_to_cart"] = "no"
        async with throttle.slot("walmart", "add_to_cart") as slot:
            assert slot is None
        async with throttle.slot("kroger", "add_to_cart") as slot:
            assert slot is not None
        throttle.stop.request(Reason.STOPPED)
        async with throttle.slot("kroger", "add_to_cart") as slot:
            assert slot is None

    asyncio.run(main())


def test_acquired_slot_is_entered_as_it_is() -> None:
    """A block takes no second turn for a slot that was acquired before it."""

    async def main() -> None:
        throttle = throttle_of(1)
        (slot,) = await acquired(throttle, 1)
        async with slot as entered:
            assert entered is slot
            assert throttle._acquired == 1
        assert throttle._acquired == 0

    asyncio.run(main())


def test_no_more_make_ready_than_come_due() -> None:
    """Where answers take long, few; where recording takes as long as they do, as many."""
    slow, fast = ConcurrencyLimit(32), ConcurrencyLimit(32)
    for _ in range(100):
        slow.made_ready(0.01)
        slow.took(0.5)
        fast.made_ready(0.01)
        fast.took(0.01)
    assert slow.ahead(32) <= 5
    assert 32 <= fast.ahead(32) <= 64


class SetClock(Clock):
    """A clock that a test moves."""

    seconds = 1_000.0

    def monotonic(self) -> float:
        """Return what it was set to."""
        return self.seconds


async def refused_for_a_minute(throttle: Throttle, clock: SetClock, retry_after: float) -> None:
    """Have each request refused, until an instant that stays, for a minute or a little more."""
    until, ends = clock.seconds + 60.0, clock.seconds + retry_after
    while clock.seconds < until:
        waiting = throttle.rate.waiting_for(clock.seconds)
        clock.seconds += waiting.seconds + 0.01 if waiting else 0.0
        (slot,) = await acquired(throttle, 1)
        assert await slot.depart()
        left = RateHints(retry_after=float(math.ceil(ends - clock.seconds)))
        slot.answered(replace(LIMITED, hints=left), state=STATE)
        slot.release()


def adaptive_throttle(clock: SetClock, *, waits: bool = False) -> Throttle:
    """Return a throttle that learns the pace, on a clock that a test moves."""
    rate = RateController(100.0)
    return replace(throttle_of(4), rate=rate, clock=clock, waits=waits)


DAY = 86_400.0


def test_permits_that_come_sooner_than_was_told_are_taken_at_once() -> None:
    """Whoever was told to wait a day doesn't sleep through what comes meanwhile."""

    async def main() -> None:
        clock = SetClock()
        throttle = adaptive_throttle(clock, waits=True)
        await refused_for_a_minute(throttle, clock, retry_after=DAY)
        waiting = asyncio.create_task(throttle.slot("walmart", "add_to_cart").acquire())
        assert await _settled(waiting) == [False]
        throttle.rate = RateController(None)
        throttle.news.set()
        assert await _settled(waiting) == [True]

    asyncio.run(main())


def test_who_waits_is_told_for_what_and_until_when() -> None:
    """The server's words, the time of the next try, and that leaving loses nothing."""

    async def main() -> None:
        clock = SetClock()
        throttle = adaptive_throttle(clock)
        await refused_for_a_minute(throttle, clock, retry_after=600.0)
        waiting = asyncio.create_task(throttle.slot("walmart", "add_to_cart").acquire())
        assert await _settled(waiting) == [False]
        pattern = (
            r"Incarts said 429, Retry-After 5\d\d s; next try (\d\d:\d\d:\d\d)\. Ctrl-C is safe\."
        )
        found = re.fullmatch(pattern, throttle.metrics.waiting)
        assert found, throttle.metrics.waiting
        throttle.stop.request(Reason.STOPPED)
        assert not await waiting

    asyncio.run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_a_quota_of_a_day_is_waited_for_only_on_demand(waits: bool) -> None:
    """Else the run ends, and says when to go on and which option waits."""

    async def main() -> None:
        clock = SetClock()
        throttle = adaptive_throttle(clock, waits=waits)
        await refused_for_a_minute(throttle, clock, retry_after=DAY)
        waiting = asyncio.create_task(throttle.slot("walmart", "add_to_cart").acquire())
        assert await _settled(waiting) == [not waits]
        end = throttle.circuits.end
        if waits:
            assert end is None
            assert "Retry-After 863" in throttle.metrics.waiting
            throttle.stop.request(Reason.STOPPED)
        else:
            assert end is not None
            assert end.kind is EndKind.RATE_LIMITED
            assert "Run again at" in end.fix
            assert "wait" in end.fix
        assert not await waiting

    asyncio.run(main())


@pytest.mark.parametrize("wait", [False, True])
def test_the_option_reaches_the_throttle(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    """`--wait` is a setting, and a run's throttle has it."""
    client = settings.for_client()
    monkeypatch.setenv("INCARTS_API_BASE_URL", client.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", client.api_key.get_secret_value())
    given = settings_for(settings.ledger, wait=wait)

    async def main() -> None:
        async with open_throttle(
            given.for_client(),
            "run",
            None,
            most=None,
            clock=Clock(),
            stop=Stop(),
            metrics=RunMetrics(),
        ) as throttle:
            assert throttle.waits is wait

    asyncio.run(main())
