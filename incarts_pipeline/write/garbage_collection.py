"""Garbage collection: less often while requests are sent, and while the shell loads its modules."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLD = 10_000  # objects that are new, between two looks at them; 700 by default


@contextmanager
def less_garbage_collection() -> Iterator[None]:
    """Collect garbage less often within the block.

    A request makes dozens of objects that are gone with it, and going through them for garbage
    after every few requests costs a tenth of what sending takes. Modules that are loaded are no
    garbage, and going through them again and again costs a seventh of what loading takes. A
    threshold that is higher, or a collector that is off, is left alone.
    """
    first, *others = gc.get_threshold()
    if not 0 < first < _THRESHOLD:
        yield
        return
    gc.set_threshold(_THRESHOLD, *others)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)
