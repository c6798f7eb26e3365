"""Calls ahead: a plan's calls as they are claimed, the next ones read while those are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import chain, islice

from incarts_pipeline.ledger import Call
from incarts_pipeline.plan import CALL_BATCH
from incarts_pipeline.rate_limit import Pacer

_MOST_BATCHES = 4


async def calls_ahead(batches: Iterator[list[Call]], rate: Pacer) -> AsyncGenerator[list[Call]]:
    """Yield calls to be claimed at once: as many as go out in a second, and no more than 1,024.

    The more at once, the less each costs the ledger; what is claimed, no other run can take.
    """

    def read(many: int) -> list[Call]:
        return [*chain.from_iterable(islice(batches, many))]

    def following() -> asyncio.Task[list[Call]]:
        many = min(max(1, int((rate.pace or 0.0) / CALL_BATCH)), _MOST_BATCHES)
        # In a thread: the query is long, and requests go out meanwhile.
        return asyncio.create_task(asyncio.to_thread(read, many))

    reading = following()
    try:
        while calls := await reading:
            reading = following()
            yield calls
    finally:
        await reading
