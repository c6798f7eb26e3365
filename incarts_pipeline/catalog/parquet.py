"""Parquet files as one table: columns by name, partitions as text, ids never as doubles."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyarrow.types as pt

from incarts_pipeline.catalog.arrow_types import Faults, usable_columns
from incarts_pipeline.catalog.catalog import Catalog, Part, cannot_read
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.paths import Located
from incarts_pipeline.catalog.repeated_text import (
    as_dictionaries,
    check_cells,
    in_parts,
    repeated_columns,
)
from incarts_pipeline.catalog.width import check_width
from incarts_pipeline.errors import CatalogError

_FOOTERS_AT_ONCE = 16  # a footer costs a round trip on an object store, and nothing else
_PROBED_ROWS = 1_024


def open_parquet(located: Located, options: ReadOptions) -> Catalog:
    """Open Parquet files; a column that only some of them have is null in the others.

    Columns of bytes that aren't marked as text, as old writers leave them, are text when the first
    1,024 rows are UTF-8.

    Args:
        located: the files, and the folder whose `key=value` parts are columns.
        options: of these only the batch size, the number of columns and the length of a text count.

    Raises:
        CatalogError: a file can't be read, or there are too many columns.
    """
    try:
        schema, faults = _merged(located)
        check_width(located.name, len(schema) + len(faults), options.max_columns)
        repeated = repeated_columns(located).intersection(
            field.name for field in schema if pt.is_string(field.type) or pt.is_binary(field.type)
        )
        raw = _dataset(located, as_dictionaries(schema, repeated), repeated)
        # Impala, Hive and older Spark write text as bytes without a mark. A guess by the first rows
        # is enough: the catalog checks every row, and names the one that isn't text.
        unmarked = [field.name for field in schema if pt.is_binary(field.type)]
        text = _decodable(raw, unmarked)
    except (pa.ArrowException, OSError) as error:
        raise cannot_read(located.name, error) from error
    final = pa.schema([pa.field(f.name, pa.string()) if f.name in text else f for f in schema])

    def rows_of(files: ds.Dataset, row: int) -> Iterator[pa.RecordBatch]:
        # Arrow's own readahead is made for throughput, and holds many row groups of wide tables.
        read = files.to_batches(
            batch_size=options.batch_rows, batch_readahead=2, fragment_readahead=1
        )
        for batch in read:
            check_cells(batch, row, located.name, options.max_line_bytes)
            row += batch.num_rows
            for part in in_parts(batch, schema):
                yield _as_text(part, final) if text else part

    def part_of(path: str) -> Part:
        def read(first_row: int) -> Iterator[pa.RecordBatch]:
            one = replace(located, paths=(path,))
            return rows_of(_dataset(one, raw.schema, repeated), first_row)

        return Part(name=path, read=read, state=located.fingerprint.states[path])

    return Catalog(
        located.name,
        final,
        lambda: rows_of(raw, 0),
        batch_rows=options.batch_rows,
        fingerprint=located.fingerprint,
        faults=faults,
        parts=[part_of(path) for path in located.paths],
    )


def _dataset(located: Located, schema: pa.Schema, repeated: frozenset[str]) -> ds.Dataset:
    keys = _partition_keys(located)
    # By a list of files, not a folder: what is hidden or of another kind is left out already, and a
    # glob keeps the partitions below its fixed part.
    factory = ds.FileSystemDatasetFactory(
        located.filesystem,
        list(located.paths),
        ds.ParquetFileFormat(dictionary_columns=repeated),
        ds.FileSystemFactoryOptions(
            partition_base_dir=located.base or "",
            partitioning=ds.HivePartitioning(
                pa.schema([field for field in schema if field.name in keys])
            )
            if keys
            else None,
        ),
    )
    return factory.finish(schema)


def _partition_keys(located: Located) -> list[str]:
    """Return the names of `key=value` parts below the base folder, in order."""
    if located.base is None:
        return []
    # In their order in the paths, which is the order of the columns.
    keys: dict[str, None] = {}
    for path in located.paths:
        for part in PurePosixPath(path).relative_to(located.base).parts[:-1]:
            key, found, _ = part.partition("=")
            if found and key:
                keys[key] = None
    return list(keys)


def _merged(located: Located) -> tuple[pa.Schema, Faults]:
    """Return the columns of all files, plain, followed by the partitions as text.

    Beside them, why other columns can't be used: two files give them different types, for one.
    """
    # Every footer is read: a dataset of Arrow's would take the first file's columns for all.
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        schemas = pool.map(
            lambda path: pq.read_schema(path, filesystem=located.filesystem), located.paths
        )
        merged: dict[str, tuple[pa.DataType, str]] = {}
        faults: Faults = {}
        for path, schema in zip(located.paths, schemas, strict=True):
            usable, _, own = usable_columns(schema, path)
            faults = {**own, **faults}
            for field in usable:
                known = merged.setdefault(field.name, (field.type, path))
                try:
                    merged[field.name] = (_common(known, field, path), known[1])
                except CatalogError as fault:
                    faults.setdefault(field.name, fault)
    for key in _partition_keys(located):
        if key in merged:
            faults[key] = CatalogError(
                f"{located.name} has {key!r} both as a column and in its files' paths.",
                fix="Drop the column, or name the files with a glob below the partition.",
                column=key,
            )
        merged[key] = (pa.string(), "")
    usable = {name: kind for name, (kind, _) in merged.items() if name not in faults}
    return pa.schema(list(usable.items())), faults


def _common(known: tuple[pa.DataType, str], field: pa.Field, path: str) -> pa.DataType:
    """Return the type that holds both exactly: nulls fit all, whole numbers the widest one."""
    kind, first = known
    if kind == field.type or pt.is_null(field.type):
        return kind
    if pt.is_null(kind):
        return field.type
    # int64 holds all signed ones exactly. uint64, or a float beside them, would cost digits of ids.
    if pt.is_signed_integer(kind) and pt.is_signed_integer(field.type):
        return pa.int64()
    raise CatalogError(
        f"The column {field.name!r} is {kind} in {first} and {field.type} in {path}.",
        fix="Write it with one type in all files, text for ids.",
        column=field.name,
    )


def _decodable(raw: ds.Dataset, names: list[str]) -> frozenset[str]:
    if not names:
        return frozenset()
    # Only these columns of the first rows: on an object store the rest would be downloaded.
    start = raw.head(_PROBED_ROWS, columns=names)
    return frozenset(name for name in names if _is_utf8(start[name]))


def _is_utf8(column: pa.ChunkedArray) -> bool:
    try:
        for chunk in column.chunks:
            (chunk.dictionary if pt.is_dictionary(chunk.type) else chunk).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _as_text(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        column.cast(field.type, safe=False) if pt.is_binary(column.type) else column
        for column, field in zip(batch.columns, schema, strict=True)
    ]  # not checked here: the catalog names row and column
    return pa.RecordBatch.from_arrays(columns, schema=schema)
