"""Places where tables go: a local path or a URI, written whole and put in place in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from incarts_pipeline.catalog import DeltaUri, delta_uri, is_delta_uri, package
from incarts_pipeline.errors import PublishError, reason_of
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.file_writer import check_writable, new_file, staged_file
from incarts_pipeline.outgoing import columns_without_secrets, keep_credentials, uri_place
from incarts_pipeline.publish.delta_log import DELTA_LOG, log_of
from incarts_pipeline.publish.freshness import sha256_of
from incarts_pipeline.publish.output import Written, is_folder, run_of, within
from incarts_pipeline.schemas import DISTINCT

# What the program itself has made up; the body was looked at before it was sent.
_OURS = frozenset(
    {
        *("status", "action", "reason", "state", "body", "content_hash", "link_content_hash"),
        *("idempotency_key", "run_id", "settled_run_id"),
    }
)


def resolve(target: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem and the path of a local path or a URI; of a Delta table's folder."""
    if is_delta_uri(target):
        target = within(target, "")
    if "://" not in target:
        return fs.LocalFileSystem(), str(Path(target).absolute())
    try:
        filesystem, path = fs.FileSystem.from_uri(keep_credentials(target))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        # `from None`: the cause's own message has the URI with its password.
        raise PublishError(f"{target} is not a place that can be written ({error}).") from None
    return filesystem, path


def local_file(target: str) -> Path | None:
    """Return the path of a local file, None for one on an object store."""
    filesystem, path = resolve(target)
    return Path(path) if isinstance(filesystem, fs.LocalFileSystem) else None


def exists(target: str) -> bool:
    """Say whether there is a published table at a path or a URI: a file, or a folder with some."""
    return bool(files_of(target))


def as_delta(folder: str) -> str:
    """Return a dataset's folder as the URI of a Delta table, where it is one."""
    filesystem, path = resolve(within(folder, DELTA_LOG))
    if is_delta_uri(folder) or filesystem.get_file_info(path).type is not fs.FileType.Directory:
        return folder
    return str(DeltaUri(folder=folder))


def files_of(target: str) -> list[str]:
    """Return the places of a table's files that there are: its own, or by name those of its folder.

    What begins with a dot or an underscore is no part of a table. Of a Delta table's files there
    are those that count.
    """
    if (log := log_of(target)) is not None:
        return [within(target, name) for name in sorted(log.files)]
    if not is_folder(target):
        return [target] if _kind(target) is fs.FileType.File else []
    names = (info.base_name for info in in_folder(target) if info.type is fs.FileType.File)
    return [within(target, name) for name in names if name[0] not in "._"]


def in_folder(target: str) -> list[fs.FileInfo]:
    """Return what is in a folder by name, nothing when it isn't there.

    Raises:
        PublishError: its store can't be reached.
    """
    filesystem, path = resolve(target)
    selector = fs.FileSelector(path.rstrip("/"), allow_not_found=True)
    try:
        found = filesystem.get_file_info(selector)
    except (pa.ArrowException, OSError) as error:
        raise _cannot_look(target, error) from error
    return sorted(found, key=lambda info: str(info.base_name))


def _kind(target: str) -> fs.FileType:
    """Return what is at a path or a URI.

    Raises:
        PublishError: there can be nothing, or its store can't be reached.
    """
    filesystem, path = resolve(target)
    try:
        return filesystem.get_file_info(path).type
    except (pa.ArrowException, OSError) as error:
        raise _cannot_look(target, error) from error


def check_place(target: str, *, or_folder: bool = False) -> None:
    """Refuse a place where no table can be written; a quick look before the long work.

    Args:
        target: the path or URI.
        or_folder: whether a folder will do, for a table of many files.

    Raises:
        PublishError: it is a folder, is named like another kind of file, or can't be written.
    """
    filesystem, path = resolve(target)
    if is_delta_uri(target):
        _check_delta(target, or_folder)
    if or_folder and is_folder(target):
        _check_folder(filesystem, path, target)
        return
    if is_folder(target) or _kind(target) is fs.FileType.Directory:
        more = ", or end it with a slash for a table of many files" if or_folder else ""
        raise PublishError(
            f"{target} is a folder.", fix=f"Name a file in it, like links.parquet{more}."
        )
    if PurePosixPath(path).suffix.lower() != ".parquet":
        raise PublishError(
            f"{target} isn't named like what would be in it, which is Parquet.",
            fix="Let its name end with .parquet"
            + (", or with a slash for a folder of many files" if or_folder else "")
            + "; pandas, Polars and DuckDB make a CSV file of it.",
        )
    _check_writable(filesystem, path, target)


