"""Paths of catalogs: the files that a path, URI, folder or glob means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from incarts_pipeline.catalog.catalog import cannot_read
from incarts_pipeline.catalog.fingerprint import Fingerprint, fingerprint
from incarts_pipeline.catalog.lake_uris import ICEBERG, is_delta_uri, table_place
from incarts_pipeline.catalog.options import FORMATS
from incarts_pipeline.errors import CatalogError, reason_of
from incarts_pipeline.outgoing import keep_credentials, uri_place
from incarts_pipeline.system import at_home
from incarts_pipeline.text import Option, OptionText, suggest, suggest_file

FORMAT_OF = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".xml": "xml",
    ".rss": "xml",
    ".atom": "xml",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}

_GLOB = frozenset("*?[")
_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "file")
_GCS_RETRY_SECONDS = 15  # the client's own default is 15 minutes without credentials
# Their folders hold old versions of rows beside the new ones; only their own readers know which.
_METADATA = ".metadata.json"
_LAKES = {
    "_delta_log": ("a Delta table", "the folder of the table itself"),
    _METADATA: (
        "an Iceberg table",
        "its newest .metadata.json file, or iceberg://CATALOG/namespace.table",
    ),
    ".hoodie": ("a Hudi table", "the Arrow table that Hudi's own reader gives"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The files of a catalog, in order of their paths.

    `name` is the source as messages show it, `base` the folder below which `key=value` parts of
    paths are columns, None for a single file; `fingerprint` is the files before they are read.
    """

    name: str
    filesystem: fs.FileSystem
    paths: tuple[str, ...]
    base: str | None
    format: str
    fingerprint: Fingerprint


def locate(source: str, format: str | None) -> Located:  # noqa: A002 (as in open_catalog)
    """Find the files that `source` means; hidden ones and those of other kinds are left out.

    Args:
        source: a path, folder or glob, local or as a URI of s3, gs, abfs or file.
        format: one of `options.FORMATS`; None goes by the names.

    Raises:
        CatalogError: there is none, their kind can't be told, or the store can't be reached.
    """
    name = uri_place(keep_credentials(source))
    try:
        filesystem, path = _filesystem(source)
        paths, base = _paths(filesystem, path, name, format)
        files = fingerprint(name, filesystem, lambda: _paths(filesystem, path, name, format)[0])
    except (pa.ArrowException, OSError, ValueError) as error:
        # `from None`: the cause's own message has the URI with its password.
        raise cannot_read(name, OSError(reason_of(error).replace(source, name))) from None
    if not paths:
        raise CatalogError(
            f"{name} holds no Parquet, CSV, JSON, XML or Excel file.",
            fix="Check the path, or say the format when the names don't tell it.",
        )
    kind = format or _one_format(paths, name)
    return Located(
        name=name,
        filesystem=filesystem,
        paths=tuple(files.states),
        base=base,
        format=kind,
        fingerprint=files,
    )


def table_format(source: str) -> str | None:
    """Return `delta` or `iceberg` for a place that is such a table, None for any other.

    Of an Iceberg table's folder nobody knows which of its metadata files is in force; that is told
    when its files are looked for.

    Raises:
        CatalogError: the store can't be reached.
    """
    if is_delta_uri(source):
        return "delta"
    if source.startswith(ICEBERG) or uri_place(table_place(source)).endswith(_METADATA):
        return "iceberg"
    if _GLOB.intersection(source):
        return None
    name = uri_place(keep_credentials(source))
    try:
        filesystem, path = _filesystem(source)
        log = filesystem.get_file_info(f"{path.rstrip('/')}/_delta_log")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise cannot_read(name, OSError(reason_of(error).replace(source, name))) from None
    return "delta" if log.type is fs.FileType.Directory else None


def would_read(source: str, file: str, format: str | None) -> bool:  # noqa: A002
    """Say whether a folder or glob would mean a file, going by the names alone.

    Both are whole paths, or URIs without options.
    """
    folder = PurePosixPath(source)
    if _GLOB.intersection(source):
        folder = _before_wildcards(source)
        if not _glob_pattern(source).fullmatch(file):
            return False
    if not PurePosixPath(file).is_relative_to(folder) or file == source:
        return False
    return not _is_hidden(PurePosixPath(file).relative_to(folder)) and bool(
        format or format_of(file)
    )


