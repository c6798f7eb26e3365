"""Snapshot: what a night leaves of the catalog's rows to the next one, bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from incarts_pipeline.catalog import Part
from incarts_pipeline.engine.grouped import Groups, column, is_among
from incarts_pipeline.engine.hashes import SEEN
from incarts_pipeline.engine.key_digits import KeyDigits
from incarts_pipeline.engine.records import RECORD, Found

# A record per catalog row, in order. `file` is the number of the file that has it, by
# `File.number`; `settled` says that the key's rows all had their link, and nothing was open.
STATE = pa.schema(
    [
        *SEEN,
        pa.field("file", pa.uint32(), nullable=False),
        pa.field("settled", pa.bool_(), nullable=False),
    ]
)


class Before(Protocol):
    """What the last night published of the same catalog, as the ledger still has it."""

    @property
    def state(self) -> Mapping[str, Any]:
        """What that night's `Night.state` was."""

    @property
    def sha256(self) -> bytes:
        """The checksum of the manifest that says so."""

    @property
    def buckets(self) -> int:
        """In how many buckets its rows are: a power of two."""

    def snapshot(self, bucket: int) -> pa.Table:
        """Return a bucket's table of `STATE`."""

    def row_keys(self, bucket: int) -> pa.Array:
        """Return the keys of the rows that are published in a bucket."""

    def missing_keys(self) -> Iterator[pa.RecordBatch]:
        """Yield the keys of all links whose row had left the catalog, batches of `plan.GONE`."""


@dataclass(slots=True, kw_only=True)
class File:
    """A file of the catalog: its number in the snapshot, and what its rows come to together.

    `rows` are all that it has, `left_out` those that the mapping's filter leaves out.
    """

    number: int
    state: list[Any] | None
    rows: int = 0
    left_out: int = 0
    digits: KeyDigits = field(default_factory=KeyDigits)

    @property
    def kept(self) -> int:
        """How many of its rows the mapping is about."""
        return self.rows - self.left_out

    def said(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "number": self.number,
            "state": self.state,
            "rows": self.rows,
            "left_out": self.left_out,
            "digits": asdict(self.digits),
        }

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> File:
        """Return what `said` was made of."""
        return cls(**{**said, "digits": KeyDigits(**said["digits"])})


def files_of(parts: Mapping[str, Part], before: Before | None) -> tuple[dict[str, File], set[str]]:
    """Return a catalog's files by their names, and those that are as they were the last night.

    A file keeps its number as long as it is there, so that no record of it has to be written again.
    """
    known = {
        name: File.read(one) for name, one in (before.state["files"] if before else {}).items()
    }
    unchanged: set[str] = set()
    files: dict[str, File] = {}
    free = max((one.number for one in known.values()), default=-1) + 1
    for name, part in parts.items():
        state = None if part.state is None else list(part.state)
        old = known.get(name)
        if old is not None and state is not None and old.state == state:
            files[name] = old
            unchanged.add(name)
            continue
        number = old.number if old is not None else free
        free += old is None
        files[name] = File(number=number, state=state)
    return files, unchanged


def records_of(table: pa.Table) -> tuple[Found, Any]:
    """Return the records of a snapshot, and which of them are settled."""
    found = np.empty(table.num_rows, RECORD)
    for name in RECORD.names or ():
        found[name] = table[name]
    return found, table["settled"].to_numpy()


def table_of(records: Found, groups: Groups, open_keys: tuple[Any, Any]) -> pa.Table:
    """Return the snapshot of records, of which some keys (by their hashes) are not settled."""
    settled = ~is_among(records["key_low"], records["key_high"], open_keys)
    order = groups.order
    if len(groups.starts) < len(records):  # rows of one key are in no order yet
        order = np.lexsort([records[name] for name in reversed(RECORD.names or ())])
    columns = [pa.array(column(records, name)[order]) for name in RECORD.names or ()]
    return pa.Table.from_arrays([*columns, pa.array(settled[order])], schema=STATE)
