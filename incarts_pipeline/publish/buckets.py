"""Buckets: the files of a dataset, each with the rows whose keys' hashes fall into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.errors import PublishError
from incarts_pipeline.publish.files import cleaned, files_of, put_table, resolve
from incarts_pipeline.publish.manifest import as_written
from incarts_pipeline.publish.output import Output, Written, facts_of, lasting, metadata_of
from incarts_pipeline.publish.rows import BATCH, Publication, lacking

BUCKET_ROWS = 250_000
_BUCKETS = "buckets"  # a fact in the metadata of each of them: how many there are
_MOST_BUCKETS = 4_096
_GROWS_AT = 4  # times so many rows as a bucket is meant to have
_COLUMN = "incarts.bucket"


def bucket_of(row_key: str, buckets: int) -> int:
    """Return the bucket that a row is in, as `queries.BUCKET` does."""
    digest = hashlib.md5(row_key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest, "little") % buckets


def bucket_schema(work: Publication, buckets: int) -> pa.Schema:
    """Return the columns and the facts of a bucket's file."""
    return work.schema.with_metadata(metadata_of({**work.facts, _BUCKETS: str(buckets)}))


def how_many(rows: int, output: Output) -> int:
    """Return the number of buckets for so many rows: as before, unless they have outgrown that.

    When there are more, a row's new bucket is written after its old one: it may be lacking in
    between, but is never there twice.
    """
    wanted = 1
    while wanted < _MOST_BUCKETS and wanted * BUCKET_ROWS < rows:
        wanted *= 2
    found = [1]
    for target in files_of(output.links):
        filesystem, path = resolve(target)
        with suppress(pa.ArrowInvalid, OSError):  # a damaged one is written again
            facts = facts_of(pq.read_schema(path, filesystem=filesystem))
            found.append(int(facts.get(_BUCKETS, 1)))
    before = max(found)
    return wanted if rows > before * BUCKET_ROWS * _GROWS_AT or before == 1 else before


def check_whole(target: str, found: int, wanted: int) -> None:
    """Refuse to put rows in place of which some are lacking; raises PublishError."""
    if found != wanted:
        raise lacking(target, found, wanted)


def changed_since(target: str) -> PublishError:
    """Return the error of a place that is no longer what a part was planned on."""
    return PublishError(
        f"{target} was changed after its rows were compared with the catalog.",
        fix="Run again: the table is then made anew. What was answered is in the ledger.",
    )


def by_bucket(
    batches: Iterable[pa.RecordBatch], buckets: int
) -> Iterator[tuple[int, list[pa.RecordBatch]]]:
    """Yield the batches of each bucket, also of empty ones, from rows that are sorted by it."""
    number, held = 0, list[pa.RecordBatch]()
    for batch in batches:
        column = batch.column(_COLUMN).to_numpy()
        rest = batch.drop_columns([_COLUMN])
        starts = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
        for start, end in pairwise(starts):
            while end > start and number < column[start]:
                yield number, held
                number, held = number + 1, []
            held.append(rest.slice(start, end - start))
    while number < buckets:
        yield number, held
        number, held = number + 1, []


def put_changed(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: str) -> Written:
    """Write a table unless it is there already, but for the run that wrote it.

    Args:
        batches: what it has; all of it is held in memory.
        schema: its columns and facts.
        target: a path or URI.

    Returns:
        The file that is there then.
    """
    table, found = cleaned_rows(batches, schema), read_whole(target)
    if found is not None and is_same(found[0], table):
        return found[1]
    return put_rows(table, target)


def cleaned_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return rows with these columns and facts, without the secrets that others put into them."""
    return pa.Table.from_batches([cleaned(one.cast(schema)) for one in batches], schema)


def put_rows(table: pa.Table, target: str, *, like: str | None = None) -> Written:
    """Put a table's rows, which were cleaned, in place of a file; see `files.put`."""
    batches = table.combine_chunks().to_batches(max_chunksize=BATCH)
    return put_table(batches, table.schema, target, like=like)


def read_whole(target: str) -> tuple[pa.Table, Written] | None:
    """Read a whole file, at once; None when there is none, or none that can be read."""
    filesystem, path = resolve(target)
    try:
        with filesystem.open_input_file(path) as file:
            content = file.read_buffer()
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError):
        return None
    return table, as_written(content, table)


def is_same(old: pa.Table, new: pa.Table) -> bool:
    """Say whether two tables differ in nothing but the run that wrote them."""
    facts = [lasting(facts_of(table.schema)) for table in (old, new)]
    return facts[0] == facts[1] and old.schema.equals(new.schema) and old.equals(new)