def format_of(path: str) -> str | None:
    """Return what kind of file a name tells of, None when it tells of none."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMAT_OF.get(suffixes[-1]) if suffixes else None


def _one_format(paths: list[str], name: str) -> str:
    found = sorted({str(format_of(path)) for path in paths})
    if found == ["None"]:
        raise CatalogError(
            f"What kind of file {name} is can't be told from its name.",
            fix=OptionText(
                "Say what it is, with ",
                Option(name="format", of_reading=True),
                f": {', '.join(FORMATS)}.",
            ),
        )
    if len(found) > 1:
        raise CatalogError(
            f"{name} holds files of several kinds: {', '.join(found)}.",
            fix="Name one kind with a glob, like folder/*.parquet.",
        )
    return found[0]


def _filesystem(source: str) -> tuple[fs.FileSystem, str]:
    scheme, remote, _ = source.partition("://")
    if not remote:
        # Not `resolve`: a link such as `latest.parquet` keeps its name in messages and partitions.
        return fs.LocalFileSystem(), str(at_home(source).absolute())
    if scheme not in _SCHEMES:
        raise CatalogError(
            f"Catalogs can't be read from {scheme}://.{suggest(scheme, _SCHEMES)}",
            fix="Download it first, or pass a path or a URI of s3, gs, abfs or file.",
        )
    if source.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in source:
        joint = "&" if urlsplit(source).query else "?"
        source = f"{source}{joint}retry_limit_seconds={_GCS_RETRY_SECONDS}"
    if scheme == "file":
        return fs.LocalFileSystem(), unquote(urlsplit(source).path)
    filesystem, path = fs.FileSystem.from_uri(source)
    return filesystem, path.rstrip("/")


def _paths(
    filesystem: fs.FileSystem, path: str, name: str, kind: str | None
) -> tuple[list[str], str | None]:
    """Return the files, and the folder that they were looked for in; None for a single file."""
    info = filesystem.get_file_info(path)
    if info.type is fs.FileType.File:
        return [path], None
    found, folder = _in_folders(filesystem, path, name, info.type)
    # A folder has a README or a _SUCCESS beside its data; a file that was named is taken at its
    # word.
    return [one for one in found if kind or format_of(one)], folder


def _in_folders(
    filesystem: fs.FileSystem, path: str, name: str, kind: fs.FileType
) -> tuple[list[str], str]:
    if kind is fs.FileType.Directory:
        return list(_visible(filesystem, path, name)), path
    if _GLOB.intersection(path):
        # Only the folder before the first wildcard is listed, not the whole bucket.
        folder, pattern = str(_before_wildcards(path)), _glob_pattern(path)
        deep = PurePosixPath(path).parent != PurePosixPath(folder)
        visible = _visible(filesystem, folder, name, recursive=deep)
        found = [one for one in visible if pattern.fullmatch(one)]
        if not found:
            raise CatalogError(f"No file matches {name}.", fix="Check the path and the pattern.")
        return found, folder
    raise _not_there(path, name)


def _visible(
    filesystem: fs.FileSystem, folder: str, name: str, *, recursive: bool = True
) -> Iterator[str]:
    selector = fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
    # Stores and disks list in any order, and rows are known by their number.
    infos = sorted(filesystem.get_file_info(selector), key=lambda info: str(info.path))
    for info in infos:
        below = PurePosixPath(info.path).relative_to(folder)
        for mark, (kind, instead) in _LAKES.items():
            if mark in below.parts or below.name.endswith(mark):
                raise CatalogError(
                    f"{name} is {kind}, and its files hold rows that were deleted or replaced.",
                    fix=f"Pass {instead}.",
                )
        if info.type is fs.FileType.File and not _is_hidden(below):
            yield info.path


def _is_hidden(below: PurePosixPath) -> bool:
    return any(part.startswith((".", "_")) for part in below.parts)


def _before_wildcards(path: str) -> PurePosixPath:
    parts = PurePosixPath(path).parts
    fixed = next(i for i, part in enumerate(parts) if _GLOB.intersection(part))
    return PurePosixPath(*parts[:fixed])


def _glob_pattern(path: str) -> re.Pattern[str]:
    """`*` and `?` stay within a part of the path, `**` crosses parts."""
    # `fnmatch` lets `*` cross slashes, which no shell does, and Arrow has no globs.
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = re.findall(r"\*\*/|\*\*|\*|\?|\[[^]/]+\]|[^*?]", path)
    return re.compile(
        "".join(
            tokens.get(token) or (token.replace("[!", "[^") if len(token) > 1 else re.escape(token))
            for token in found
        )
    )


def _not_there(path: str, name: str) -> CatalogError:
    # `Path("s3://bucket/x")` has one slash less: somebody passed a URI as a Path.
    if re.match(r"[a-z][a-z0-9]+:/[^/]", name):
        scheme, rest = name.split(":/", 1)
        return CatalogError(
            f"There is no catalog {name}.", fix=f'Pass the URI as text: "{scheme}://{rest}".'
        )
    near = suggest_file(Path(path))
    return CatalogError(f"There is no catalog {name}.{near}", fix="Check the path.")
