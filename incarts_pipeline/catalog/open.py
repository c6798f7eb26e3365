"""Opening of catalogs: whatever table somebody has, by one function."""

from __future__ import annotations

from pathlib import Path

from incarts_pipeline.catalog.catalog import Catalog
from incarts_pipeline.catalog.files import open_files
from incarts_pipeline.catalog.in_memory import open_object
from incarts_pipeline.catalog.options import BATCH_ROWS, LINE_BYTES, ReadOptions


def open_catalog(
    source: object,
    *,
    format: str | None = None,  # noqa: A002 (the word that everybody uses for it)
    encoding: str = "utf-8",
    delimiter: str | None = None,
    batch_rows: int = BATCH_ROWS,
    max_line_bytes: int = LINE_BYTES,
) -> Catalog:
    """Open any table.

    Args:
        source: a path or URI (`s3://`, `gs://`, `abfs://`, `file://`) of a Parquet, CSV or JSON
            lines file, of a folder or glob of such files, or `-` for standard input; a pandas or
            Polars frame, a DuckDB relation, a pyarrow table, batch, reader, scanner or dataset, a
            list of dicts, or anything with `__arrow_c_stream__`. Below a folder, `key=value` parts
            of a Parquet file's path are text columns. Named index levels of a pandas frame are
            columns, other indexes are left out.
        format: `parquet`, `csv` or `jsonl`, where the name doesn't tell.
        encoding: of CSV and JSON lines.
        delimiter: of a CSV; a comma, or a tab for `.tsv`.
        batch_rows: the most rows in one batch.
        max_line_bytes: how long a line of JSON lines may be.

    Raises:
        CatalogError: it can't be read; says what to do.
    """
    if isinstance(source, Catalog):
        return source
    options = ReadOptions(
        format=format,
        encoding=encoding,
        delimiter=delimiter,
        batch_rows=batch_rows,
        max_line_bytes=max_line_bytes,
    )
    if isinstance(source, str | Path):
        return open_files(str(source), options)
    return open_object(source, options)
