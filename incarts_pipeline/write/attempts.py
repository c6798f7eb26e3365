"""Attempts at requests: begun as slots come free, repeated while that may help, cut off at the end.

Whatever is sent to the API in a run goes through here: links, QR codes, and links that are read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Self

import tenacity

from incarts_pipeline.write.throttle import Slot, Throttle

_FIRST_PAUSE = 0.25  # seconds
_BACK_OFF = tenacity.wait_exponential_jitter(multiplier=_FIRST_PAUSE, max=20.0, jitter=0.25)
_ROOM = 512  # requests begun and not yet settled: enough to keep every slot busy in back-offs


class AttemptResult(Enum):
    """What came of one attempt."""

    SETTLED = "settled"  # or not to be attempted again in this run
    KEPT_BACK = "kept_back"  # by a 429, or before it left
    IN_DOUBT = "in_doubt"  # it may have had an effect
    NO_EFFECT = "no_effect"  # provably none


Attempt = Callable[[Slot], Awaitable[AttemptResult]]


async def repeat(slot: Slot, attempt: Attempt, most: Mapping[AttemptResult, int]) -> None:
    """Attempt something until it is settled, the run is over, or it failed too often.

    Args:
        slot: what each attempt is made with; it may be acquired already.
        attempt: makes one attempt with an acquired slot.
        most: after how many failures of a kind to give up.
    """
    failures: Counter[AttemptResult] = Counter()

    async def once() -> AttemptResult:
        async with slot as acquired:
            result = AttemptResult.SETTLED if acquired is None else await attempt(acquired)
        if result in most:
            slot.is_retry = True
            failures[result] += 1
        return result

    # Nearly everything is settled at the first go, so tenacity is set up only when it is needed.
    first = await once()
    if first is not AttemptResult.SETTLED and not _is_too_often(failures, most):
        stop = slot.throttle.stop
        await stop.sleep(0.0 if first is AttemptResult.KEPT_BACK else _FIRST_PAUSE)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(lambda result: result is not AttemptResult.SETTLED),
            wait=pause,
            stop=lambda _: _is_too_often(failures, most) or stop.requested,
            sleep=stop.sleep,
            retry_error_callback=lambda _: None,
        )
        await retrying(once)


def pause(state: tenacity.RetryCallState) -> float:
    """Return the seconds to wait after an attempt: none after one that was kept back.

    For that one the slot comes when the rate says so. Otherwise it is 0.25 s, then doubled each
    time up to 20 s, with up to a quarter of a second by chance: what failed together is not to come
    back together.
    """
    is_kept_back = state.outcome is not None and state.outcome.result() is AttemptResult.KEPT_BACK
    return 0.0 if is_kept_back else _BACK_OFF(state)


def _is_too_often(failures: Counter[AttemptResult], most: Mapping[AttemptResult, int]) -> bool:
    return any(failures[kind] >= limit for kind, limit in most.items())


class Attempts:
    """The requests of a run that are under way or to be repeated; an asynchronous context manager.

    The block ends when all that were begun in it are settled or given up.

    Args:
        throttle: what gives out the slots.
        most: as `repeat` takes it.
        grace: seconds that requests may go on for once the end was asked for; then they are cut
            off.
    """

    def __init__(
        self, throttle: Throttle, *, most: Mapping[AttemptResult, int], grace: float
    ) -> None:
        self._throttle, self._most, self._grace = throttle, most, grace
        self._room = asyncio.Semaphore(max(_ROOM, 8 * (throttle.in_flight.most or 0)))
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._cutting = asyncio.create_task(self._cut_off())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            self._cutting.cancel()
            await asyncio.gather(self._cutting, return_exceptions=True)

    async def begin(self, retailer: str, intent: str, attempt: Attempt) -> None:
        """Wait for a slot, and begin; once the run is over, do nothing.

        The slot is acquired before there is a task: so whoever claims work in the ledger, and
        begins it, claims no more ahead than the pace lets through.
        """
        await self._room.acquire()
        slot = self._throttle.slot(retailer, intent)
        if not await slot.acquire():
            self._room.release()
            return
        task = self._group.create_task(repeat(slot, attempt, self._most))
        self._tasks.add(task)
        task.add_done_callback(partial(self._finished, slot))

    def _finished(self, slot: Slot, task: asyncio.Task[None]) -> None:
        slot.release()  # a task that was cancelled before its first step never entered it
        self._tasks.discard(task)
        self._room.release()

    async def _cut_off(self) -> None:
        """Give what is in flight its time once the end was asked for, then cut it off."""
        await self._throttle.stop.wait()
        self._throttle.notify_all()
        await asyncio.sleep(self._grace)
        for task in list(self._tasks):
            task.cancel()
