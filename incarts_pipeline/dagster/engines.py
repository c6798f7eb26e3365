"""Engines that plan an asset's catalog where its rows are, and the frames that they read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.dagster.sources import DuckDbTable, given, upstream_value, with_partition

if TYPE_CHECKING:
    from incarts_pipeline.dataframes import EngineFrame


class EngineKind(StrEnum):
    """What prepares and compares the rows; the links are made from the run's process."""

    SPARK = "spark"
    RAY = "ray"


@dataclass(frozen=True)
class SparkTable:
    """A table by any name that Spark takes: `shop.products`, or ``delta.`s3://bucket/products` ``.

    `{partition}` in it is filled in.
    """

    name: str


def check_engine(
    engine: EngineKind | None, catalog: str | dg.EnvVar | dg.AssetKey | DuckDbTable | SparkTable
) -> None:
    """Refuse a catalog that an engine can't read.

    Raises:
        dagster.DagsterInvalidDefinitionError: it is one.
    """
    if isinstance(catalog, SparkTable) and engine is not EngineKind.SPARK:
        raise dg.DagsterInvalidDefinitionError("A table alone is Spark's: it needs engine: spark.")
    if isinstance(catalog, DuckDbTable) and engine is not None:
        raise dg.DagsterInvalidDefinitionError(
            f"A DuckDB table is read here, so it can't go with engine: {engine}."
        )


def engine_frame(
    engine: EngineKind,
    source: str | dg.EnvVar | dg.AssetKey | DuckDbTable | SparkTable,
    value: Any,
    partition: str | None,
) -> EngineFrame:
    """Return a partition's catalog as an engine's frame.

    Spark's session is that of the process, as `SPARK_REMOTE` or Spark's own files say; Ray's
    cluster that of `RAY_ADDRESS`.

    Args:
        engine: which one.
        source: a path or URI of Parquet, or its variable; a table; or an asset.
        value: the asset's value: a Spark frame, a Ray dataset, or a path of Parquet; by partition
            when several partitions of it were loaded.
        partition: the partition's key, None without partitions.

    Raises:
        CatalogError: it can't be read.
        MissingExtraError: the engine isn't installed.
    """
    if isinstance(source, dg.AssetKey):
        place = upstream_value(value, partition)
    elif isinstance(source, SparkTable):
        place = SparkTable(with_partition(source.name, partition))
    else:
        place = with_partition(given(source), partition)  # type: ignore[arg-type]
    return _spark_frame(place) if engine is EngineKind.SPARK else _ray_frame(place)


def _spark_frame(place: Any) -> EngineFrame:
    from incarts_pipeline.spark import SparkFrame, read_parquet, read_table

    if isinstance(place, SparkTable):
        return read_table(place.name)
    return read_parquet(place) if isinstance(place, str) else SparkFrame(place)


def _ray_frame(place: Any) -> EngineFrame:
    from incarts_pipeline.ray import RayFrame, read_parquet

    return read_parquet(place) if isinstance(place, str) else RayFrame(place)
