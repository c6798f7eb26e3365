"""Delta and Iceberg tables: the rows of one version, as the table's own log has them.

Their folders keep files of rows that were deleted or replaced; these are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from incarts_pipeline.catalog.catalog import Catalog, cannot_read
from incarts_pipeline.catalog.extras import package
from incarts_pipeline.catalog.fingerprint import Fingerprint, States
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.outgoing import keep_credentials, uri_place

_EXTRA = "lakes"
ICEBERG = "iceberg://"  # a table that a catalog of pyiceberg's settings has


def open_delta(source: str, options: ReadOptions) -> Catalog:
    """Open the newest version of a Delta table.

    Args:
        source: its folder, a path or URI.
        options: of these only the batch size counts.

    Raises:
        CatalogError: it can't be read, or has a feature that its reader here doesn't know, like
            deletion vectors.
        MissingExtraError: deltalake isn't installed.
    """
    deltalake = package("deltalake", _EXTRA, "Delta tables")
    name = uri_place(keep_credentials(source))

    def load(version: int | None = None) -> Any:
        return deltalake.DeltaTable(name, version=version, storage_options=_storage(source))

    try:
        table = load()
        version = table.version()
        dataset = table.to_pyarrow_dataset()
    except Exception as error:  # each library has errors of its own
        raise _cannot_read(name, error) from None

    def batches() -> Iterator[pa.RecordBatch]:
        yield from dataset.to_batches(
            batch_size=options.batch_rows, batch_readahead=2, fragment_readahead=1
        )

    return _catalog(
        name, dataset.schema, batches, _versions(name, version, lambda: load().version()), options
    )


def open_iceberg(source: str, options: ReadOptions) -> Catalog:
    """Open the current snapshot of an Iceberg table.

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

    def load() -> Any:
        if not source.startswith(ICEBERG):
            return table_module.StaticTable.from_metadata(name, properties=_properties(source))
        catalog, _, table = source.removeprefix(ICEBERG).partition("/")
        catalogs = package("pyiceberg.catalog", _EXTRA, "Iceberg tables")
        with catalogs.load_catalog(catalog) as opened:  # a SQL one keeps a connection
            return opened.load_table(table)

    try:
        table = load()
        snapshot = _snapshot(table)
        schema = table.scan().to_arrow_batch_reader().schema
    except Exception as error:  # each library has errors of its own
        raise _cannot_read(name, error) from None

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.scan(snapshot_id=snapshot).to_arrow_batch_reader()

    return _catalog(
        name, schema, batches, _versions(name, snapshot, lambda: _snapshot(load())), options
    )


def _snapshot(table: Any) -> int | None:
    current = table.current_snapshot()  # None in a table without rows
    return None if current is None else int(current.snapshot_id)


def _catalog(
    name: str,
    schema: pa.Schema,
    batches: Callable[[], Iterator[pa.RecordBatch]],
    versions: Fingerprint,
    options: ReadOptions,
) -> Catalog:
    return Catalog(name, schema, batches, batch_rows=options.batch_rows, fingerprint=versions)


def _versions(name: str, version: object, now: Callable[[], object]) -> Fingerprint:
    """Return what tells that a table has another version than the one that was opened."""

    def look() -> States:
        try:
            return {name: (now(),)}
        except Exception as error:  # each library has errors of its own
            raise _cannot_read(name, error) from None

    return Fingerprint(name=name, states={name: (version,)}, look=look)


def _storage(source: str) -> dict[str, str] | None:
    """Return what a URI says of its object store, in deltalake's words."""
    said = {key: values[-1] for key, values in parse_qs(urlsplit(source).query).items()}
    if "endpoint_override" not in said:
        return None
    scheme = said.get("scheme", "https")
    return {
        "AWS_ENDPOINT_URL": f"{scheme}://{said['endpoint_override']}",
        "AWS_ALLOW_HTTP": str(scheme == "http").lower(),
    }


def _properties(source: str) -> dict[str, str]:
    storage = _storage(source)
    return {} if storage is None else {"s3.endpoint": storage["AWS_ENDPOINT_URL"]}


def _cannot_read(name: str, error: Exception) -> CatalogError:
    if "reader feature" in str(error):
        return CatalogError(
            f"{name} uses a feature that can't be read here: {str(error).splitlines()[0]}",
            fix="Write its rows to Parquet with the engine that made it, and pass that.",
        )
    return cannot_read(name, error)
