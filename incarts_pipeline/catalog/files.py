"""Files as catalogs: Parquet, CSV and JSON lines, local, on a store, or standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog.catalog import Catalog, cannot_read
from incarts_pipeline.catalog.csv import DelimitedFile
from incarts_pipeline.catalog.fingerprint import Fingerprint
from incarts_pipeline.catalog.json_lines import json_batches, json_schema
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.parquet import open_parquet
from incarts_pipeline.catalog.paths import COMPRESSIONS, Located, locate
from incarts_pipeline.errors import CatalogError


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextFile:
    """A file that can be opened again and again; `open` returns a stream of bytes."""

    name: str
    open: Callable[[], AbstractContextManager[Any]]


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
    make = _csv_batches if kind == "csv" else _json_batches
    try:
        schema, batches = make(name, files, options)
    except (pa.ArrowException, OSError) as error:
        raise cannot_read(name, error) from error
    return Catalog(name, schema, batches, batch_rows=options.batch_rows, fingerprint=fingerprint)


_Batches = tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]


def _csv_batches(name: str, files: list[_TextFile], options: ReadOptions) -> _Batches:
    # The header alone is read now, so that a wrong mapping is noticed before any row is.
    with files[0].open() as stream:
        schema = DelimitedFile(stream, files[0].name, options).schema

    def batches() -> Iterator[pa.RecordBatch]:
        row = 0
        for file in files:
            with file.open() as stream:
                rows = DelimitedFile(stream, file.name, options)
                _check_same_columns(name, schema.names, rows.names, file.name)
                for batch in rows.batches(row):
                    row += batch.num_rows
                    # Files of one export may have their columns in another order.
                    yield batch.select(schema.names)

    return schema, batches


def _check_same_columns(name: str, first: list[str], names: list[str], file: str) -> None:
    differing = sorted(set(first) ^ set(names))
    if differing:
        raise CatalogError(
            f"The files of {name} have different columns: {differing[0]!r} is in the first or in "
            f"{file}, not in both.",
            fix="Give all of them the same header, in any order.",
            column=differing[0],
        )


def _json_batches(name: str, files: list[_TextFile], options: ReadOptions) -> _Batches:
    schemas = []
    for file in files:
        with file.open() as stream:
            schemas.append(json_schema(stream, file.name, options.encoding))
    try:
        # A field that is whole numbers in one file and fractions in the next is fractions in all.
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise CatalogError(
            f"The files of {name} don't make one table: {error}.",
            fix="Give each field one type in all files, text for ids.",
        ) from error

    def batches() -> Iterator[pa.RecordBatch]:
        row = 0
        for file in files:
            with file.open() as stream:
                for batch in json_batches(stream, file.name, options.encoding, schema, row):
                    row += batch.num_rows
                    yield batch

    return schema, batches
