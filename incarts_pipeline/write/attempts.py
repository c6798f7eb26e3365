"""Attempts at requests: begun as slots come free, repeated while that may help, cut off at the end.

Whatever is sent to the API in a run goes through here: links, QR codes, and links that are read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import tenacity

from incarts_pipeline.write.throttle import Slot, Throttle

_FIRST_PAUSE = 0.25  # seconds
_BACK_OFF = tenacity.wait_exponential_jitter(multiplier=_FIRST_PAUSE, max=20.0, jitter=0.25)
_FLIGHT = 64  # requests at most that leave together
_ROOM = 512  # requests begun and not yet settled: enough to keep every slot busy in back-offs


class AttemptResult(Enum):
    """What came of one attempt."""

    SETTLED = "settled"  # or not to be attempted again in this run
    KEPT_BACK = "kept_back"  # by a 429, or before it left
    IN_DOUBT = "in_doubt"  # it may have had an effect
    NO_EFFECT = "no_effect"  # provably none


class Work(Protocol):
    """Something that is asked of the API, in as many attempts as it takes."""

    @property
    def retailer(self) -> str:
        """What it is about: where one is refused for good, others of its kind are not tried."""

    @property
    def intent(self) -> str:
        """The same."""

    async def attempt(self, slot: Slot) -> AttemptResult:
        """Make one attempt with an acquired slot."""


W = TypeVar("W", bound=Work)
Prepare = Callable[[Sequence[W]], Awaitable[Sequence[W]]]


async def repeat(slot: Slot, work: Work, most: Mapping[AttemptResult, int]) -> None:
    """Attempt something until it is settled, the run is over, or it failed too often.

    Args:
        slot: what each attempt is made with; it may be acquired already.
        work: what is attempted.
        most: after how many failures of a kind to give up.
    """
    failures: Counter[AttemptResult] = Counter()

    async def once() -> AttemptResult:
        async with slot as acquired:
            result = AttemptResult.SETTLED if acquired is None else await work.attempt(acquired)
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


class Attempts(Generic[W]):
    """The requests of a run that are under way or to be repeated; an asynchronous context manager.

    Those that may leave at the same time do: a flight. The block ends when all that were begun in
    it are settled or given up.

    Args:
        throttle: what gives out the slots.
        most: as `repeat` takes it.
        grace: seconds that requests may go on for once the end was asked for; then they are cut
            off.
        prepare: what a flight needs before it leaves, done for all of it at once; returns what of
            it may leave.
    """

    def __init__(
        self,
        throttle: Throttle,
        *,
        most: Mapping[AttemptResult, int],
        grace: float,
        prepare: Prepare[W] | None = None,
    ) -> None:
        self._throttle, self._most, self._grace = throttle, most, grace
        self._prepare = prepare
        self._room = max(_ROOM, 8 * (throttle.in_flight.most or 0))
        self._finished = asyncio.Event()
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

    async def begin(self, works: Sequence[W]) -> None:
        """Wait for slots, and begin, a flight at a time; once the run is over, do nothing.

        Slots are acquired before there is a task: so whoever claims work in the ledger, and begins
        it, claims no more ahead than the pace lets through.
        """
        slots = [self._throttle.slot(work.retailer, work.intent) for work in works]
        begun = 0
        while begun < len(slots):
            while (room := self._room - len(self._tasks)) <= 0:
                self._finished.clear()
                await self._finished.wait()
            end = begun + min(room, _FLIGHT)
            end = begun + await self._throttle.acquire(slots[begun:end])
            if end == begun:
                return
            flight = list(zip(slots[begun:end], works[begun:end], strict=True))
            self._take_off([(slot, work) for slot, work in flight if slot.acquired_at is not None])
            begun = end

    def _take_off(self, flight: list[tuple[Slot, W]]) -> None:
        if self._prepare is None:
            for slot, work in flight:
                self._attempt(slot, work)
        elif flight:
            task = self._group.create_task(self._prepared(flight, self._prepare))
            self._keep(task, partial(self._release_all, flight))

    async def _prepared(self, flight: list[tuple[Slot, W]], prepare: Prepare[W]) -> None:
        """Begin what of a flight may leave; what is left in the list is released."""
        ready = set(map(id, await prepare([work for _, work in flight])))
        for slot, work in flight:
            if id(work) in ready:
                self._attempt(slot, work)
        flight[:] = [(slot, work) for slot, work in flight if id(work) not in ready]

    def _attempt(self, slot: Slot, work: W) -> None:
        self._keep(self._group.create_task(repeat(slot, work, self._most)), slot.release)

    def _keep(self, task: asyncio.Task[None], release: Callable[[], None]) -> None:
        """Keep a task until it is done; one that is cancelled before its first step frees nothing.

        So what it holds is released here.
        """
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            release()
            self._finished.set()

        task.add_done_callback(done)

    def _release_all(self, flight: Sequence[tuple[Slot, W]]) -> None:
        for slot, _ in flight:
            slot.release()

    async def _cut_off(self) -> None:
        """Give what is in flight its time once the end was asked for, then cut it off."""
        await self._throttle.stop.wait()
        self._throttle.notify_all()
        await asyncio.sleep(self._grace)
        for task in list(self._tasks):
            task.cancel()
