"""Sources of an asset's catalog and places of its output, one partition at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg

from incarts_pipeline.catalog import delta_uri, is_delta_uri
from incarts_pipeline.path_names import in_path

PARTITION = "{partition}"


@dataclass(frozen=True)
class DuckDbTable:
    """A table or view in a DuckDB file, such as a dbt model; the file is opened read-only."""

    database: str
    table: str


def catalog_of(
    source: str | dg.EnvVar | dg.AssetKey | DuckDbTable, value: Any, partition: str | None
) -> object:
    """Return what the library reads as the catalog of a partition.

    Args:
        source: a path or URI, which may contain `{partition}`, or its variable; a table; or an
            asset.
        value: the asset's value: a frame, an Arrow table, or a path; by partition when several
            partitions of it were loaded.
        partition: the partition's key, None without partitions.
    """
    if isinstance(source, dg.AssetKey):
        return upstream_value(value, partition)
    if isinstance(source, DuckDbTable):
        import duckdb

        # dbt may have it open; the relation keeps the connection for as long as it is read.
        connection = duckdb.connect(source.database, read_only=True)
        return connection.table(source.table)
    return with_partition(given(source), partition)


def upstream_value(value: Any, partition: str | None) -> Any:
    """Return the value of an upstream asset that belongs to a partition."""
    # Dagster hands a mapping by partition when a step has several, and the value itself for one.
    return value[partition] if isinstance(value, Mapping) and partition in value else value


def given(place: str | dg.EnvVar) -> str:
    """Return a path or URI, out of its variable where it is in one.

    Raises:
        SettingsError: the variable isn't set.
    """
    if not isinstance(place, dg.EnvVar):
        return place
    from incarts_pipeline.errors import SettingsError
    from incarts_pipeline.outgoing import keep_credentials

    value = place.get_value()
    if value is None:
        raise SettingsError(
            f"There is no variable {place.env_var_name}, which the asset's definition names.",
            fix="Set it where Dagster starts its runs.",
        )
    return keep_credentials(value)


def plain_mapping(mapping: str | Path | Mapping[str, Any]) -> Path | dict[str, Any]:
    """Return a mapping, or a file's path, as the library takes it."""
    return dict(mapping) if isinstance(mapping, Mapping) else Path(mapping)


def with_partition(place: str, partition: str | None) -> str:
    """Fill a partition's key into a path or URI, as `path_name` spells it."""
    return place if partition is None else in_path(place, PARTITION, partition)


def output_place(output: str, *, partitioned: bool) -> str:
    """Return the output's path with a place for the partition, unless it names one.

    It is a folder: within that of a dataset or Delta table, or the one that a file is in.
    """
    if not partitioned or PARTITION in output:
        return output
    # One file for all partitions would be written over by each of them.
    uri, is_delta = delta_uri(output), is_delta_uri(output)
    scheme, mark, rest = uri.folder.rpartition("://")
    path, asked, options = rest.partition("?") if mark else (rest, "", "")
    if is_delta or path.endswith("/") or (mark and "/" not in path):
        path = f"{path.rstrip('/')}/{PARTITION}{'' if is_delta else '/'}"
    else:
        folder, slash, name = path.rpartition("/")
        path = f"{folder}{slash}{PARTITION}/{name}"
    place = f"{scheme}{mark}{path}{asked}{options}"
    return str(replace(uri, folder=place)) if is_delta else place


def make_folder(output: str) -> None:
    """Make a local output's folder."""
    place = delta_uri(output).folder
    if "://" not in place:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
