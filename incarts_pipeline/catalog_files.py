"""Catalog files: Parquet, CSV and JSON lines, local or on an object store."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.json as pajson
from pyarrow import fs

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.suggest import suggest

Opened = tuple[str, pa.Schema, Callable[[], Iterable[pa.RecordBatch]], bool]

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_BLOCK = 4 * 1024 * 1024  # bytes read at a time
_GUESSES = ("utf-16", "cp1252", "latin-1")


def open_files(
    source: str,
    *,
    format: str | None,
    encoding: str,
    delimiter: str | None,
) -> Opened:
    """Open a path, URI, glob or `-`: its name, schema, batches, and whether it can be read again."""
    if source == "-":
        if format not in ("csv", "jsonl"):
            raise CatalogError("Standard input needs a format.", fix="Say --format csv or jsonl.")
        stream = sys.stdin.buffer
        if format == "jsonl":
            return _once("standard input", _json_lines(stream, "standard input"))
        return _once("standard input", _csv(stream, "standard input", encoding, delimiter or ","))
    filesystem, path = _resolve(source)
    paths = _paths(filesystem, path, source)
    kind = format or _kind(paths[0], source)
    if kind == "parquet":
        return _parquet(filesystem, path if len(paths) == 1 and paths[0] == path else paths, source)
    delimiter = delimiter or ("\t" if ".tsv" in PurePosixPath(paths[0]).suffixes else ",")

    def read() -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        return _chained(
            [_open_one(filesystem, one, kind, encoding, delimiter) for one in paths], source
        )

    first = [read()]
    return source, first[0][0], lambda: (first.pop() if first else read())[1], True


def _once(name: str, opened: tuple[pa.Schema, Iterator[pa.RecordBatch]]) -> Opened:
    schema, batches = opened
    return name, schema, lambda: batches, False


def _resolve(source: str) -> tuple[fs.FileSystem, str]:
    if "://" not in source:
        return fs.LocalFileSystem(), str(Path(source).expanduser().absolute())
    try:
        filesystem, path = fs.FileSystem.from_uri(source)
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise CatalogError(f"The catalog {source} can't be opened: {error}.") from error
    return filesystem, path


def _paths(filesystem: fs.FileSystem, path: str, source: str) -> list[str]:
    """Return the files that a path, folder or glob stands for, in order."""
    try:
        if any(character in path for character in "*?["):
            folder = PurePosixPath(path.split("*")[0].split("?")[0].split("[")[0])
            folder = folder if path.startswith(f"{folder}/") else folder.parent
            found = _files(filesystem, str(folder))
            paths = [one for one in found if PurePosixPath(one).match(path)]
            if not paths:
                raise CatalogError(f"No file matches {source}.")
            return paths
        info = filesystem.get_file_info(path)
        if info.type is fs.FileType.File:
            return [path]
        if info.type is fs.FileType.Directory:
            paths = [one for one in _files(filesystem, path) if _suffix(one) in _FORMATS]
            if not paths:
                raise CatalogError(f"The folder {source} holds no Parquet, CSV or JSON lines file.")
            return paths
    except OSError as error:
        raise _cannot_read(source, error) from error
    near = ""
    if isinstance(filesystem, fs.LocalFileSystem) and Path(path).parent.is_dir():
        near = suggest(Path(path).name, (one.name for one in Path(path).parent.iterdir()))
    raise CatalogError(f"There is no catalog {source}.{near}")


def _files(filesystem: fs.FileSystem, folder: str) -> list[str]:
    selector = fs.FileSelector(folder, recursive=True, allow_not_found=True)
    return sorted(
        info.path
        for info in filesystem.get_file_info(selector)
        if info.type is fs.FileType.File and not info.base_name.startswith((".", "_"))
    )


def _suffix(path: str) -> str:
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _kind(path: str, source: str) -> str:
    kind = _FORMATS.get(_suffix(path))
    if kind is None:
        raise CatalogError(
            f"What kind of file {source} is can't be told from its name.",
            fix="Say --format parquet, csv or jsonl.",
        )
    return kind


def _cannot_read(source: str, error: Exception) -> CatalogError:
    return CatalogError(
        f"The catalog {source} can't be read: {str(error).splitlines()[0]}.",
        fix="Check the path, the permissions and (for an object store) the credentials.",
    )


def _parquet(filesystem: fs.FileSystem, paths: str | list[str], source: str) -> Opened:
    try:
        found = ds.dataset(paths, filesystem=filesystem, format="parquet", partitioning="hive")
    except (pa.ArrowInvalid, OSError) as error:
        raise _cannot_read(source, error) from error

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from found.to_batches(use_threads=True, batch_readahead=4, fragment_readahead=1)
        except (pa.ArrowInvalid, OSError) as error:
            raise _cannot_read(source, error) from error

    return source, found.schema, batches, True


def _open_one(
    filesystem: fs.FileSystem, path: str, kind: str, encoding: str, delimiter: str
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    compression = _COMPRESSED.get(PurePosixPath(path).suffix.lower())
    try:
        stream = filesystem.open_input_stream(path, compression=compression)
    except OSError as error:
        raise _cannot_read(path, error) from error
    if kind == "jsonl":
        return _json_lines(stream, path)
    return _csv(stream, path, encoding, delimiter)


def _chained(
    opened: list[tuple[pa.Schema, Iterator[pa.RecordBatch]]], source: str
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    schema = opened[0][0]
    for other, _ in opened[1:]:
        if other.names != schema.names:
            raise CatalogError(
                f"The files of {source} have different columns: {schema.names} and {other.names}.",
                fix="Make their headers equal.",
            )

    def batches() -> Iterator[pa.RecordBatch]:
        for _, part in opened:
            yield from part

    return schema, batches()


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
        for encoding in _GUESSES[1:]:
            try:
                raw.decode(encoding)
            except UnicodeDecodeError:
                continue
            return f"; it may be {encoding}"
        return ""


def _csv(
    stream: Any, name: str, encoding: str, delimiter: str
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read a CSV as text only: an empty field is null, a quoted empty one is empty text."""
    source = io.BufferedReader(_Decoded(stream, name, encoding), _BLOCK)
    header, first_line = _header(source, name, delimiter)
    failed: list[pacsv.InvalidRow] = []

    def ragged(row: pacsv.InvalidRow) -> str:
        failed.append(row)
        return "error"

    try:
        reader = pacsv.open_csv(
            io.BufferedReader(_Prepended(first_line, source)),
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK, use_threads=False, column_names=header, skip_rows=0
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
        if "Empty CSV" in str(error) or (
            "no" in str(error).lower() and "data" in str(error).lower()
        ):
            schema = pa.schema([(column, pa.string()) for column in header])
            return schema, iter(())
        raise _csv_error(name, error, failed, header) from error

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except pa.ArrowInvalid as error:
            raise _csv_error(name, error, failed, header) from error

    return reader.schema, batches()


class _Prepended(io.RawIOBase):
    """Bytes that were read ahead, followed by the rest of their stream."""

    def __init__(self, first: bytes, rest: io.BufferedReader) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._first:
            n = min(len(buffer), len(self._first))
            buffer[:n], self._first = self._first[:n], self._first[n:]
            return n
        return self._rest.readinto(buffer)


def _header(source: io.BufferedReader, name: str, delimiter: str) -> tuple[list[str], bytes]:
    """Return the header's names; what was read beyond it comes back as bytes."""
    import csv

    text = ""
    while True:
        line = source.readline()
        text += line.decode()
        if not line or text.count('"') % 2 == 0:
            break
    if not text.strip():
        raise CatalogError(f"{name} is empty.", fix="It needs at least a header line.")
    [header] = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return header, b""


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


def _json_lines(stream: Any, name: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Read JSON lines; text stays text, also when it looks like a time."""
    raw = stream.read()
    if not raw.strip():
        raise CatalogError(f"{name} is empty.", fix="It needs at least one line.")
    try:
        guessed = _read_json(raw, None).schema
        plain = pa.schema([pa.field(f.name, _no_times(f.type)) for f in guessed])
        table = _read_json(raw, plain)
    except pa.ArrowInvalid as error:
        raise _json_error(raw, name, error) from error
    return table.schema, iter(table.to_batches())


def _read_json(raw: bytes, schema: pa.Schema | None) -> pa.Table:
    return pajson.read_json(
        pa.BufferReader(raw),
        read_options=pajson.ReadOptions(block_size=max(len(raw), 1)),
        parse_options=pajson.ParseOptions(explicit_schema=schema),
    )


def _no_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_no_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _no_times(f.type)) for f in kind.fields])
    return kind


def _json_error(raw: bytes, name: str, error: Exception) -> CatalogError:
    import json

    for number, line in enumerate(raw.splitlines(), start=1):
        try:
            json.loads(line or b"{}")
        except ValueError as problem:
            return CatalogError(f"Line {number} of {name} is not JSON: {problem}.", row=number - 1)
    return CatalogError(
        f"The lines of {name} don't make one table: {error}.",
        fix="Give each field one type in all lines.",
    )
