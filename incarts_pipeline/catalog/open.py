"""Opening of catalogs: whatever table somebody has, by one function."""

from __future__ import annotations

from pathlib import Path

from incarts_pipeline.catalog.catalog import Catalog
from incarts_pipeline.catalog.files import open_files
from incarts_pipeline.catalog.in_memory import open_object
from incarts_pipeline.catalog.options import BATCH_ROWS, COLUMNS, LINE_BYTES, ReadOptions
from incarts_pipeline.errors import raising_ours


@raising_ours
def open_catalog(
    source: object,
    *,
    format: str | None = None,  # noqa: A002 (the word that everybody uses for it)
    encoding: str = "utf-8",
    delimiter: str | None = None,
    quote: str | None = None,
    escape: str | None = None,
    sheet: str | None = None,
    records: str | None = None,
    query: str | None = None,
    batch_rows: int = BATCH_ROWS,
    max_line_bytes: int = LINE_BYTES,
    max_columns: int = COLUMNS,
) -> Catalog:
    """Open any table.

    Args:
        source: a path or URI (`s3://`, `gs://`, `abfs://`, `file://`) of a Parquet, CSV, JSON, XML
            or Excel file, of a folder or glob of such files, of a Delta table's folder, of an
            Iceberg table's `.metadata.json` (or `iceberg://CATALOG/namespace.table`, of pyiceberg's
            settings), of a database with `query`, or `-` for standard input; a pandas or
            Polars frame, a DuckDB relation, a pyarrow table, batch, reader, scanner or dataset, a
            list of dicts, or anything with `__arrow_c_stream__`. Below a folder, `key=value` parts
            of a Parquet file's path are text columns. Named index levels of a pandas frame are
            columns, other indexes are left out.
        format: `parquet`, `csv`, `jsonl`, `json`, `xml`, `excel`, `delta` or `iceberg`, where the
            name doesn't tell.
        encoding: of CSV and JSON, and of XML that declares a wrong one.
        delimiter: of a CSV; a comma, or a tab for `.tsv`.
        quote: of a CSV, a character, or `none` for a file whose quotes are text. By default it is
            `"`, and a quoted cell that looks like several rows is refused.
        escape: of a CSV, the character before a quote, delimiter or line break that is text.
        sheet: of a workbook, by its name or its number from 1; the only one that has rows.
        records: where the products are, by a dotted path: of the list in a JSON document
            (`shop.products`), of the element in XML; the only one that they can be.
        query: one SELECT, for a source that is the file of a DuckDB or SQLite database.
        batch_rows: the most rows in one batch.
        max_line_bytes: how long a line of JSON lines, or a text in Parquet, may be.
        max_columns: how many columns a file may have.

    Raises:
        CatalogError: it can't be read; says what to do.
        UndecidedError: it has several sheets or lists of records.
        MissingExtraError: a package isn't installed that the format needs; names it.
    """
    if isinstance(source, Catalog):
        return source
    options = ReadOptions(
        format=format,
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        sheet=sheet,
        records=records,
        query=query,
        batch_rows=batch_rows,
        max_line_bytes=max_line_bytes,
        max_columns=max_columns,
    )
    if isinstance(source, str | Path):
        return open_files(str(source), options)
    return open_object(source, options)
