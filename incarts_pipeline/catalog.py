"""The catalog: any table as a stream of Arrow record batches, in bounded memory.

Every kind of source is turned into batches once, at this door, and the caller's own table is never
changed. All columns of a CSV are text, so that ids keep their zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.catalog_files import open_files
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.frames import from_pandas

_BATCH_ROWS = 65_536


class Catalog:
    """A stream of record batches with one schema: no dictionaries, no views, no large types.

    Attributes:
        schema: the columns, under their own names.
        name: what to call the catalog in messages.
        reopenable: whether `batches` can be called again.
    """

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        batches: Callable[[], Iterable[pa.RecordBatch]],
        *,
        reopenable: bool,
    ) -> None:
        self.name = name
        self.reopenable = reopenable
        self._raw_schema = schema
        self.schema = pa.schema([_plain_field(field) for field in schema])
        self._batches = batches
        self._opened = False
        _check_names(self.schema, name)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most 65,536 a batch.

        Raises:
            CatalogError: a row can't be read, or the source was read before and can't be again.
        """
        if self._opened and not self.reopenable:
            raise CatalogError(
                f"{self.name} can be read only once, and was.",
                fix="Pass a file or a table, or make the reader anew.",
            )
        self._opened = True
        row = 0
        for batch in self._batches():
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                part = _plain_batch(batch.slice(start, _BATCH_ROWS), self.schema)
                _check_text(part, row, self.name)
                yield part
                row += part.num_rows


def open_catalog(
    source: object,
    *,
    format: str | None = None,  # noqa: A002 (the word that everybody uses for it)
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Catalog:
    """Open any table.

    Args:
        source: a path or URI (`s3://`, `gs://`, `abfs://`, `file://`) of a Parquet file, folder or
            glob, a CSV or JSON lines file, or `-` for standard input; a pandas or Polars frame, a
            DuckDB relation, a pyarrow table, batch, reader or dataset, a list of dicts, or anything
            with `__arrow_c_stream__`.
        format: `parquet`, `csv` or `jsonl`, where the name doesn't tell.
        encoding: of a CSV.
        delimiter: of a CSV; a comma, or a tab for `.tsv`.

    Raises:
        CatalogError: it can't be read; says what to do.
    """
    if isinstance(source, Catalog):
        return source
    if isinstance(source, str | Path):
        name, schema, batches, reopenable = open_files(
            str(source), format=format, encoding=encoding, delimiter=delimiter
        )
        return Catalog(name, schema, batches, reopenable=reopenable)
    return _from_object(source)


def _from_object(source: Any) -> Catalog:
    module = type(source).__module__.partition(".")[0]
    if module == "pandas" and hasattr(source, "columns"):
        return _from_table(from_pandas(source), "the DataFrame")
    if module == "polars" and hasattr(source, "collect"):
        source = source.collect()
    if isinstance(source, pa.RecordBatchReader):
        return Catalog("the reader", source.schema, lambda: source, reopenable=False)
    if isinstance(source, pa.Table):
        return _from_table(source, "the table")
    if isinstance(source, pa.RecordBatch):
        return _from_table(pa.Table.from_batches([source]), "the batch")
    if hasattr(source, "scanner") and hasattr(source, "to_batches"):
        return Catalog("the dataset", source.schema, source.to_batches, reopenable=True)
    if hasattr(source, "__arrow_c_stream__"):
        return _from_stream(source)
    if isinstance(source, list) and all(isinstance(row, dict) for row in source):
        return _from_dicts(source)
    raise CatalogError(
        f"A {type(source).__name__} is no table that can be read.",
        fix="Pass a path, a DataFrame, an Arrow table, or anything with __arrow_c_stream__.",
    )


def _from_stream(source: Any) -> Catalog:
    """Polars frames and DuckDB relations give a new stream each time, others only one."""
    kind = type(source).__name__
    module = type(source).__module__.partition(".")[0].lstrip("_")
    first = pa.RecordBatchReader.from_stream(source)
    if module not in ("polars", "duckdb", "ibis"):
        return Catalog(f"the {kind}", first.schema, lambda: first, reopenable=False)
    opened = iter([first])
    return Catalog(
        f"the {kind}",
        first.schema,
        lambda: next(opened, None) or pa.RecordBatchReader.from_stream(source),
        reopenable=True,
    )


def _from_table(table: pa.Table, name: str) -> Catalog:
    return Catalog(name, table.schema, table.to_batches, reopenable=True)


def _from_dicts(rows: list[dict[str, Any]]) -> Catalog:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError, OverflowError) as error:
            raise CatalogError(
                f"The column {name!r} mixes values that don't go together: {error}.",
                fix="Make all its values one type, text for ids.",
                column=name,
            ) from error
    return _from_table(pa.Table.from_arrays(columns, names=names), "the list")


def _plain_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _plain_type(field.type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that the pipeline works with: text is `string`, dictionaries are decoded."""
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind):
        return pa.list_(_plain_type(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind.fields])
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    return kind


def _plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_run_end_encoded(column.type):
            column = pc.run_end_decode(column)
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _check_names(schema: pa.Schema, name: str) -> None:
    seen: set[str] = set()
    for position, column in enumerate(schema.names):
        if not column.strip():
            raise CatalogError(
                f"Column {position + 1} of {name} has no name.", fix="Give it one in the header."
            )
        if column in seen:
            raise CatalogError(
                f"{name} has two columns named {column!r}.",
                fix="Rename or drop one of them.",
                column=column,
            )
        seen.add(column)


def _check_text(batch: pa.RecordBatch, first_row: int, name: str) -> None:
    """Parquet and other producers don't check their text; half a character would break the body."""
    for column, field in zip(batch.columns, batch.schema, strict=True):
        if not pa.types.is_string(field.type):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            row = _first_bad_row(column)
            raise CatalogError(
                f"Row {first_row + row} of {name} has bytes in the column {field.name!r} that are "
                "no UTF-8 text.",
                fix="Re-encode the column as UTF-8.",
                row=first_row + row,
                column=field.name,
            ) from None


def _first_bad_row(column: pa.Array) -> int:
    raw = column.cast(pa.binary())
    for row, value in enumerate(raw):
        data = value.as_py()
        try:
            data is not None and data.decode("utf-8")
        except UnicodeDecodeError:
            return row
    return 0
