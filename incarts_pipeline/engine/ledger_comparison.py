"""Comparison of link requests with the ledger's links: which keys are quiet, open, and gone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.engine.comparison import Hashes, halves_of
from incarts_pipeline.engine.grouped import Groups, is_among
from incarts_pipeline.engine.hashes import seen_keys
from incarts_pipeline.engine.records import RECORD
from incarts_pipeline.plan import SEEN_ROWS

# A link request as it is compared: `row_low` and `row_high` are a hash of its link set, key and
# content, `link_set` is the place of its set in the mapping. There are no files. All numbers lie
# where processors read them at once.
REQUEST = np.dtype([*RECORD.descr, ("link_set", "<u4"), ("catalog_row", "<i8")])
# A link of the ledger; `is_open` where it is missing or disputed, or has no content, or an
# operation of its row has no link.
LINK = np.dtype([*RECORD.descr, ("is_open", "<u4")])
Records: TypeAlias = npt.NDArray[np.void]
Order: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What became of the keys of some requests.

    Attributes:
        is_given: of each request, whether it is to be planned.
        is_gone: of each link, whether no request has its key.
        open: the hashes of keys about which something is open.
        counts: of the other requests, by the place of their set: how many, with how many keys.
    """

    is_given: npt.NDArray[np.bool_]
    is_gone: npt.NDArray[np.bool_]
    open: Hashes
    counts: Sequence[tuple[int, int]]


def compare_with_links(requests: Records, links: Records, sets: int) -> Compared:
    """Compare all link requests of some keys, of so many sets, with all links of these keys."""
    groups, order = Groups.of(requests), np.argsort(links["key_low"])
    settled = np.empty(len(requests), np.bool_)
    settled[groups.order] = _have_link(requests, groups.order, links, order, sets)
    quiet = groups.all_of(settled)
    first = np.full(len(quiet), SEEN_ROWS)
    if len(quiet):
        first = np.minimum.reduceat(requests["catalog_row"][groups.order], groups.starts)
    left_out = quiet & (first >= SEEN_ROWS)
    key = np.empty(len(requests), np.int64)  # which group each request is in
    key[groups.order] = np.repeat(np.arange(len(quiet)), groups.rows)
    is_given, sets_of = ~left_out[key], requests["link_set"]
    is_gone = np.empty(len(links), np.bool_)
    keys = links["key_low"][order], links["key_high"][order]
    is_gone[order] = ~is_among(*keys, (groups.low, groups.high))
    return Compared(
        is_given=is_given,
        is_gone=is_gone,
        open=(groups.low[~quiet], groups.high[~quiet]),
        counts=[_count(key[~is_given & (sets_of == at)]) for at in range(sets)],
    )


def _have_link(
    requests: Records, order: Order, links: Records, links_order: Order, sets: int
) -> npt.NDArray[np.bool_]:
    """Return which requests have the link of their content, in the order of their keys.

    Both are gone through in that order: in any other one, looking up costs several times as much.
    """
    found = np.zeros(len(requests), np.bool_)
    low, high = requests["row_low"][order], requests["row_high"][order]
    at = np.searchsorted(links["key_low"][links_order], requests["key_low"][order])
    for step in range(sets if len(links) else 0):  # a key has a link in each set at most
        there = links_order[np.minimum(at + step, len(links) - 1)]
        is_same = (links["row_low"][there] == low) & (links["row_high"][there] == high)
        found |= is_same & (links["is_open"][there] == 0)
    return found


def _count(keys: npt.NDArray[np.int64]) -> tuple[int, int]:
    return len(keys), int(np.count_nonzero(np.bincount(keys)))


def requests_of(requests: pa.RecordBatch | pa.Table, link_sets: Sequence[str]) -> Records:
    """Return link requests that have a key as they are compared.

    Args:
        requests: with `catalog_row`, `link_set`, `row_key` and `content_hash`.
        link_sets: those of the mapping.
    """
    found = np.empty(requests.num_rows, REQUEST)
    places = pc.index_in(requests["link_set"], value_set=pa.array(link_sets, pa.string()))
    found["catalog_row"], found["link_set"] = requests["catalog_row"], places
    keys, hashes = (_flat(requests[name]) for name in ("row_key", "content_hash"))
    return _filled(found, keys, hashes, np.array([_salt(name) for name in link_sets])[places])


def links_of(link_set: str, keys: pa.Array, hashes: pa.Array, is_open: pa.Array) -> Records:
    """Return links of one set as they are compared; those without a content are open."""
    found = np.empty(len(keys), LINK)
    found["is_open"] = pc.or_(is_open, hashes.is_null()).to_numpy(zero_copy_only=False)
    return _filled(found, keys, hashes, np.broadcast_to(_salt(link_set), (len(keys), 2)))


def checksum(requests: Records) -> int:
    """Return what is another one where rows, keys, sets or contents are, modulo 2^64; it adds."""
    rows = requests["catalog_row"].astype(np.uint64) * np.uint64(2) + np.uint64(1)
    return int((requests["row_low"] * rows).sum())


def _filled(
    records: Records, keys: pa.StringArray, hashes: pa.BinaryArray, salts: npt.NDArray[np.uint64]
) -> Records:
    low, high = halves_of(seen_keys(keys))
    content = _halves(hashes)
    records["key_low"], records["key_high"], records["file"] = low, high, 0
    # All three are hashes of their own: what is alike in all of it is the same link.
    records["row_low"] = low ^ content[:, 0] ^ salts[:, 0]
    records["row_high"] = high ^ content[:, 1] ^ salts[:, 1]
    return records


def _halves(hashes: pa.BinaryArray) -> npt.NDArray[np.uint64]:
    """Return the first 128 bits of SHA-256 hashes, zeros for null."""
    fixed = hashes.fill_null(bytes(32)).cast(pa.binary(32))
    data = np.frombuffer(fixed.buffers()[1] or b"", "<u8", 4 * len(fixed), 32 * fixed.offset)
    return data.reshape(-1, 4)[:, :2]


def _salt(link_set: str) -> npt.NDArray[np.uint64]:
    return np.frombuffer(hashlib.md5(link_set.encode(), usedforsecurity=False).digest(), "<u8")


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def joined(parts: Iterable[bytes], kind: np.dtype[np.void]) -> Records:
    """Return records that were passed on as bytes."""
    return np.concatenate([np.empty(0, kind), *(np.frombuffer(part, kind) for part in parts)])
