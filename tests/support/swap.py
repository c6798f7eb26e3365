"""Answers that change places: each goes to whoever waited for another."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Generic, TypeVar

T = TypeVar("T")

_SECONDS = 0.05  # how long an answer waits for another one to be swapped with


class Swap(Generic[T]):
    """Exchanges answers two by two, on one event loop."""

    def __init__(self) -> None:
        self._waiting: tuple[T, asyncio.Future[T]] | None = None

    async def exchanged(self, mine: T) -> T:
        """Return another's answer if one comes soon, which gets this one; else this one."""
        if self._waiting is not None:
            other, waiting = self._waiting
            self._waiting = None
            waiting.set_result(mine)
            return other
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting = (mine, future)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(future), _SECONDS)
        self._waiting = None
        return mine
