"""Row numbers: those rows of a catalog that are wanted, small enough to go with each task."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowNumbers:
    """Numbers of rows in order, as the steps from each to the next one, compressed."""

    packed: bytes

    @classmethod
    def of(cls, numbers: Numbers) -> Self:
        """Keep some numbers that are in order, each of them once."""
        return cls(zlib.compress(np.diff(numbers, prepend=0).tobytes(), 1))

    @classmethod
    def by_partition(cls, numbers: Numbers, firsts: Mapping[int, int]) -> dict[int, Self]:
        """Keep those of each partition that has some, so that its task unpacks no others.

        Args:
            numbers: in any order and any number of times; none is below the first row of all.
            firsts: the number of each partition's first row, by the partition's.
        """
        ordered, places = np.sort(numbers), sorted(firsts)
        # `np.unique` of NumPy 2.4 takes fifty times as long.
        ordered = ordered[np.diff(ordered, prepend=-1) > 0]
        starts = np.searchsorted(ordered, [firsts[place] for place in places]).tolist()
        cut = zip(places, pairwise([*starts, len(ordered)]), strict=True)
        return {place: cls.of(ordered[a:b]) for place, (a, b) in cut if a < b}

    def unpacked(self) -> Numbers:
        """Return them in order."""
        steps = np.frombuffer(zlib.decompress(self.packed), np.int64)
        return np.cumsum(steps)


def among(numbers: Numbers, wanted: Numbers) -> npt.NDArray[np.bool_]:
    """Say which of some numbers are among those that are wanted, which are in order."""
    if not len(wanted):
        return np.zeros(len(numbers), np.bool_)
    at = np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)
    found: npt.NDArray[np.bool_] = wanted[at] == numbers
    return found
