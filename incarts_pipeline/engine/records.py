"""Records: what was seen of a catalog's rows, kept in a temporary file by the hashes of their keys.

The file is written in runs, each sorted by some bits of the key, so that all records of a bucket
can be read from it whatever the number of buckets turns out to be.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from incarts_pipeline.engine.hashes import SEEN

RECORD = np.dtype([*((name, "<u8") for name in SEEN.names), ("file", "<u4")])
Found: TypeAlias = npt.NDArray[np.void]  # of RECORD

_MOST_BUCKETS = 4_096
_RUN_RECORDS = 500_000


class Records:
    """Records of the rows of one catalog; `add` all of them, then read bucket by bucket."""

    def __init__(self) -> None:
        self.rows = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` does it
        self._waiting: list[Found] = []
        self._waits = 0
        self._runs: list[npt.NDArray[np.int64]] = []  # where each of the finest buckets begins

    def add(self, seen: pa.RecordBatch, file: int) -> None:
        """Keep the hashes of some rows (`SEEN`), and the number of the file that has them."""
        found = np.empty(seen.num_rows, RECORD)
        for name in SEEN.names:
            found[name] = seen[name]
        found["file"] = file
        self.rows += len(found)
        self._waiting.append(found)
        self._waits += len(found)
        if self._waits >= _RUN_RECORDS:
            self._write()

    def _write(self) -> None:
        if not self._waits:
            return
        run = np.concatenate(self._waiting)
        self._waiting, self._waits = [], 0
        finest = (run["key_low"] & np.uint64(_MOST_BUCKETS - 1)).astype(np.uint16)
        order = np.argsort(finest, kind="stable")
        begins = self._runs[-1][-1] if self._runs else 0
        counts = np.bincount(finest, minlength=_MOST_BUCKETS)
        self._runs.append(np.concatenate([[0], np.cumsum(counts)]) + begins)
        self._file.seek(0, os.SEEK_END)
        # As plain bytes: field by field it takes five times.
        self._file.write(np.take(run.view(f"V{RECORD.itemsize}"), order).data)

    def bucket(self, number: int, buckets: int) -> Found:
        """Return the records whose key is in a bucket of so many, at most 4,096, a power of two."""
        self._write()
        parts = [*self._slices(number, buckets)]
        return np.concatenate(parts) if parts else np.empty(0, RECORD)

    def _slices(self, number: int, buckets: int) -> Iterator[Found]:
        size = RECORD.itemsize
        for begins in self._runs:
            for finest in range(number, _MOST_BUCKETS, buckets):
                start, end = int(begins[finest]), int(begins[finest + 1])
                if start < end:
                    self._file.seek(start * size)
                    yield np.frombuffer(self._file.read((end - start) * size), RECORD)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def bucket_of(key_low: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.int64]:
    """Return the buckets of keys by the lower halves of their hashes."""
    return (key_low & np.uint64(buckets - 1)).astype(np.int64)
