"""CSV and JSON lines as Arrow batches, a block at a time."""

from __future__ import annotations

import codecs
import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson

from incarts_pipeline.errors import CatalogError

Table = tuple[pa.Schema, Iterator[pa.RecordBatch]]

_BLOCK = 4 * 1024 * 1024  # bytes read at a time
_GUESSES = ("cp1252", "latin-1")


class _Decoded(io.RawIOBase):
    """A stream as UTF-8, whatever it was; a byte that doesn't fit is named with its offset."""

    def __init__(self, stream: Any, name: str, encoding: str) -> None:
        self._stream = stream
        self._name = name
        self._encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._offset = 0
        self._rest = b""
        self._over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._over:
            self._rest = self._decode(self._stream.read(_BLOCK))
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n

    def _decode(self, raw: bytes) -> bytes:
        self._over = not raw
        waiting = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(raw, final=self._over)
        except UnicodeDecodeError as error:
            at = self._offset - waiting + error.start
            raise CatalogError(
                f"{self._name} is not {self._encoding.removesuffix('-sig')}: the byte "
                f"0x{error.object[error.start]:02x} at offset {at} doesn't fit"
                f"{self._guess(raw)}.",
                fix="Save it as UTF-8, or say which encoding it has.",
                byte_offset=at,
            ) from None
        self._offset += len(raw)
        return text.encode()

    def _guess(self, raw: bytes) -> str:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not self._offset:
            return "; it looks like utf-16"
        for encoding in _GUESSES:
            try:
                raw.decode(encoding)
            except UnicodeDecodeError:
                continue
            return f"; it may be {encoding}"
        return ""


def read_csv(stream: Any, name: str, encoding: str, delimiter: str) -> Table:
    """Read a CSV as text only: an empty field is null, a quoted empty one is empty text.

    Raises:
        CatalogError: it is empty, ragged or in another encoding; names the row or the byte.
    """
    source: Any = io.BufferedReader(_Decoded(stream, name, encoding), _BLOCK)
    header = _header(source, name, delimiter)
    failed: list[pacsv.InvalidRow] = []

    def ragged(row: pacsv.InvalidRow) -> str:
        failed.append(row)
        return "error"

    if not source.peek(1):
        return pa.schema([(column, pa.string()) for column in header]), iter(())
    try:
        reader = pacsv.open_csv(
            source,
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK, use_threads=False, column_names=header
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=ragged
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _csv_error(name, error, failed, header) from error

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except pa.ArrowInvalid as error:
            raise _csv_error(name, error, failed, header) from error

    return reader.schema, batches()


def _header(source: Any, name: str, delimiter: str) -> list[str]:
    """Read the header line, which may have line breaks in quotes."""
    text = ""
    while True:
        line = source.readline()
        text += line.decode()
        if not line or text.count('"') % 2 == 0:
            break
    if not text.strip():
        raise CatalogError(f"{name} is empty.", fix="It needs at least a header line.")
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _csv_error(
    name: str, error: Exception, failed: list[pacsv.InvalidRow], header: list[str]
) -> CatalogError:
    if failed:
        row = failed[0]
        at = row.number - 1 if row.number is not None else None
        text = row.text if len(row.text) <= 60 else row.text[:60] + "…"
        where = f"Row {at}" if at is not None else "A row"
        return CatalogError(
            f"{where} of {name} has {row.actual_columns} fields, the header has {len(header)}: "
            f"{text!r}.",
            fix="Quote the fields that contain the delimiter, or complete the row.",
            row=at,
        )
    return CatalogError(f"{name} is not a CSV that can be read: {error}.")


def spooled(stream: Any) -> Callable[[], Any]:
    """Copy a stream that can be read once to a temporary file; return how to read that."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with its last reader)
    while block := stream.read(_BLOCK):
        file.write(block)

    def again() -> Any:
        file.seek(0)
        return file

    return again


def read_json_lines(stream: Callable[[], Any], name: str) -> Table:
    """Read JSON lines, twice: first for the columns, then for the rows.

    Text stays text, also when it looks like a time; a field that is missing is null.

    Raises:
        CatalogError: a line is no JSON, or a field has types that don't go together; names it.
    """
    schema: pa.Schema | None = None
    for first_line, block in _lines(stream()):
        found = _without_times(_parse(block, None, name, first_line).schema)
        try:
            schema = pa.unify_schemas([schema or found, found], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _mixed(name, first_line, error) from error
    if schema is None:
        raise CatalogError(f"{name} is empty.", fix="It needs at least one line.")
    columns = schema

    def batches() -> Iterator[pa.RecordBatch]:
        for first_line, block in _lines(stream()):
            yield from _parse(block, columns, name, first_line).to_batches()

    return columns, batches()


def _lines(stream: Any) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of whole lines, each with the number of its first line, from 1."""
    number, rest = 1, b""
    while True:
        data = stream.read(_BLOCK)
        cut = len(rest) + data.rfind(b"\n") + 1 if data and b"\n" in data else 0
        rest += data
        if not data:
            cut = len(rest)
        block, rest = rest[:cut], rest[cut:]
        if number == 1:
            block = block.removeprefix(codecs.BOM_UTF8)
        if block.strip():
            yield number, block
        number += block.count(b"\n")
        if not data:
            return


def _parse(block: bytes, schema: pa.Schema | None, name: str, first_line: int) -> pa.Table:
    try:
        return pajson.read_json(
            pa.BufferReader(block),
            read_options=pajson.ReadOptions(block_size=len(block) + 1),
            parse_options=pajson.ParseOptions(explicit_schema=schema),
        )
    except pa.ArrowInvalid as error:
        raise _json_error(block, name, first_line, error) from error


def _without_times(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, _no_times(field.type)) for field in schema])


def _no_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_no_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _no_times(f.type)) for f in kind.fields])
    return kind


def _json_error(block: bytes, name: str, first_line: int, error: Exception) -> CatalogError:
    for number, line in enumerate(block.splitlines(), start=first_line):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError as problem:
            return CatalogError(f"Line {number} of {name} is not JSON: {problem}.", row=number - 1)
        if not isinstance(row, dict):
            return CatalogError(
                f"Line {number} of {name} is not an object but {line[:40]!r}.", row=number - 1
            )
    return _mixed(name, first_line, error)


def _mixed(name: str, first_line: int, error: Exception) -> CatalogError:
    return CatalogError(
        f"{name} mixes types in one field, in line {first_line} or after it: {error}.",
        fix="Give each field one type in all lines, text for ids.",
    )
