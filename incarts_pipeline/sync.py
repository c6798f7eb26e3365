"""Bridge from synchronous code: the asynchronous pipeline in a script, a notebook or Dagster."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from incarts_pipeline.models import Reason

T = TypeVar("T")

_LOOK_SECONDS = 0.1  # how late a Ctrl-C is noticed at most


def run_blocking(work: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
    """Run `work` to its end in a thread with an event loop of its own, and return its result.

    That works whether or not this thread runs a loop, as a notebook's does. The first Ctrl-C or
    SIGTERM asks `work` to stop, finishes what is in flight and returns; a second Ctrl-C does not
    wait. Any other interruption, such as Dagster's, is raised again once all is recorded.
    """
    worker = _Worker(work)
    thread = threading.Thread(target=worker.run, name="incarts-pipeline", daemon=True)
    with _sigterm(worker.stop_soon):
        thread.start()
        try:
            return worker.wait()
        except KeyboardInterrupt:
            worker.stop_soon()
            return worker.wait()
        except BaseException:
            # Dagster ends a step by an exception in this thread. The work is asked to stop and
            # waited for, because what is in flight must be on disk before the process goes.
            if thread.is_alive():
                worker.stop_soon()
                thread.join()
            raise


async def run_beside(work: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
    """Await `work` in a thread with an event loop of its own: nothing of it delays this loop.

    The first cancellation asks `work` to stop, waits until what is in flight is finished, and is
    raised again then; a second one does not wait.
    """
    worker = _Worker(work)
    threading.Thread(target=worker.run, name="incarts-pipeline", daemon=True).start()
    ended = asyncio.wrap_future(worker.result)
    try:
        # A notebook's interrupt doesn't wake its loop, so look now and then.
        while not ended.done():
            await asyncio.wait([ended], timeout=_LOOK_SECONDS)
        return ended.result()
    except asyncio.CancelledError:
        worker.stop_soon()
        await asyncio.wait([ended])
        ended.exception()  # looked at, so that asyncio doesn't complain; the cancellation wins
        raise


class _Worker(Generic[T]):
    """The thread's side: a loop, the stop that belongs to it, and the result."""

    def __init__(self, work: Callable[[Stop], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Stop | None = None
        self._stop_early = False
        self.result: Future[T] = Future()
        self._done = threading.Event()

    def run(self) -> None:
        try:
            self.result.set_result(asyncio.run(self._main()))
        except BaseException as error:  # handed to the waiting thread
            self.result.set_exception(error)
        finally:
            self._done.set()

    async def _main(self) -> T:
        self._loop, self._stop = asyncio.get_running_loop(), Stop()
        # The wish may come before there is a loop to tell it to.
        if self._stop_early:
            self._stop.request(Reason.STOPPED)
        return await self._work(self._stop)

    def wait(self) -> T:
        # A signal that the kernel hands to another thread wakes nobody here, so look now and then.
        while not self._done.wait(_LOOK_SECONDS):
            pass
        return self.result.result()

    def stop_soon(self) -> None:
        self._stop_early = True
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.request, Reason.STOPPED)


@contextmanager
def _sigterm(handler: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM call `handler`, where that is ours to say: the main thread, nobody else's."""
    # A host program that handles SIGTERM itself, such as Dagster or Jupyter, keeps its handler.
    default = signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, None)
    if threading.current_thread() is not threading.main_thread() or not default:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: handler())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Stop:
    """The wish to end a run: set once, seen by everything that waits."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._wakes: list[asyncio.Event] = []
        self.reason: Reason | None = None

    def request(self, reason: Reason) -> None:
        """Ask for the end; the first reason stays."""
        if self.reason is None:
            self.reason = reason
        # Set after the reason, which whoever wakes reads at once.
        self._event.set()
        for event in self._wakes:
            event.set()

    def wakes(self, event: asyncio.Event) -> None:
        """Have an event set, too, when the end is asked for: for who waits for several things."""
        self._wakes.append(event)

    @property
    def requested(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Ask for the end when a block takes longer than that; a stop may serve several runs."""
        if seconds is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(seconds, self.request, Reason.OUT_OF_TIME)
        try:
            yield
        finally:
            timer.cancel()

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or return early when the end is asked for."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
