"""Quiet rows: what a plan has to know of the catalog rows that it need not look at.

A row key is quiet while each of its rows has the link of its content already, and nothing about it
is open: no row of it can come to anything but `unchanged`. All that a plan knows of other rows than
the one that it decides on is in their numbers, and in the lengths of their keys. These add up, so
the quiet rows of a catalog may be counted part by part, wherever and in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

# Quiet rows of one link set in one part of a catalog: `row_count` catalog rows with `key_count`
# different keys. `longest` is the length of the longest key of two or more digits and nothing else,
# `shortest_padded` that of the shortest such key that begins with a zero, `padded_key` the first
# one in alphabetical order: null where there are none. These three may be of the whole catalog.
QUIET = pa.schema(
    [
        pa.field("link_set", pa.string(), nullable=False),
        pa.field("row_count", pa.int64(), nullable=False),
        pa.field("key_count", pa.int64(), nullable=False),
        pa.field("longest", pa.int64()),
        pa.field("shortest_padded", pa.int64()),
        pa.field("padded_key", pa.string()),
    ]
)
GONE = pa.schema([pa.field("row_key", pa.string(), nullable=False)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """The catalog rows that a plan isn't given, and the keys that the catalog doesn't have.

    A plan over the other rows is the plan over all of them, equal to the byte, as long as

    - the requests of a row key are given for all its rows and link sets, or for none of them;
    - each one that isn't given has the link of its content, which isn't missing or disputed, and no
      operation of its row is open;
    - the rows before `odd_ids.SEEN_ROWS` are given: what ids usually look like is seen in them.

    Attributes:
        counts: a table of `QUIET`, any number of rows for a link set: they add up.
        gone: batches of `GONE`: the keys of all links whose row the catalog doesn't have, whether
            that is new or not; others do no harm.
        open_keys: batches of `GONE`: those of these keys that are new, and the keys of those rows
            that are given because something about them is open; read once the requests were.
    """

    counts: pa.Table
    gone: Iterable[pa.RecordBatch] = ()
    open_keys: Iterable[pa.RecordBatch] = ()


class Seen(Protocol):
    """What was seen of a catalog's rows, for the next night to go on from (`engine.Night`)."""

    @property
    def base(self) -> bytes:
        """The checksum of the manifest that it goes on from, empty where it goes on from none."""

    @property
    def state(self) -> Mapping[str, Any]:
        """What of it a manifest has, as JSON; ask when all tables are made."""

    def is_stale(self, bucket: int) -> bool:
        """Say whether a bucket's table is another one though nothing of its rows is."""

    def table(self, bucket: int, buckets: int, unsettled: pa.Array) -> pa.Table:
        """Return a bucket's table; `unsettled` are the keys of rows that are open once more."""

    def close(self) -> None:
        """Drop what was seen."""
