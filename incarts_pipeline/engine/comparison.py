"""Comparison of two nights: which keys are quiet, which are open, and which are gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from incarts_pipeline.engine.grouped import Groups, is_among
from incarts_pipeline.engine.records import Found, Records
from incarts_pipeline.engine.snapshot import Before, records_of

Hashes = tuple[Any, Any]  # of keys: the lower halves, in order, and the upper ones


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What became of all keys since the last night.

    `rows` and `keys` count the quiet ones, but for those that are `asked` for all the same; `gone`
    are keys that the catalog has no longer, by their bucket; `stale` are buckets in which rows are
    in other files than they were; `files` are those with rows of open keys and of those asked for.
    """

    rows: int = 0
    keys: int = 0
    open: Hashes = field(default_factory=lambda: in_order([]))
    gone: dict[int, Hashes] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)
    files: set[int] = field(default_factory=set)


def compare(records: Records, before: Before, unread: set[int], asked: Hashes) -> Comparison:
    """Compare tonight's records with the last night's snapshot, a bucket at a time.

    Args:
        records: those of the files that were read.
        before: the last night.
        unread: the numbers of files that are as they were; their rows are the snapshot's.
        asked: keys that are planned as soon as any other one is.
    """
    found, also = Comparison(), Comparison()
    opened: list[Hashes] = []
    for bucket in range(before.buckets):
        old, settled = records_of(before.snapshot(bucket))
        now = tonight(records, bucket, before.buckets, old, unread)
        groups = Groups.of(now)
        quiet = _compared(found, bucket, (old, settled), groups)
        _count(found, groups, quiet)
        is_asked = quiet & is_among(groups.low, groups.high, asked)
        _count(also, groups, is_asked)
        opened.append((groups.low[~quiet], groups.high[~quiet]))
        # In the order of the groups, each record says whether it is to be read.
        wanted = np.repeat(~quiet | is_asked, groups.rows)
        found.files |= set(np.unique(now["file"][groups.order[wanted]]).tolist())
    found.open = in_order(opened)
    if len(found.open[0]):
        found.rows -= also.rows
        found.keys -= also.keys
    return found


def as_it_was(before: Before) -> Comparison:
    """Return the comparison of a catalog whose files are all as they were, with nothing open."""
    counts = before.state["counts"].values()
    return Comparison(rows=sum(rows for rows, _ in counts), keys=sum(keys for _, keys in counts))


def tonight(records: Records, bucket: int, buckets: int, old: Found, unread: set[int]) -> Found:
    """Return all of tonight's records in a bucket, those of files that weren't read too."""
    now = records.bucket(bucket, buckets)
    if not unread:
        return now
    return np.concatenate([now, old[np.isin(old["file"], sorted(unread))]])


def _compared(
    found: Comparison, bucket: int, before: tuple[Found, Any], now: Groups
) -> npt.NDArray[np.bool_]:
    """Return which keys are quiet; note what is gone, and what is in another file."""
    old = Groups.of(before[0])
    quiet, at = now.found_in(old)
    if len(old.low):
        quiet &= old.all_of(before[1])[at]
        for one, other in zip(now.content, old.content, strict=True):
            quiet &= one == other[at]
        if (quiet & (now.places != old.places[at])).any():
            found.stale.add(bucket)
    left, _ = old.found_in(now)
    if not left.all():
        found.gone[bucket] = (old.low[~left], old.high[~left])
    return quiet


def _count(found: Comparison, groups: Groups, quiet: npt.NDArray[np.bool_]) -> None:
    found.rows += int(groups.rows[quiet].sum())
    found.keys += int(quiet.sum())


def in_order(parts: list[Hashes]) -> Hashes:
    """Return the hashes of keys together, in the order of their lower halves."""
    low = np.concatenate([np.empty(0, np.uint64), *(one for one, _ in parts)])
    high = np.concatenate([np.empty(0, np.uint64), *(other for _, other in parts)])
    order = np.argsort(low, kind="stable")
    return low[order], high[order]


def hashes_of(seen: pa.RecordBatch) -> Hashes:
    """Return the hashes of a batch of `KEYS` or `SEEN`, in order."""
    return in_order([halves_of(seen)])


def halves_of(seen: pa.RecordBatch) -> Hashes:
    """Return the same in the order of the rows."""
    return np.asarray(seen["key_low"]), np.asarray(seen["key_high"])
