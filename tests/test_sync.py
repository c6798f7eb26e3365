"""The synchronous door: from scripts, from running loops, and when interrupted."""

from __future__ import annotations

import asyncio
import threading

import pytest

from incarts_pipeline.models import Reason
from incarts_pipeline.sync import Stop, run_beside, run_blocking


async def answer(_: Stop) -> int:
    """Return after a turn of the loop."""
    await asyncio.sleep(0)
    return 42


def test_returns_the_result() -> None:
    """A plain script gets the result."""
    assert run_blocking(answer) == 42


def test_works_inside_a_running_loop() -> None:
    """A notebook's running loop doesn't matter."""

    async def notebook() -> int:
        return run_blocking(answer)

    assert asyncio.run(notebook()) == 42


def test_a_time_that_is_over_ends_no_later_run() -> None:
    """A stop may serve two runs: what the first had for its time is not the second's."""

    async def work(stop: Stop) -> bool:
        with stop.within(0.01):
            pass
        await asyncio.sleep(0.05)
        before = stop.requested
        with stop.within(0.01):
            await stop.wait()
        return before

    assert run_blocking(work) is False


def test_errors_come_through() -> None:
    """An error of the work is raised as it is."""

    async def broken(_: Stop) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_blocking(broken)


def test_interrupt_stops_and_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C asks the work to stop, and its result comes back."""
    waiting = threading.Event()

    async def patient(stop: Stop) -> Reason | None:
        waiting.set()
        await stop.wait()
        return stop.reason

    from incarts_pipeline import sync

    original, interrupted = sync._Worker.wait, []

    def wait(self: sync._Worker[object]) -> object:
        if not interrupted:
            interrupted.append(waiting.wait(10))
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(sync._Worker, "wait", wait)
    assert run_blocking(patient) is Reason.STOPPED


def test_await_returns_and_raises() -> None:
    """Awaited, the work's result and its errors come through."""

    async def broken(_: Stop) -> None:
        raise ValueError("broken")

    assert asyncio.run(run_beside(answer)) == 42
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run_beside(broken))


def test_cancelling_stops_and_waits() -> None:
    """A cancellation asks the work to stop, and is raised once it has."""
    ended: list[Reason | None] = []

    async def patient(stop: Stop) -> None:
        await stop.wait()
        ended.append(stop.reason)

    async def notebook() -> None:
        async with asyncio.timeout(0.05):
            await run_beside(patient)

    with pytest.raises(TimeoutError):
        asyncio.run(notebook())
    assert ended == [Reason.STOPPED]
