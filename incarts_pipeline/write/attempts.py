"""Attempts at requests: begun as slots come free, repeated while that may help, cut off at the end.

Whatever is sent to the API in a run goes through here: links, QR codes, and links that are read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Self

from incarts_pipeline.write.throttle import Slot, Throttle

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 20.0  # seconds
_ROOM = 512  # requests begun and not yet settled: enough to keep every slot busy in back-offs


class AttemptResult(StrEnum):
    """What came of one attempt."""

    SETTLED = "settled"  # or not to be attempted again in this run
    KEPT_BACK = "kept_back"  # by a 429, or before it left
    IN_DOUBT = "in_doubt"  # it may have had an effect
    NO_EFFECT = "no_effect"  # provably none


Attempt = Callable[[Slot], Awaitable[AttemptResult]]


def back_off(failures: int, chance: float) -> float:
    """Return the seconds to wait after so many failures: 0.25, then doubled each time up to 20.

    `chance`, from 0 to 1, makes it up to a quarter shorter or longer: what failed together is not
    to come back together.
    """
    pause = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 16), _LONGEST_PAUSE)
    return pause * (0.75 + chance / 2)


async def repeat(slot: Slot, attempt: Attempt, most: Mapping[AttemptResult, int]) -> None:
    """Attempt something until it is settled, the run is over, or it failed too often.

    Args:
        slot: what each attempt is made with; it may be acquired already.
        attempt: makes one attempt with an acquired slot.
        most: after how many failures of a kind to give up.
    """
    failures: list[AttemptResult] = []
    while True:
        async with slot as acquired:
            if acquired is None:
                return
            result = await attempt(acquired)
        if result is AttemptResult.SETTLED:
            return
        if result is AttemptResult.KEPT_BACK:
            continue  # no back-off: the slot comes when the rate says so
        failures.append(result)
        if failures.count(result) >= most[result]:
            return
        slot.is_retry = True
        await slot.throttle.stop.sleep(back_off(len(failures), random.random()))  # noqa: S311


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
