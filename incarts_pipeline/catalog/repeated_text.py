"""Repeated text: columns of Parquet whose few long values stand for far more than the file has.

A value is in a file's dictionary once, and in a row as a number of some bits, so a file of
kilobytes may stand for gigabytes. Such columns stay dictionaries until a batch is small enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from incarts_pipeline.catalog.paths import Located
from incarts_pipeline.errors import CatalogError

_MOST_BYTES = 64 * 1024 * 1024  # of the text of a batch, and of a column that is read as it is
_MOST_TIMES = 50  # what a column chunk may stand for, as a multiple of its own size
_BUFFER = 64 * 1024  # so that only a chunk's first pages are read
_FILES_AT_ONCE = 16


def repeated_columns(located: Located) -> frozenset[str]:
    """Return the columns that may unpack to much more than they are, in any of the files.

    Of each column chunk with a dictionary its first pages are read.

    Raises:
        OSError, pa.ArrowException: a file can't be read.
    """
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        found = pool.map(lambda path: frozenset(_of_file(located, path)), located.paths)
        return frozenset().union(*found)


def _of_file(located: Located, path: str) -> Iterator[str]:
    with located.filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
        footer = file.metadata
        names = [name for name in file.schema_arrow.names if "." not in name]
        suspects: dict[str, list[int]] = {}
        for group in range(footer.num_row_groups):
            for place in range(footer.num_columns):
                chunk = footer.row_group(group).column(place)
                if chunk.path_in_schema in names and _may_repeat(chunk):
                    suspects.setdefault(chunk.path_in_schema, []).append(group)
        if not suspects:
            return
        with pq.ParquetFile(
            source, metadata=footer, read_dictionary=[*suspects], buffer_size=_BUFFER
        ) as again:
            for name, groups in suspects.items():
                if any(_repeats(again, name, group) for group in groups):
                    yield name


def _may_repeat(chunk: pq.ColumnChunkMetaData) -> bool:
    size = chunk.total_uncompressed_size
    return (
        chunk.physical_type == "BYTE_ARRAY"
        and any("DICTIONARY" in one for one in chunk.encodings)
        and chunk.num_values > _MOST_TIMES
        and chunk.num_values * size > _MOST_BYTES  # no value is longer than all of them
    )


def _repeats(file: pq.ParquetFile, name: str, group: int) -> bool:
    """Say whether the longest value of a chunk's dictionary, in every row, would be too much."""
    first = next(file.iter_batches(1, row_groups=[group], columns=[name]), None)
    if first is None or not pt.is_dictionary(first.column(0).type):
        return False
    footer = file.metadata.row_group(group)
    places = range(footer.num_columns)
    chunk = next(c for c in map(footer.column, places) if c.path_in_schema == name)
    most = chunk.num_values * _longest(first.column(0).dictionary)
    return bool(most > max(_MOST_BYTES, _MOST_TIMES * chunk.total_uncompressed_size))


def as_dictionaries(schema: pa.Schema, names: frozenset[str]) -> pa.Schema:
    """Return the schema by which a dataset leaves columns as dictionaries."""
    return pa.schema(
        pa.field(f.name, pa.dictionary(pa.int32(), f.type)) if f.name in names else f
        for f in schema
    )


def in_parts(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch with dictionaries as plain batches of at most some 64 MiB of text.

    Args:
        batch: at least one row, any columns as dictionaries.
        schema: the plain types.
    """
    lengths = [_longest(c.dictionary) for c in batch.columns if pt.is_dictionary(c.type)]
    rows = max(1, _MOST_BYTES // max(1, sum(lengths))) if lengths else batch.num_rows
    for start in range(0, batch.num_rows, max(1, rows)):
        yield batch.slice(start, rows).cast(schema) if lengths else batch


def check_cells(batch: pa.RecordBatch, first_row: int, name: str, most: int) -> None:
    """Refuse text that is longer than a bound.

    Args:
        batch: plain columns, or dictionaries.
        first_row: of the batch in the source, from 0.
        name: the source, as messages show it.
        most: bytes of one cell.

    Raises:
        CatalogError: names the first such row of a column.
    """
    for column, values in zip(batch.schema.names, batch.columns, strict=True):
        if not pt.is_dictionary(values.type) and not _is_text(values.type):
            continue
        texts = values.dictionary if pt.is_dictionary(values.type) else values
        if _longest(texts) <= most:
            continue
        long = pc.greater(pc.binary_length(texts), most)
        if texts is not values:
            long = long.take(values.indices)
        row = long.index(True).as_py()
        if row < 0:  # in the dictionary alone
            continue
        raise CatalogError(
            f"Row {first_row + row:,} of {name} has more than {most:,} bytes in {column!r}.",
            fix="Shorten or leave out the column. Raise the bound max_line_bytes in "
            "INCARTS_LIMITS if that is what it should be.",
            row=first_row + row,
            column=column,
        )


def _is_text(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in (pt.is_string, pt.is_large_string, pt.is_binary))


def _longest(texts: pa.Array) -> int:
    return pc.max(pc.binary_length(texts)).as_py() or 0
