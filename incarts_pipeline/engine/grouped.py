"""Groups of records: those of one key together, with what tells one set of rows from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from incarts_pipeline.engine.records import Found

Numbers = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The keys of some records in order of their hashes, each with what its rows come to.

    Rows of a key are alike when their number and the sums of both halves of their hashes are,
    modulo 2^64: a sum knows no order. `places` tells in the same way in which files they are.
    """

    low: Numbers
    high: Numbers
    rows: npt.NDArray[np.int64]
    sum_low: Numbers
    sum_high: Numbers
    places: Numbers
    order: npt.NDArray[np.int64]  # of the records, group by group
    starts: npt.NDArray[np.int64]  # of each group in it

    @classmethod
    def of(cls, records: Found) -> Self:
        """Group records by their keys."""
        key_low, key_high = column(records, "key_low"), column(records, "key_high")
        order = np.argsort(key_low, kind="stable")
        low, high = key_low[order], key_high[order]
        # Two keys with one lower half are as rare as nothing else here, and not to be mixed up.
        if ((low[1:] == low[:-1]) & (high[1:] != high[:-1])).any():
            order = np.lexsort((key_high, key_low))
            low, high = key_low[order], key_high[order]
        first = np.ones(len(low), np.bool_)
        first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
        starts = np.flatnonzero(first)
        row_low = column(records, "row_low")[order]
        files = column(records, "file")[order].astype(np.uint64)
        return cls(
            low=low[starts],
            high=high[starts],
            rows=np.diff(np.append(starts, len(low))),
            sum_low=_sums(row_low, starts),
            sum_high=_sums(column(records, "row_high")[order], starts),
            places=_sums(row_low * (files * np.uint64(2) + np.uint64(1)), starts),
            order=order,
            starts=starts,
        )

    @property
    def content(self) -> tuple[Any, ...]:
        """What is equal for keys whose rows are alike."""
        return self.rows, self.sum_low, self.sum_high

    def found_in(self, other: Groups) -> tuple[Mask, npt.NDArray[np.int64]]:
        """Return which keys another one has too, and where."""
        at = np.searchsorted(other.low, self.low)
        at[at == len(other.low)] = 0
        if not len(other.low):
            return np.zeros(len(self.low), np.bool_), at
        return (other.low[at] == self.low) & (other.high[at] == self.high), at

    def all_of(self, mask: Mask) -> Mask:
        """Return for which keys a mask over the records is true of all."""
        if not len(self.starts):
            return np.zeros(0, np.bool_)
        return np.logical_and.reduceat(mask[self.order], self.starts)


def column(records: Found, name: str) -> npt.NDArray[Any]:
    """Return a field of records by itself: gathered from between others it takes six times."""
    return np.ascontiguousarray(records[name])


def is_among(low: Numbers, high: Numbers, keys: tuple[Numbers, Numbers]) -> Mask:
    """Say which hashes are among those of some keys, which are in order of their lower halves."""
    keys_low, keys_high = keys
    if not len(keys_low):
        return np.zeros(len(low), np.bool_)
    at = np.minimum(np.searchsorted(keys_low, low), len(keys_low) - 1)
    # Two keys may have one lower half; three are rarer than anything else that goes wrong.
    then = np.minimum(at + 1, len(keys_low) - 1)
    found: Mask = (keys_low[at] == low) & (keys_high[at] == high)
    found |= (keys_low[then] == low) & (keys_high[then] == high)
    return found


def _sums(values: Numbers, starts: npt.NDArray[np.int64]) -> Numbers:
    if not len(starts):
        return np.empty(0, np.uint64)
    return np.add.reduceat(values, starts)
