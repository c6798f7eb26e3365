"""The gate: how many may be inside, and how many of them under way."""

from __future__ import annotations

import asyncio
from typing import Any

from incarts_pipeline.clock import Clock
from incarts_pipeline.models import Answer, AnswerKind, Reason, State
from incarts_pipeline.rate_limit.token_bucket import TokenBucket
from incarts_pipeline.sync import Stop
from incarts_pipeline.write.circuit_breaker import Circuits
from incarts_pipeline.write.concurrency import ConcurrencyLimit
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.throttle import Throttle

STATE = State.INTENDED
ENTERED = float("inf")  # never too long ago


def _gate(most: int) -> Throttle:
    return Throttle(
        rate=TokenBucket(None),
        circuits=Circuits(),
        clock=Clock(),
        stop=Stop(),
        metrics=RunMetrics(),
        in_flight=ConcurrencyLimit(most),
    )


async def _settled(*tasks: asyncio.Task[Any]) -> list[bool]:
    """Let everything run that can, and say which tasks are done."""
    for _ in range(20):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


def test_a_few_more_make_ready_than_are_under_way() -> None:
    """With 2 under way 4 more may enter; a seventh waits until somebody left."""

    async def main() -> None:
        throttle = _gate(2)
        entered = [asyncio.create_task(throttle.enter("walmart", "add_to_cart")) for _ in range(7)]
        assert await _settled(*entered) == [True] * 6 + [False]
        first = entered[0].result()
        assert first is not None
        throttle.leave(first)
        assert await _settled(entered[6]) == [True]

    asyncio.run(main())


def test_no_more_depart_than_may_be_under_way() -> None:
    """Those that are ready wait for a landing, and each landing lets just one go."""

    async def main() -> None:
        throttle = _gate(2)
        ready = [asyncio.create_task(throttle.depart(ENTERED)) for _ in range(4)]
        assert await _settled(*ready) == [True, True, False, False]
        throttle.land()
        assert await _settled(*ready) == [True, True, True, False]
        assert throttle.in_flight.count == 2
        throttle.land()
        assert all(await _settled(*ready))
        assert all(task.result() for task in ready)

    asyncio.run(main())


def test_a_stop_keeps_back_who_has_not_departed() -> None:
    """All that wait are told so, though nobody lands, and none counts as under way."""

    async def main() -> None:
        throttle = _gate(1)
        assert await throttle.depart(ENTERED)
        waiting = [asyncio.create_task(throttle.depart(ENTERED)) for _ in range(3)]
        await _settled(*waiting)
        throttle.stop.request(Reason.STOPPED)
        throttle.wake_one()
        assert all(await _settled(*waiting))
        assert not any(task.result() for task in waiting)
        assert throttle.in_flight.count == 1

    asyncio.run(main())


def test_who_is_cut_off_while_waiting_takes_no_turn_along() -> None:
    """A cancelled one is passed over."""

    async def main() -> None:
        throttle = _gate(1)
        assert await throttle.depart(ENTERED)
        gone, next_one = (asyncio.create_task(throttle.depart(ENTERED)) for _ in range(2))
        await _settled(gone, next_one)
        gone.cancel()
        await _settled(gone)
        throttle.land()
        assert await _settled(next_one) == [True]
        assert next_one.result()

    asyncio.run(main())


LIMITED = Answer(kind=AnswerKind.RATE_LIMITED, correlation_id="limited", status=429)


def test_a_429_keeps_back_who_entered_before_it() -> None:
    """Not who enters afterwards, even while late answers to older requests come in."""

    async def main() -> None:
        throttle = _gate(2)
        before = await throttle.enter("walmart", "add_to_cart")
        assert before is not None
        throttle.heard(LIMITED, "walmart", "add_to_cart", state=STATE, sent_at=before, retry=False)
        assert not await throttle.depart(before)
        after = throttle.clock.monotonic()
        throttle.heard(LIMITED, "walmart", "add_to_cart", state=STATE, sent_at=before, retry=False)
        assert await throttle.depart(after)

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
