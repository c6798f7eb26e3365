"""Nights: what of a catalog has to be planned tonight, after what was seen the last night.

    read ─► hash ─► compare, bucket by bucket ─► read the rows of open keys again ─► plan them

Keys whose rows are all as they were, and all had their link, are quiet (`plan.quiet`). Where that
can't be known, everything is planned, and seen on the way for the next night.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain, takewhile
from typing import Any

import numpy as np
import pyarrow as pa

from incarts_pipeline.catalog import Catalog
from incarts_pipeline.engine.comparison import (
    Comparison,
    as_it_was,
    compare,
    halves_of,
    hashes_of,
    in_order,
)
from incarts_pipeline.engine.grouped import Groups, is_among
from incarts_pipeline.engine.hashes import keys_of, seen, seen_keys
from incarts_pipeline.engine.key_digits import KeyDigits
from incarts_pipeline.engine.records import Records
from incarts_pipeline.engine.snapshot import Before, File, files_of, records_of, table_of
from incarts_pipeline.mapping import Mapping as LinkMapping
from incarts_pipeline.plan import GONE, QUIET, SEEN_ROWS, Quiet
from incarts_pipeline.prepare import Chosen, Placed, on_all_cores

# As a share of the rows: with more of them, reading all of it once is faster.
_MOST_OPEN = 0.25
_FEW_OPEN = 10_000  # rows


class Night:
    """One night's look at a catalog, and what it leaves to the next one.

    Attributes:
        is_part: whether the rows that are to be planned are those of open keys alone.
    """

    def __init__(
        self,
        catalog: Catalog,
        mapping: LinkMapping,
        chosen: Chosen,
        *,
        stamp: Mapping[str, Any],
        before: Before | None,
    ) -> None:
        """Look at the catalog, as far as there is a last night to compare it with.

        Args:
            catalog: what is planned.
            mapping: which rows and columns of it count.
            chosen: lets the rows through.
            stamp: all that decides what becomes of a row beside the row and the ledger, as JSON has
                it.
            before: the last night, None where there is none that the ledger still agrees with.
        """
        self._catalog, self._mapping, self._chosen = catalog, mapping, chosen
        self._stamp = _as_json(stamp)
        self._before = before if before is not None and self._goes_on_from(before) else None
        self.is_part = self._before is not None
        self._parts = {part.name: part for part in catalog.parts}
        self._files, self._unchanged = files_of(self._parts, self._before)
        self._records = Records()
        self._open: list[pa.Array] = []  # row keys
        self._doubts = in_order([])
        self._unsettled: dict[str, int] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._found, self._first = Comparison(), in_order([])
        if self._before is not None:
            self._counts |= self._before.state["counts"]
            self._unsettled |= self._before.state["unsettled"]
            try:
                self._compare(self._before)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Drop what was seen."""
        self._records.close()

    def _goes_on_from(self, before: Before) -> bool:
        """Say whether what was seen last night still tells what is to be done."""
        state = before.state
        if state.get("stamp") != self._stamp or not self._catalog.reopenable:
            return False
        rows = sum(one["rows"] for one in state["files"].values())
        return bool(sum(state["unsettled"].values()) <= max(_FEW_OPEN, _MOST_OPEN * rows))

    def _compare(self, before: Before) -> None:
        unread = {self._files[name].number for name in self._unchanged}
        known = before.state["files"]
        if not self._unsettled and known.keys() == self._files.keys() == self._unchanged:
            self._found = as_it_was(before)
            return
        self._look()
        # A key's rows are planned together, or not at all.
        self._first = in_order([hashes_of(seen_keys(keys)) for keys in self._first_keys()])
        self._found = compare(self._records, before, unread, self._first)

    def _look(self) -> None:
        """Hash the rows of all files that aren't as they were."""

        def placed() -> Iterator[tuple[File, Placed]]:
            for name in self._parts:
                if name not in self._unchanged:
                    file = self._files[name]
                    yield from ((file, one) for one in self._chosen_of(name, file))

        for file, found in on_all_cores(lambda one: (one[0], self._hashed(one[1])), placed()):
            self._see(file, *found)

    def _chosen_of(self, name: str, file: File) -> Iterator[Placed]:
        """Yield a file's rows that the mapping is about, and count them."""
        first, selection = self._first_row(name), self._chosen.selection
        left_out = selection.left_out

        def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                file.rows += batch.num_rows
                yield batch

        batches = self._catalog.batches_of(self._parts[name], first)
        yield from self._chosen.of(counted(batches), first_row=first)
        file.left_out = selection.left_out - left_out

    def _first_row(self, name: str) -> int:
        before = takewhile(lambda other: other != name, self._files)
        return sum(self._files[other].rows for other in before)

    def _hashed(self, placed: Placed) -> tuple[pa.RecordBatch, KeyDigits]:
        keys = keys_of(placed.batch, self._mapping)
        return seen(placed.batch, self._mapping), KeyDigits.of(keys)

    def _see(self, file: File, found: pa.RecordBatch, digits: KeyDigits) -> None:
        self._records.add(found, file.number)
        file.digits = KeyDigits.of_all([file.digits, digits])

    def _again(self, name: str) -> Iterator[Placed]:
        """Read a file's rows once more."""
        first, chosen = self._first_row(name), Chosen(None, self._catalog.schema, self._mapping)
        return chosen.of(self._catalog.batches_of(self._parts[name], first), first_row=first)

    def _first_keys(self) -> Iterator[pa.StringArray]:
        for name in self._parts:
            for placed in self._again(name):
                early = placed.kept(np.asarray(placed.rows) < SEEN_ROWS)
                yield keys_of(early.batch, self._mapping)
                if placed.rows[-1].as_py() >= SEEN_ROWS:
                    return

    def rows(self) -> Iterator[Placed]:
        """Yield the rows that are to be planned: all of them, or those of open keys."""
        if self._before is None:
            for name, file in self._files.items():
                for placed in self._chosen_of(name, file):
                    self._see(file, *self._hashed(placed))
                    yield placed
        elif len(self._found.open[0]):
            yield from self._open_rows()
        selection = self._chosen.selection
        selection.left_out = sum(file.left_out for file in self._files.values())
        self._chosen.rows = sum(file.kept for file in self._files.values())
        self._catalog.warnings += selection.told()
        if self._catalog.fingerprint is not None:
            self._catalog.fingerprint.check()

    def _open_rows(self) -> Iterator[Placed]:
        asked = in_order([self._found.open, self._first])
        for name, file in self._files.items():
            if file.number not in self._found.files:
                continue
            for placed in self._again(name):
                keys = keys_of(placed.batch, self._mapping)
                hashes = halves_of(seen_keys(keys))
                self._open.append(keys.filter(pa.array(is_among(*hashes, self._found.open))))
                kept = placed.kept(is_among(*hashes, asked))
                if kept.batch.num_rows:
                    yield kept

    def quiet(self, link_sets: Iterable[str]) -> Quiet | None:
        """Return what a plan has to know of the other rows; None where it is given all of them."""
        if self._before is None:
            return None
        digits = asdict(KeyDigits.of_all(file.digits for file in self._files.values()))
        counts = {"row_count": self._found.rows, "key_count": self._found.keys, **digits}
        gone = list(self._gone(self._before))
        return Quiet(
            counts=pa.Table.from_pylist(
                [{"link_set": name, **counts} for name in link_sets], schema=QUIET
            ),
            gone=chain(gone, self._before.missing_keys()),
            open_keys=self._open_keys(gone),
        )

    def _gone(self, before: Before) -> Iterator[pa.RecordBatch]:
        """Yield the keys of last night's rows that are there no longer."""
        for bucket, hashes in self._found.gone.items():
            keys = before.row_keys(bucket).unique().drop_null()
            mask = is_among(*halves_of(seen_keys(keys)), hashes)
            yield pa.record_batch([keys.filter(pa.array(mask))], schema=GONE)

    def _open_keys(self, gone: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield these, and the open keys of the rows that were read by now."""
        yield from gone
        for keys in self._open:
            yield pa.record_batch([keys.drop_null()], schema=GONE)

    def note_unsettled(self, keys: pa.Array) -> None:
        """Note keys that stay open whatever is published of their rows."""
        self._doubts = hashes_of(seen_keys(keys))

    @property
    def base(self) -> bytes:
        """The checksum of the manifest that was gone on from, empty where none was."""
        return b"" if self._before is None else self._before.sha256

    @property
    def state(self) -> dict[str, Any]:
        """What the next night needs beside the tables of all buckets; ask when they are made."""
        return _as_json(
            {
                "stamp": self._stamp,
                "files": {name: file.said() for name, file in self._files.items()},
                "unsettled": self._unsettled,
                "counts": self._counts,
            }
        )

    def is_stale(self, bucket: int) -> bool:
        """Say whether a bucket's table is another one though nothing of its rows is."""
        return bucket in self._found.stale

    def table(self, bucket: int, buckets: int, unsettled: pa.Array) -> pa.Table:
        """Return a bucket's part of the snapshot, a table of `STATE`.

        Args:
            bucket: its number.
            buckets: how many there are; those of the last night, where a part was planned.
            unsettled: the keys of those rows now in the published bucket that did not simply have
                their link; null for rows without a key.
        """
        records = self._records.bucket(bucket, buckets)
        if self._before is not None and self._unchanged:
            unread = {self._files[name].number for name in self._unchanged}
            old, _ = records_of(self._before.snapshot(bucket))
            records = np.concatenate([records, old[np.isin(old["file"], sorted(unread))]])
        groups = Groups.of(records)
        open_keys = in_order([hashes_of(seen_keys(unsettled)), self._doubts])
        found = table_of(records, groups, open_keys)
        self._counts[str(bucket)] = (found.num_rows, len(groups.starts))
        self._unsettled.pop(str(bucket), None)
        if open_rows := found.num_rows - (found["settled"].to_numpy().sum()):
            self._unsettled[str(bucket)] = int(open_rows)
        return found


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value as it comes back from JSON, so that both are equal."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found
