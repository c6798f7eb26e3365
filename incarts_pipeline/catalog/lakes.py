"""Delta and Iceberg tables: the rows of one version, as the table's own log has them.

Their folders keep files of rows that were deleted or replaced; these are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.dataset as ds

from incarts_pipeline.catalog.catalog import Catalog, Part, cannot_read
from incarts_pipeline.catalog.extras import package
from incarts_pipeline.catalog.fingerprint import Fingerprint, States
from incarts_pipeline.catalog.lake_uris import (
    ICEBERG,
    DeltaUri,
    TableVersion,
    delta_uri,
    iceberg_named,
    iceberg_uri,
    whole,
)
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.outgoing import keep_credentials, uri_place

_EXTRA = "lakes"


def open_delta(source: str, options: ReadOptions) -> Catalog:
    """Open a version of a Delta table, the newest unless its URI says another one.

    Its parts are its files, which are never written to.

    Args:
        source: its folder, a path or URI, or `delta://` and the like as in `lake_uris`.
        options: of these only the batch size counts.

    Raises:
        CatalogError: it can't be read, or has a feature that its reader here doesn't know, like
            deletion vectors.
        MissingExtraError: deltalake isn't installed.
    """
    deltalake = package("deltalake", _EXTRA, "Delta tables")
    uri, name = delta_uri(source), uri_place(keep_credentials(source))

    def load(version: int | None = None) -> Any:
        folder, storage = uri_place(uri.folder), delta_storage(uri.folder)
        return deltalake.DeltaTable(folder, version=version, storage_options=storage)

    try:
        table = load(uri.version)
        version = table.version()
        dataset = table.to_pyarrow_dataset()
    except Exception as error:  # each library has errors of its own
        raise _cannot_read(name, error, uri.version) from None
    # By their names, as in a folder: in the log they have no order.
    files = sorted(dataset.get_fragments(), key=lambda fragment: str(fragment.path))
    ordered = ds.FileSystemDataset(files, dataset.schema, dataset.format, dataset.filesystem)

    def read(rows: ds.Dataset) -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches(
            batch_size=options.batch_rows, batch_readahead=2, fragment_readahead=1
        )

    def part_of(file: ds.ParquetFileFragment) -> Part:
        one = ds.FileSystemDataset([file], dataset.schema, dataset.format, dataset.filesystem)
        return Part(name=file.path, read=lambda _: read(one), state=(file.path,))

    return Catalog(
        name,
        dataset.schema,
        lambda: read(ordered),
        batch_rows=options.batch_rows,
        fingerprint=_versions(name, version, lambda: load(uri.version).version()),
        parts=[part_of(file) for file in files],
        version=TableVersion(
            said=f"Delta version {version}",
            source=str(DeltaUri(folder=whole(uri.folder), version=version)),
        ),
    )


def open_iceberg(source: str, options: ReadOptions) -> Catalog:
    """Open a snapshot of an Iceberg table, the current one unless its URI says another one.

    Args:
        source: its `.metadata.json` file, a path or URI; or `iceberg://CATALOG/namespace.table`,
            with a catalog of pyiceberg's settings.
        options: of these only the batch size counts.

    Raises:
        CatalogError: it can't be read.
        MissingExtraError: pyiceberg isn't installed.
    """
    table_module = package("pyiceberg.table", _EXTRA, "Iceberg tables")
    name = uri_place(keep_credentials(source))
    place, wanted = iceberg_uri(source)

    def load() -> Any:
        if not place.startswith(ICEBERG):
            properties = _properties(place)
            return table_module.StaticTable.from_metadata(uri_place(place), properties=properties)
        catalog, _, table = place.removeprefix(ICEBERG).partition("/")
        catalogs = package("pyiceberg.catalog", _EXTRA, "Iceberg tables")
        with catalogs.load_catalog(catalog) as opened:  # a SQL one keeps a connection
            return opened.load_table(table)

    try:
        table = load()
        snapshot = _snapshot(table, wanted)
        schema = table.scan(snapshot_id=snapshot).to_arrow_batch_reader().schema
    except Exception as error:  # each library has errors of its own
        raise _cannot_read(name, error, wanted) from None

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.scan(snapshot_id=snapshot).to_arrow_batch_reader()

    version = None
    if snapshot is not None:
        said = f"Iceberg snapshot {snapshot}"
        version = TableVersion(said=said, source=iceberg_named(place, snapshot))
    return Catalog(
        name,
        schema,
        batches,
        batch_rows=options.batch_rows,
        fingerprint=_versions(name, snapshot, lambda: _snapshot(load(), wanted)),
        version=version,
    )


def _snapshot(table: Any, wanted: int | None) -> int | None:
    """Return the snapshot to read: that which is wanted, or the current one.

    Raises:
        LookupError: the table doesn't have it.
    """
    if wanted is None:
        current = table.current_snapshot()  # None in a table without rows
        return None if current is None else int(current.snapshot_id)
    if table.snapshot_by_id(wanted) is None:
        raise LookupError(f"there is no snapshot {wanted}")
    return wanted


def _versions(name: str, version: object, now: Callable[[], object]) -> Fingerprint:
    """Return what tells that a table has another version than the one that was opened."""

    def look() -> States:
        try:
            return {name: (now(),)}
        except Exception as error:  # each library has errors of its own
            raise _cannot_read(name, error) from None

    return Fingerprint(name=name, states={name: (version,)}, look=look)


def delta_storage(place: str) -> dict[str, str] | None:
    """Return what a URI says of its object store, in deltalake's words."""
    parts = urlsplit(place)
    said = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    found = {"AWS_REGION": said["region"]} if "region" in said else {}
    if parts.scheme == "s3" and parts.username and parts.password:
        found["AWS_ACCESS_KEY_ID"] = unquote(parts.username)
        found["AWS_SECRET_ACCESS_KEY"] = unquote(parts.password)
    if "endpoint_override" in said:
        scheme = said.get("scheme", "https")
        found["AWS_ENDPOINT_URL"] = f"{scheme}://{said['endpoint_override']}"
        found["AWS_ALLOW_HTTP"] = str(scheme == "http").lower()
    return found or None


def _properties(source: str) -> dict[str, str]:
    endpoint = (delta_storage(source) or {}).get("AWS_ENDPOINT_URL")
    return {} if endpoint is None else {"s3.endpoint": endpoint}


def _cannot_read(name: str, error: Exception, version: int | None = None) -> CatalogError:
    if "reader feature" in str(error):
        return CatalogError(
            f"{name} uses a feature that can't be read here: {str(error).splitlines()[0]}",
            fix="Write its rows to Parquet with the engine that made it, and pass that.",
        )
    if version is None:
        return cannot_read(name, error)
    fix = "If that was cleaned up, plan the newest one."
    return cannot_read(f"{name} in its version {version}", error, fix=fix)
