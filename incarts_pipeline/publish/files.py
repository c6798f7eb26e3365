"""Places where tables go: a local path or a URI, written whole and put in place in one step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from incarts_pipeline.errors import PublishError, reason_of
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.file_writer import check_writable, new_file, staged_file
from incarts_pipeline.outgoing import columns_without_secrets, keep_credentials, uri_place
from incarts_pipeline.publish.freshness import sha256_of
from incarts_pipeline.schemas import DISTINCT

# What the program itself has made up; the body was looked at before it was sent.
_OURS = frozenset(
    {
        *("status", "action", "reason", "state", "body", "content_hash", "link_content_hash"),
        *("idempotency_key", "run_id", "settled_run_id"),
    }
)


def resolve(target: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem and the path of a local path or a URI."""
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
    """Say whether there is a file at a path or a URI."""
    return _kind(target) is fs.FileType.File


def _kind(target: str) -> fs.FileType:
    """Return what is at a path or a URI.

    Raises:
        PublishError: there can be nothing, or its store can't be reached.
    """
    filesystem, path = resolve(target)
    try:
        return filesystem.get_file_info(path).type
    except (pa.ArrowException, OSError) as error:
        raise PublishError(
            f"The output {uri_place(target)} can't be looked at ({reason_of(error)}).",
            fix="Check the path, and that you may look there.",
        ) from error


def check_place(target: str) -> None:
    """Refuse a place where no Parquet file can be written; a quick look before the long work.

    Raises:
        PublishError: it is a folder, is named like another kind of file, or can't be written.
    """
    filesystem, path = resolve(target)
    if _kind(target) is fs.FileType.Directory:
        raise PublishError(f"{target} is a folder.", fix="Name a file in it, like links.parquet.")
    if PurePosixPath(path).suffix.lower() != ".parquet":
        raise PublishError(
            f"{target} isn't named like what would be in it, which is Parquet.",
            fix="Let its name end with .parquet; pandas, Polars and DuckDB make a CSV file of it.",
        )
    _check_writable(filesystem, path, target)


def write_table(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: str) -> bytes:
    """Write a table to a finished local file, then put it in place in one step.

    Returns:
        The SHA-256 of what was written.
    """
    filesystem, path = resolve(target)
    try:
        if isinstance(filesystem, fs.LocalFileSystem):
            with new_file(Path(path)) as file:
                return _write(batches, schema, file)
        with staged_file() as part:
            with new_file(part, private=True) as file:
                sha256 = _write(batches, schema, file)
            fs.copy_files(str(part), path, destination_filesystem=filesystem)
    except OSError as error:
        raise _cannot_write(target, error) from error
    return sha256


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: BinaryIO) -> bytes:
    """Write a table to an open file; return the SHA-256 of what it has then."""
    repeating = [name for name in schema.names if name not in DISTINCT]
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeating) as writer:
        for batch in batches:
            columns = _clean(batch.cast(schema))
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    file.flush()
    sha256 = sha256_of(Path(file.name))
    passing(Place.MID_PUBLISH)
    return sha256


def _clean(batch: pa.RecordBatch) -> list[pa.Array]:
    """Return a batch's columns without the secrets that others may have put into them."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    others = [name for name in columns if name not in _OURS]
    found = columns_without_secrets([columns[name] for name in others])
    return list((columns | dict(zip(others, found, strict=True))).values())


def _check_writable(filesystem: fs.FileSystem, path: str, shown: str) -> None:
    if not isinstance(filesystem, fs.LocalFileSystem):
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise PublishError(f"The folder of {shown} doesn't exist.", fix=f"Create {folder}.")
    check_writable(Path(path))


def _cannot_write(target: str, error: OSError) -> PublishError:
    return PublishError(
        f"{target} can't be written ({error.strerror or error}).",
        fix="Make room or give access, or choose another output. What was answered is in the "
        "ledger: running again writes the file without sending anything twice.",
    )
