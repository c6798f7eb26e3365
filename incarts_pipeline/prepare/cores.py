"""Cores: parts of a catalog worked on side by side, with results in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

P = TypeVar("P")
T = TypeVar("T")


def on_all_cores(work: Callable[[P], T], parts: Iterator[P]) -> Iterator[T]:
    """Yield each part's result, in order; only as many more as there are cores are worked on."""
    # One part isn't worth a pool, and a frame of 300 rows is one part.
    first = list(islice(parts, 2))
    if len(first) < 2:
        yield from (work(part) for part in first)
        return
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores, thread_name_prefix="incarts-prepare") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for part in chain(first, parts):
                waiting.append(pool.submit(work, part))
                # Results wait in order, and no more parts are taken than can be worked on: memory
                # is bounded however slow the reader is.
                if len(waiting) > cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Also when the reader leaves early, which closes this generator.
            pool.shutdown(wait=True, cancel_futures=True)
