"""Sources of an asset's catalog and places of its output, one partition at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

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
        # Dagster hands a mapping by partition when a step has several, and the value itself for
        # one.
        return value[partition] if isinstance(value, Mapping) and partition in value else value
    if isinstance(source, DuckDbTable):
        import duckdb

        # dbt may have it open; the relation keeps the connection for as long as it is read.
        connection = duckdb.connect(source.database, read_only=True)
        return connection.table(source.table)
    return with_partition(given(source), partition)


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
    """Return the output's path with a place for the partition: a folder, unless it names one."""
    if not partitioned or PARTITION in output:
        return output
    # One file for all partitions would be written over by each of them.
    folder, slash, name = output.rpartition("/")
    return f"{folder}{slash}{PARTITION}/{name}"


def make_folder(output: str) -> None:
    """Make a local output's folder."""
    if "://" not in output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
