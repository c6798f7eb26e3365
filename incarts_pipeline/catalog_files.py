"""Where catalog files are: local or on an object store, one file, a folder or a glob."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.suggest import suggest
from incarts_pipeline.text_tables import Table, read_csv, read_json_lines, spooled

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


def open_files(
    source: str,
    *,
    format: str | None,  # noqa: A002 (as in open_catalog)
    encoding: str,
    delimiter: str | None,
) -> Opened:
    """Open a path, URI, glob or `-`.

    Returns:
        Its name, its schema, a function that gives its batches, and whether that can be called
        again.
    """
    if source == "-":
        return _standard_input(format, encoding, delimiter)
    filesystem, path = _resolve(source)
    paths = _paths(filesystem, path, source)
    kind = format or _kind(paths[0], source)
    if kind == "parquet":
        return _parquet(filesystem, path if len(paths) == 1 and paths[0] == path else paths, source)
    delimiter = delimiter or ("\t" if ".tsv" in PurePosixPath(paths[0]).suffixes else ",")

    def read() -> Table:
        return _chained(
            [_open_one(filesystem, one, kind, encoding, delimiter) for one in paths], source
        )

    first = [read()]
    return source, first[0][0], lambda: (first.pop() if first else read())[1], True


def _standard_input(kind: str | None, encoding: str, delimiter: str | None) -> Opened:
    name = "standard input"
    if kind == "csv":
        schema, batches = read_csv(sys.stdin.buffer, name, encoding, delimiter or ",")
    elif kind == "jsonl":
        schema, batches = read_json_lines(spooled(sys.stdin.buffer), name)
    else:
        raise CatalogError("Standard input needs a format.", fix="Say --format csv or jsonl.")
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
) -> Table:
    compression = _COMPRESSED.get(PurePosixPath(path).suffix.lower())

    def stream() -> Any:
        try:
            return filesystem.open_input_stream(path, compression=compression)
        except OSError as error:
            raise _cannot_read(path, error) from error

    if kind == "jsonl":
        return read_json_lines(stream, path)
    return read_csv(stream(), path, encoding, delimiter)


def _chained(opened: list[Table], source: str) -> Table:
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
