"""Shared pace: one process's, with every other process of the same key and ledger.

Senders ask and answer in memory; a task beside them takes what was heard to the pace file, and
brings back leased slots, some ten times a second. While that fails nothing is sent.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.rate_limit.limit import Learned, Wait
from incarts_pipeline.rate_limit.pace_state import Pace
from incarts_pipeline.rate_limit.signals import Signal
from incarts_pipeline.rate_limit.worker import Slots

_PATIENCE = 30.0  # seconds of nothing but failed exchanges
_AGAIN = 0.25  # seconds after a failed one
_SOON = 0.001  # seconds: less is no reason to wake up earlier


class SharedRate:
    """A Pacer that leases its permits; an asynchronous context manager.

    `news` is set when slots have come, however long a sender was told to wait.
    """

    def __init__(self, file: Pace, slots: Slots, clock: Clock, news: asyncio.Event) -> None:
        self._file, self._slots, self._clock, self._news = file, slots, clock, news
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pace")
        self._nudge = asyncio.Event()
        self._wakes_at = float("inf")
        self._closing = False
        self._failing_since: float | None = None
        self._error: LedgerError | None = None
        self._task: asyncio.Task[None] | None = None
        # Plain attributes: they are looked at several times for each request.
        self.learned: Learned | None = slots.learned  # what is known of the limit
        self.pace: float | None = None  # requests a second that this process may count on

    async def __aenter__(self) -> Self:
        """Begin to exchange."""
        self._task = asyncio.create_task(self._keep_exchanging())
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Tell the last that was heard, and let go of the file."""
        self._closing = True
        self._nudge.set()
        try:
            if self._task is not None:
                await self._task
            await self._exchange(last=True)
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again.

        Raises:
            LedgerError: no slots could be leased for half a minute.
        """
        # The exchange ended by an error of ours: raised here, where somebody sees it.
        if self._task is not None and self._task.done():
            self._task.result()
        since = self._failing_since
        if self._error is not None and since is not None and now - since > _PATIENCE:
            raise self._error
        wait = self._slots.ask(now)
        if wait or self._slots.are_low:
            self._wake(now)
        return wait

    def answered(self, signal: Signal, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""
        if self._slots.answered(signal, sent_at=sent_at, now=now):
            self._wake(now)

    def hopeless_for(self, now: float) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run."""
        return self._slots.hopeless_for(now)

    def waiting_for(self, now: float) -> Wait | None:
        """Say what is being waited for, None when nothing is."""
        if self._error is not None:
            return Wait(str(self._error), _AGAIN)
        return self._slots.waiting_for(now)

    @property
    def left(self) -> int | None:
        """Requests that are still to be sent, None when nobody knows."""
        return self._slots.left

    @left.setter
    def left(self, left: int | None) -> None:
        self._slots.left = left

    def _wake(self, now: float) -> None:
        # Asked for each request, so cheap: mostly the exchange comes soon enough by itself.
        if now >= self._wakes_at - _SOON:
            return
        due = self._slots.due(now)
        if due is not None and now + due < self._wakes_at - _SOON:
            self._nudge.set()

    async def _keep_exchanging(self) -> None:
        """Exchange when it is due; a sender that needs it sooner nudges."""
        while not self._closing:
            now = self._clock.monotonic()
            due = self._slots.due(now)
            if due is not None and due <= 0:
                if not await self._exchange():
                    await asyncio.sleep(_AGAIN)
                continue
            self._wakes_at = float("inf") if due is None else now + due
            self._nudge.clear()
            try:
                async with asyncio.timeout(due):
                    await self._nudge.wait()
            except TimeoutError:
                pass
            self._wakes_at = float("-inf")  # awake: no need to be woken

    async def _exchange(self, *, last: bool = False) -> bool:
        """Take one report to the file and bring a lease back; say whether that worked."""
        report = self._slots.report(self._clock.monotonic(), last=last)
        loop = asyncio.get_running_loop()
        try:
            lease = await loop.run_in_executor(self._thread, self._file.exchange, report)
        except LedgerError as error:
            # Nothing was written, so what was heard is told again with the next report; a file that
            # is locked for a moment is no reason to end a run.
            self._slots.give_back(report)
            self._error = error
            if self._failing_since is None:
                self._failing_since = self._clock.monotonic()
            return False
        self._error = self._failing_since = None
        self._slots.take(lease, self._clock.monotonic())
        self.learned, self.pace = lease.learned, lease.pace
        if lease.slots:
            self._news.set()
        return True
