"""Placed rows: a batch of a table, and where in the whole table each of its rows stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Placed(NamedTuple):
    """Rows, and the number of each in the whole catalog, from 0 (int64)."""

    batch: pa.RecordBatch
    rows: pa.Int64Array

    @classmethod
    def at(cls, batch: pa.RecordBatch, first_row: int) -> Self:
        """Return a batch of rows that stand one behind the other."""
        return cls(batch, pa.array(np.arange(first_row, first_row + batch.num_rows)))

    def kept(self, mask: pa.BooleanArray | npt.NDArray[np.bool_]) -> Self:
        """Return the rows where a mask is true."""
        mask = mask if isinstance(mask, pa.Array) else pa.array(mask)
        if mask.true_count == len(mask):
            return self
        return type(self)(self.batch.filter(mask), self.rows.filter(mask))


def numbered(batches: Iterable[pa.RecordBatch], first_row: int = 0) -> Iterator[Placed]:
    """Yield the batches of a whole table with the numbers of their rows."""
    for batch in batches:
        yield Placed.at(batch, first_row)
        first_row += batch.num_rows
