"""Files as catalogs: by their formats, local, on a store, or on standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog.catalog import Catalog, cannot_read
from incarts_pipeline.catalog.csv import DelimitedFile, filled_rows
from incarts_pipeline.catalog.database import open_query
from incarts_pipeline.catalog.excel import workbook_rows
from incarts_pipeline.catalog.fingerprint import Fingerprint
from incarts_pipeline.catalog.json_documents import json_rows
from incarts_pipeline.catalog.lakes import open_delta, open_iceberg
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.parquet import open_parquet
from incarts_pipeline.catalog.paths import COMPRESSIONS, Located, locate, table_format
from incarts_pipeline.catalog.source_file import (
    FileRows,
    SourceFile,
    check_same_columns,
    end_warnings,
)
from incarts_pipeline.catalog.xml import feed_rows
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import Option, OptionText, counted

_SHOWN = 60  # characters of a line in a warning


def open_files(source: str, options: ReadOptions) -> Catalog:
    """Open what a path, URI, folder, glob or `-` means.

    Args:
        source: the path or URI as it was given.
        options: what was said of the format and how to read it.

    Raises:
        CatalogError: it can't be read; says what to do.
    """
    if options.query is not None:
        return open_query(source, options.query, options)
    if source == "-":
        return _standard_input(options)
    kind = options.format or table_format(source)
    if kind in _TABLES:
        return _TABLES[kind](source, options)
    located = locate(source, options.format)
    try:
        if located.format == "parquet":
            return open_parquet(located, options)
        return _file_catalog(
            located.name, _source_files(located), located.format, options, located.fingerprint
        )
    except CatalogError:
        located.fingerprint.check()  # which explains any error
        raise


def _standard_input(options: ReadOptions) -> Catalog:
    """Copy standard input to a file without a name, which goes when the catalog goes."""
    if options.format is None or options.format not in _READERS:
        raise CatalogError(
            "What standard input holds can't be told from its name.",
            fix=OptionText(
                "Say what it is, with ",
                Option(name="format", of_reading=True),
                f": {', '.join(_READERS)}.",
            ),
        )
    # It is read twice, for the columns and for the rows, which a pipe can't be.
    spool = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the catalog)

    def again() -> AbstractContextManager[Any]:
        spool.seek(0)
        return nullcontext(spool)

    try:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        file = SourceFile(name="standard input", open=again)
        catalog = _file_catalog(file.name, [file], options.format, options)
    except BaseException:
        spool.close()
        raise
    # The catalog has no end of its own: whoever holds it may still read.
    weakref.finalize(catalog, spool.close)
    return catalog


def _source_files(located: Located) -> list[SourceFile]:
    def file(path: str) -> SourceFile:
        compression = COMPRESSIONS.get(PurePosixPath(path).suffix.lower())
        return SourceFile(
            # A file among several is named by itself, so that a row's number means something.
            name=located.name if len(located.paths) == 1 else path,
            open=lambda: located.filesystem.open_input_stream(path, compression=compression),
        )

    return [file(path) for path in located.paths]


def _file_catalog(
    name: str,
    files: list[SourceFile],
    kind: str,
    options: ReadOptions,
    fingerprint: Fingerprint | None = None,
) -> Catalog:
    warnings: list[str] = []
    try:
        found = _READERS[kind](name, files, options)
    except (pa.ArrowException, OSError) as error:
        raise cannot_read(name, error) from error

    def batches() -> Iterator[pa.RecordBatch]:
        warnings.clear()
        row = 0
        for file in files:
            for batch in found.rows_of(file, row, warnings):
                row += batch.num_rows
                yield batch

    return Catalog(
        name,
        found.schema,
        batches,
        batch_rows=options.batch_rows,
        fingerprint=fingerprint,
        warnings=warnings,
        faults=found.faults,
        chosen=found.chosen,
    )


def _csv_rows(name: str, files: list[SourceFile], options: ReadOptions) -> FileRows:
    # The header alone is read now, so that a wrong mapping is noticed before any row is.
    head = next((head for file in files if (head := _csv_head(file, options)).names), None)
    if head is None:
        raise CatalogError(
            f"{name} is empty.", fix="It needs at least a header line with the columns."
        )

    schema = head.schema

    def rows_of(file: SourceFile, row: int, warnings: list[str]) -> Iterator[pa.RecordBatch]:
        blank = 0
        with file.decoded(options.encoding) as text:
            rows = DelimitedFile(text, file.name, options)
            if rows.names:  # Spark leaves files without a header where a part has no rows
                check_same_columns(name, schema.names, rows.schema.names, file.name)
            for batch in rows.batches(row):
                filled = filled_rows(batch)
                row += filled.num_rows
                blank += batch.num_rows - filled.num_rows
                # Files of one export may have their columns in another order.
                yield filled.select(schema.names)
            warnings += end_warnings(text, file.name, row - 1)
        if blank:
            warnings.append(f"{file.name}: {counted(blank, 'row')} without any value left out.")

    return FileRows(schema=schema, rows_of=rows_of, faults=head.faults)


def _csv_head(file: SourceFile, options: ReadOptions) -> DelimitedFile:
    with file.decoded(options.encoding) as text:
        return DelimitedFile(text, file.name, options)


# What reads each format whose files only its own log can tell apart.
_TABLES: dict[str, Callable[[str, ReadOptions], Catalog]] = {
    "delta": open_delta,
    "iceberg": open_iceberg,
}
# What reads each format that isn't Parquet.
_READERS: dict[str, Callable[[str, list[SourceFile], ReadOptions], FileRows]] = {
    "csv": _csv_rows,
    "jsonl": json_rows,
    "json": json_rows,
    "xml": feed_rows,
    "excel": workbook_rows,
}
