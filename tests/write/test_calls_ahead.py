"""Calls ahead: how many are claimed at once, and what is read meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from incarts_pipeline.ledger import Call
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.write.calls_ahead import calls_ahead
from tests.support.ledgers import call

BATCH = 256


def sizes(pace: float, batches: int) -> list[int]:
    """Return how many calls came at once."""
    read = ([call(f"{at}-{i}") for i in range(BATCH)] for at in range(batches))

    async def main() -> list[int]:
        rate = RateController(pace, learns=False)
        async with aclosing(calls_ahead(read, rate)) as ahead:
            return [len(calls) async for calls in ahead]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("pace", "expected"),
    [(10.0, [256] * 6), (600.0, [512] * 3), (50_000.0, [1024, 512])],
)
def test_as_many_are_claimed_as_go_out_in_a_second(pace: float, expected: list[int]) -> None:
    """In whole batches, one at least and four at most."""
    assert sizes(pace, 6) == expected


def test_no_more_is_read_than_is_wanted_when_a_run_is_stopped() -> None:
    """Who leaves after the first calls has read one batch ahead, and nothing goes on behind it."""
    read: list[int] = []

    def reading() -> Iterator[list[Call]]:
        for at in range(9):
            read.append(at)
            yield [call(str(at))]

    async def main() -> None:
        async with aclosing(calls_ahead(reading(), RateController(1.0, learns=False))) as ahead:
            async for _ in ahead:
                break
        seen = len(read)
        await asyncio.sleep(0)
        assert len(read) == seen <= 2

    asyncio.run(main())