def write_table(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: str) -> Written:
    """Write a table to a finished local file, then put it in place in one step."""
    return put_table(map(cleaned, (batch.cast(schema) for batch in batches)), schema, target)


def put_table(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: str, *, like: str | None = None
) -> Written:
    """Do what `write_table` does with batches of the schema that were `cleaned` already."""
    return put(lambda file: _write(batches, schema, file), target, like=like)


def put(write: Callable[[BinaryIO], Written], target: str, *, like: str | None = None) -> Written:
    """Let a file be written whole beside its place, then put it there in one step.

    Args:
        write: writes it.
        target: where it goes.
        like: the file whose successor it is, under another name; None for the one that is there.

    Raises:
        PublishError: it can't be written; what was there stays.
    """
    filesystem, path = resolve(target)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            with new_file(Path(path), like=local_file(like) if like else None) as file:
                written = write(file)
                passing(Place.MID_PUBLISH)
            return written
        with staged_file() as part:
            with new_file(part, private=True) as file:
                written = write(file)
                passing(Place.MID_PUBLISH)
            fs.copy_files(str(part), path, destination_filesystem=filesystem)
            return written
    except OSError as error:
        raise _cannot_write(target, error) from error


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: BinaryIO) -> Written:
    """Write a table to an open file."""
    repeating = [name for name in schema.names if name not in DISTINCT]
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeating) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    file.flush()
    path, run_id = Path(file.name), run_of(schema)
    return Written(rows=rows, size=path.stat().st_size, sha256=sha256_of(path), run_id=run_id)


def cleaned(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch without the secrets that others may have put into it."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    others = [name for name in columns if name not in _OURS]
    found = columns_without_secrets([columns[name] for name in others])
    all_columns = columns | dict(zip(others, found, strict=True))
    return pa.RecordBatch.from_arrays(list(all_columns.values()), schema=batch.schema)


def _check_folder(filesystem: fs.FileSystem, path: str, shown: str) -> None:
    if not isinstance(filesystem, fs.LocalFileSystem):
        return
    folder = Path(path)
    if folder.is_dir():
        check_writable(folder / "_manifest.json")
    elif folder.exists():
        raise PublishError(f"{shown} is a file.", fix="Leave the slash at its end out.")
    else:
        _check_writable(filesystem, path, shown)


def _check_delta(target: str, or_folder: bool) -> None:
    if not or_folder:
        raise PublishError(
            f"{target} would be a Delta table, as which only links are published.",
            fix="Name a file that ends with .parquet.",
        )
    if delta_uri(target).version is not None:
        raise PublishError(
            f"{target} is an old version of a table, and a run makes a new one.",
            fix="Leave its version out.",
        )
    package("deltalake", "lakes", "Delta tables")


def _check_writable(filesystem: fs.FileSystem, path: str, shown: str) -> None:
    if not isinstance(filesystem, fs.LocalFileSystem):
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise PublishError(f"The folder of {shown} doesn't exist.", fix=f"Create {folder}.")
    check_writable(Path(path))


def _cannot_look(target: str, error: Exception) -> PublishError:
    return PublishError(
        f"The output {uri_place(target)} can't be looked at ({reason_of(error)}).",
        fix="Check the path, and that you may look there.",
    )


def _cannot_write(target: str, error: OSError) -> PublishError:
    return PublishError(
        f"{target} can't be written ({error.strerror or error}).",
        fix="Make room or give access, or choose another output. What was answered is in the "
        "ledger: running again writes the file without sending anything twice.",
    )
