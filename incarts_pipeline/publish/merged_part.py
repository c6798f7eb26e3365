"""Merged part: the rows of open keys in place of the old ones, all others as they were published.

A part of a catalog is planned where all other rows are quiet. Of each bucket that has an open key,
or rows without any key, the new file has the old one's other rows and the part's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import NoteCode
from incarts_pipeline.publish import queries
from incarts_pipeline.publish.bucket_files import BucketFiles, buckets_of
from incarts_pipeline.publish.buckets import (
    bucket_of,
    bucket_schema,
    by_bucket,
    changed_since,
    check_whole,
    cleaned_rows,
    is_same,
    put_rows,
    read_whole,
)
from incarts_pipeline.publish.manifest import MISSING_FILE, Manifest
from incarts_pipeline.publish.output import Output, Written, metadata_of, within
from incarts_pipeline.publish.rows import BATCH, Counts, Publication, count
from incarts_pipeline.publish.state_files import StateFiles
from incarts_pipeline.schemas import MISSING

_PLACE = ["link_set", "row_key"]


@dataclass(slots=True, kw_only=True)
class _Merge:
    """How far a merge has come; `is_sure` until it may be not the whole."""

    base: Manifest
    output: Output
    place: BucketFiles
    files: dict[str, Written]
    counts: Counts
    keyless: int
    is_sure: bool

    def missing(self, keys: pa.Array, rows: pa.Table) -> None:
        """Merge rows into the missing ones."""
        old, goes, was = self._read(MISSING_FILE, keys, rows)
        if not is_same(opened := old.filter(goes), rows):
            target = within(self.output.links, MISSING_FILE)
            was = put_rows(merged(old, goes, opened, rows), target)
        self.files[MISSING_FILE] = was

    def bucket(self, number: int, keys: pa.Array, rows: pa.Table) -> pa.Table:
        """Merge rows into a bucket, and count; return all rows that it has now."""
        name = self.place.name(number)
        old, goes, was = self._read(name, keys, rows)
        opened, now = old.filter(goes), old
        if not is_same(opened, rows):
            now = merged(old, goes, opened, rows)
            name, was = self.place.put(number, now)
        self.files[name] = was
        self.counts.subtract(count(opened))
        self.counts.update(count(rows))
        self.keyless += rows["row_key"].null_count - opened["row_key"].null_count
        # A quiet row has another note when an open one comes to share its link, or ceases to.
        self.is_sure &= not (_shares(opened) or _shares(rows))
        return now

    def _read(
        self, name: str, keys: pa.Array, rows: pa.Table
    ) -> tuple[pa.Table, pa.ChunkedArray, Written]:
        """Read a file in which rows are to take the place of those of some keys, or of none.

        Returns:
            Its rows, which of them go, and what the file is.
        """
        target = within(self.output.links, name)
        found = read_whole(target)
        if found is None or not found[0].schema.equals(rows.schema):
            raise changed_since(target)
        old, was = found
        # Another one's file is no longer all that the quiet rows were taken from.
        meant = self.base.files.get(name)
        self.is_sure &= meant is not None and meant.sha256 == was.sha256
        return old, pc.or_(pc.is_in(old["row_key"], keys), pc.is_null(old["row_key"])), was


def merged(old: pa.Table, goes: pa.ChunkedArray, opened: pa.Table, rows: pa.Table) -> pa.Table:
    """Put rows in place of others.

    Args:
        old: all rows, in order.
        goes: which of them go.
        opened: just these.
        rows: what comes instead, in order.

    Returns:
        All rows in order, with the metadata of those that came.
    """
    both = pa.concat_tables([old.replace_schema_metadata(rows.schema.metadata), rows])
    if opened.select(_PLACE).equals(rows.select(_PLACE)):  # as on most nights: nothing to sort
        at = np.arange(old.num_rows)
        at[goes.to_numpy()] = np.arange(old.num_rows, both.num_rows)
        indices = pa.array(at)
        columns = [
            old[name] if opened[name].equals(rows[name]) else both[name].take(indices)
            for name in old.column_names
        ]
        return pa.table(columns, schema=rows.schema)
    stays = pa.chunked_array([*pc.invert(goes).chunks, pa.repeat(True, rows.num_rows)])
    by = [*_PLACE, *(name for name in ("catalog_row",) if name in old.column_names)]
    return both.filter(stays).sort_by([(name, "ascending") for name in by])


def merge_part(work: Publication, output: Output, base: Manifest) -> tuple[Manifest, bool]:
    """Merge a part's rows into a dataset.

    Returns:
        The manifest of what is there then, without the history; and whether the dataset is sure to
        be what would have been made of the whole catalog.

    Raises:
        PublishError: a file can't be written, or isn't what the plan was made on.
    """
    seen, workspace, buckets = work.plan.seen, work.plan.workspace, base.buckets
    schema = bucket_schema(work, buckets)
    place = buckets_of(output, schema)
    merge = _Merge(
        base=base,
        output=output,
        place=place,
        files={},
        counts=Counts(base.counts),
        keyless=base.keyless,
        is_sure=seen is None or seen.base == base.sha256,
    )
    keys = workspace.stream("SELECT DISTINCT row_key FROM open_key", BATCH).read_all()["row_key"]
    states = StateFiles(seen, output, buckets, base.below("_state/"))
    names = base.bucket_names()
    wanted = dict(workspace.db.execute(queries.BUCKETS.format(n=buckets)).fetchall())
    opened = by_bucket(workspace.stream(queries.OPEN_KEYS.format(n=buckets), BATCH), buckets)
    found = by_bucket(work.rows(output.links, Counts(), buckets), buckets)
    for (number, of_keys), (_, of_rows) in zip(opened, found, strict=True):
        name, keyless = names[number], number == bucket_of("", buckets) and merge.keyless
        if of_keys or of_rows or keyless:
            rows = cleaned_rows(of_rows, schema)
            check_whole(within(output.links, name), rows.num_rows, wanted.get(number, 0))
            states.write(number, merge.bucket(number, _keys_of(of_keys), rows))
        else:
            merge.files[name] = base.files[name]
            states.keep(number, name)
    place.finish(merge.files.keys(), work.facts)
    merge.files[MISSING_FILE] = base.files[MISSING_FILE]
    if len(keys):
        gone = work.missing().read_all().cast(MISSING.with_metadata(metadata_of(work.facts)))
        merge.missing(keys.combine_chunks(), gone)
    manifest = Manifest(
        facts=work.facts,
        buckets=buckets,
        counts=dict(sorted((kind, n) for kind, n in merge.counts.items() if n)),
        files=merge.files | states.files,
        keyless=merge.keyless,
        state=seen.state if seen is not None else {},
    )
    return manifest, merge.is_sure


def _keys_of(batches: list[pa.RecordBatch]) -> pa.Array:
    arrays = [batch.column("row_key") for batch in batches]
    return pa.concat_arrays(arrays) if arrays else pa.array([], pa.string())


def _shares(rows: pa.Table) -> bool:
    """Say whether one of the rows has a link that another one has as well."""
    codes = pc.struct_field(pc.list_flatten(rows["problems"]), "code")
    return bool(pc.any(pc.equal(codes, NoteCode.SHARED_LINK.value)).as_py())
