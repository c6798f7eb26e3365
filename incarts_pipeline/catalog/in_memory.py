"""Tables in memory: frames, relations, Arrow tables, datasets, streams, and lists of dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from incarts_pipeline.catalog.arrow_types import Faults
from incarts_pipeline.catalog.catalog import Catalog, cannot_read
from incarts_pipeline.catalog.dataframes import from_dicts, from_pandas, is_pandas
from incarts_pipeline.catalog.fingerprint import dataset_fingerprint
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.errors import CatalogError


def open_object(source: Any, options: ReadOptions) -> Catalog:
    """Open a table that is not a file; what each kind is, its type's module tells.

    Args:
        source: a frame, relation, Arrow table, dataset or stream, or a list of dicts.
        options: of these only the batch size counts.

    Raises:
        CatalogError: it is no table, or holds what no table can; says what to do.
    """
    try:
        return _open(source, options)
    except CatalogError:
        raise
    except Exception as error:  # of the engine behind it
        raise cannot_read(f"the {type(source).__name__}", error) from error


def _open(source: Any, options: ReadOptions) -> Catalog:
    kind = type(source).__name__
    # By the module's name: a library that the caller didn't load isn't loaded here either.
    module = type(source).__module__.partition(".")[0].lstrip("_")
    if is_pandas(source):
        table, faults = from_pandas(source)
        return _from_table(table, "the DataFrame", options, faults)
    if isinstance(source, pa.Table):
        return _from_table(source, "the table", options)
    if isinstance(source, pa.RecordBatch):
        return _from_table(pa.Table.from_batches([source]), "the batch", options)
    # A reader is used up once it is read; planning it again needs a new one.
    if isinstance(source, pa.RecordBatchReader):
        return _once(source, "the reader", options)
    if isinstance(source, ds.Scanner):
        return _once(source.to_reader(), "the scanner", options)
    if isinstance(source, ds.Dataset):
        return _from_dataset(source, options)
    if module == "polars" and kind == "LazyFrame":
        return _from_lazy(source, options)
    if module in ("polars", "duckdb") and hasattr(source, "__arrow_c_stream__"):
        return _from_stream_maker(source, f"the {module} {kind}", options)
    if hasattr(source, "__arrow_c_stream__"):
        return _once(pa.RecordBatchReader.from_stream(source), f"the {kind}", options)
    if isinstance(source, list) and all(isinstance(row, dict) for row in source):
        table, faults = from_dicts(source)
        return _from_table(table, "the list", options, faults)
    raise CatalogError(
        f"An object of the type {kind} is no table that can be read.",
        fix="Pass a path, a DataFrame, an Arrow table, a list of dicts, or anything with "
        "__arrow_c_stream__.",
    )


def _from_table(
    table: pa.Table, name: str, options: ReadOptions, faults: Faults | None = None
) -> Catalog:
    return Catalog(
        name, table.schema, table.to_batches, batch_rows=options.batch_rows, faults=faults
    )


def _from_dataset(source: ds.Dataset, options: ReadOptions) -> Catalog:
    def batches() -> Iterator[pa.RecordBatch]:
        # The default reads many batches and fragments ahead, which is much memory for wide rows.
        yield from source.to_batches(
            batch_size=options.batch_rows, batch_readahead=2, fragment_readahead=1
        )

    return Catalog(
        "the dataset",
        source.schema,
        batches,
        batch_rows=options.batch_rows,
        fingerprint=dataset_fingerprint(source),
    )


def _once(reader: pa.RecordBatchReader, name: str, options: ReadOptions) -> Catalog:
    return Catalog(
        name, reader.schema, lambda: reader, reopenable=False, batch_rows=options.batch_rows
    )


def _from_stream_maker(source: Any, name: str, options: ReadOptions) -> Catalog:
    """A Polars frame or a DuckDB relation gives a new stream each time; no row is read for this."""
    # Asking a relation for its schema would run its whole query.
    none = source.limit(0)
    schema = pa.RecordBatchReader.from_stream(none).schema
    return _catalog(name, schema, lambda: pa.RecordBatchReader.from_stream(source), options)


def _from_lazy(source: Any, options: ReadOptions) -> Catalog:
    schema = pa.RecordBatchReader.from_stream(source.limit(0).collect()).schema

    def batches() -> Iterator[pa.RecordBatch]:
        # `collect` would hold the whole result; `maintain_order` because rows are known by number.
        for part in source.collect_batches(chunk_size=options.batch_rows, maintain_order=True):
            yield from pa.RecordBatchReader.from_stream(part)

    return _catalog("the polars LazyFrame", schema, batches, options)


def _catalog(
    name: str,
    schema: pa.Schema,
    batches: Callable[[], Iterable[pa.RecordBatch]],
    options: ReadOptions,
) -> Catalog:
    return Catalog(name, schema, batches, batch_rows=options.batch_rows)
