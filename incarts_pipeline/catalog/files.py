"""Files as catalogs: Parquet, CSV and JSON lines, local, on a store, or standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog.arrow_types import Faults
from incarts_pipeline.catalog.catalog import Catalog, cannot_read
from incarts_pipeline.catalog.csv import DelimitedFile, filled_rows
from incarts_pipeline.catalog.fingerprint import Fingerprint
from incarts_pipeline.catalog.json_lines import json_batches, json_schema
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.parquet import open_parquet
from incarts_pipeline.catalog.paths import COMPRESSIONS, Located, locate
from incarts_pipeline.catalog.text_encoding import Decoded
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import counted

_SHOWN = 60  # characters of a line in a warning


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextFile:
    """A file that can be opened again and again; `open` returns a stream of bytes."""

    name: str
    open: Callable[[], AbstractContextManager[Any]]

    @contextmanager
    def decoded(self, encoding: str) -> Iterator[Decoded]:
        """Open it as UTF-8."""
        with self.open() as stream:
            yield Decoded(stream, self.name, encoding)


def open_files(source: str, options: ReadOptions) -> Catalog:
    """Open what a path, URI, folder, glob or `-` means.

    Args:
        source: the path or URI as it was given.
        options: format, encoding, delimiter and batch size.

    Raises:
        CatalogError: it can't be read; says what to do.
    """
    if source == "-":
        return _standard_input(options)
    located = locate(source, options.format)
    try:
        if located.format == "parquet":
            return open_parquet(located, options)
        return _text_catalog(
            located.name, _text_files(located), located.format, options, located.fingerprint
        )
    except CatalogError:
        located.fingerprint.check()  # which explains any error
        raise


def _standard_input(options: ReadOptions) -> Catalog:
    """Copy standard input to a file without a name, which goes when the catalog goes."""
    if options.format not in ("csv", "jsonl"):
        raise CatalogError(
            "What standard input holds can't be told from its name.",
            fix="Say the format, csv or jsonl.",
        )
    # It is read twice, for the columns and for the rows, which a pipe can't be.
    spool = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the catalog)

    def again() -> AbstractContextManager[Any]:
        spool.seek(0)
        return nullcontext(spool)

    try:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        file = _TextFile(name="standard input", open=again)
        catalog = _text_catalog(file.name, [file], options.format, options)
    except BaseException:
        spool.close()
        raise
    # The catalog has no end of its own: whoever holds it may still read.
    weakref.finalize(catalog, spool.close)
    return catalog


def _text_files(located: Located) -> list[_TextFile]:
    def file(path: str) -> _TextFile:
        compression = COMPRESSIONS.get(PurePosixPath(path).suffix.lower())
        return _TextFile(
            # A file among several is named by itself, so that a row's number means something.
            name=located.name if len(located.paths) == 1 else path,
            open=lambda: located.filesystem.open_input_stream(path, compression=compression),
        )

    return [file(path) for path in located.paths]


def _text_catalog(
    name: str,
    files: list[_TextFile],
    kind: str,
    options: ReadOptions,
    fingerprint: Fingerprint | None = None,
) -> Catalog:
    make = _csv_rows if kind == "csv" else _json_rows
    warnings: list[str] = []
    try:
        schema, faults, rows_of = make(name, files, options)
    except (pa.ArrowException, OSError) as error:
        raise cannot_read(name, error) from error

    def batches() -> Iterator[pa.RecordBatch]:
        warnings.clear()
        row = 0
        for file in files:
            with file.decoded(options.encoding) as text:
                for batch in rows_of(text, file.name, row, warnings):
                    row += batch.num_rows
                    yield batch
                if text.is_empty:
                    warnings.append(f"{file.name} is empty.")
                elif end := text.rest_of_line:
                    warnings.append(_unended(file.name, row - 1, end))

    return Catalog(
        name,
        schema,
        batches,
        batch_rows=options.batch_rows,
        fingerprint=fingerprint,
        warnings=warnings,
        faults=faults,
    )


def _unended(name: str, row: int, end: str) -> str:
    """Say of a file without its last line end that it may be cut, and where to look."""
    shown = repr(end if len(end) <= _SHOWN else "…" + end[-_SHOWN:])
    where = f"row {row} (the first is 0), its last" if row >= 0 else "its header"
    return (
        f"{name} ends without a line end, so it may be cut off: look at {where}, which ends in "
        f"{shown}."
    )


# The columns of all files, those that can't be used, and the rows of one: of its text and name, its
# first row's number, and a list for warnings.
_Rows = tuple[pa.Schema, Faults, Callable[[Decoded, str, int, list[str]], Iterator[pa.RecordBatch]]]


def _csv_rows(name: str, files: list[_TextFile], options: ReadOptions) -> _Rows:
    # The header alone is read now, so that a wrong mapping is noticed before any row is.
    head = next((head for file in files if (head := _csv_head(file, options)).names), None)
    if head is None:
        raise CatalogError(
            f"{name} is empty.", fix="It needs at least a header line with the columns."
        )

    schema = head.schema

    def rows_of(
        text: Decoded, file: str, row: int, warnings: list[str]
    ) -> Iterator[pa.RecordBatch]:
        rows = DelimitedFile(text, file, options)
        if rows.names:  # Spark leaves files without a header where a part has no rows
            _check_same_columns(name, schema.names, rows.schema.names, file)
        blank = 0
        for batch in rows.batches(row):
            filled = filled_rows(batch)
            blank += batch.num_rows - filled.num_rows
            # Files of one export may have their columns in another order.
            yield filled.select(schema.names)
        if blank:
            warnings.append(f"{file}: {counted(blank, 'row')} without any value left out.")

    return schema, head.faults, rows_of


def _csv_head(file: _TextFile, options: ReadOptions) -> DelimitedFile:
    with file.decoded(options.encoding) as text:
        return DelimitedFile(text, file.name, options)


def _check_same_columns(name: str, first: list[str], names: list[str], file: str) -> None:
    differing = sorted(set(first) ^ set(names))
    if differing:
        raise CatalogError(
            f"The files of {name} have different columns: {differing[0]!r} is in the first or in "
            f"{file}, not in both.",
            fix="Give all of them the same header, in any order.",
            column=differing[0],
        )


def _json_rows(name: str, files: list[_TextFile], options: ReadOptions) -> _Rows:
    schemas = []
    for file in files:
        with file.decoded(options.encoding) as text:
            schemas.append(json_schema(text, file.name, options.max_line_bytes))
    try:
        # A field that is whole numbers in one file and fractions in the next is fractions in all.
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise CatalogError(
            f"The files of {name} don't make one table: {error}.",
            fix="Give each field one type in all files, text for ids.",
        ) from error
    if not schema.names:
        raise CatalogError(f"{name} is empty.", fix="It needs at least one line with an object.")

    def rows_of(text: Decoded, file: str, row: int, _: list[str]) -> Iterator[pa.RecordBatch]:
        return json_batches(text, file, schema, row, most=options.max_line_bytes)

    return schema, {}, rows_of
