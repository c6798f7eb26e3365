"""Spark: `plan_links` and `write_links` over a Spark frame, on its own executors.

Spark 4, classic or Connect, and what serves Connect, like Sail. Executors prepare and compare, and
never call Incarts: their tasks are tried again and speculated. The links are made from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping as Dict, Sequence
from functools import cached_property, partial
from typing import Any, Unpack

import pyarrow as pa

from incarts_pipeline.catalog import package
from incarts_pipeline.dataframes import (
    AnyMapping,
    EnginePlan,
    EngineResult,
    PlanArguments,
    Planning,
    WriteArguments,
    Writing,
    plan_on,
    reading,
    shows,
    write_on,
)
from incarts_pipeline.engine import NUMBERS, Work, compared, prepared
from incarts_pipeline.errors import CatalogError

_PASSED = "bucket int, what string, payload binary, beside binary"  # `engine.PASSED` for Spark
_HEAD = 1_000  # rows


@shows(Planning)
def plan_links(
    frame: Any, mapping: AnyMapping = None, **arguments: Unpack[PlanArguments]
) -> EnginePlan:
    """Say what `write_links` would do with a Spark frame, and why. Sends nothing.

    The frame is counted, then read; rows that don't simply have their link already are read once
    more. Only the requests of these come here; the plan and its digest are those of the same rows
    in any other frame.

    Args:
        frame: a `pyspark.sql.DataFrame`, classic or Connect, of Spark 4 or later.
        mapping: as for `incarts_pipeline.plan_links`, like all that is given by name.
        arguments: see there.

    Raises:
        CatalogError: it is no Spark frame, can't be read, or has other rows each time it is.
        MissingExtraError: pyspark isn't installed.
        IncartsError: as `incarts_pipeline.plan_links` raises.
    """
    return plan_on(SparkFrame, frame, mapping, arguments)


@shows(Planning, Writing)
def write_links(
    frame_or_plan: Any, mapping: AnyMapping = None, **arguments: Unpack[WriteArguments]
) -> EngineResult:
    """Make a Spark frame's links, each exactly once, from here; executors only prepare them.

    All requests come here, and wait on this machine's disk.

    Args:
        frame_or_plan: what `plan_links` takes, or a plan that it made.
        mapping: as for `incarts_pipeline.write_links`, like all that is given by name.
        arguments: see there.

    Raises:
        RefusedError: a guard stands against the plan, or the frame changed since it was made.
        IncartsError: as `plan_links` and `incarts_pipeline.write_links` raise.
    """
    return write_on(SparkFrame, frame_or_plan, mapping, arguments)


def read_parquet(path: str) -> SparkFrame:
    """Return Parquet that the process's Spark session reads, or one that is begun now."""
    return _read_by(lambda session: session.read.parquet(path))


def read_table(name: str) -> SparkFrame:
    """Return a table by a name that Spark takes."""
    return _read_by(lambda session: session.table(name))


def _read_by(read: Callable[[Any], Any]) -> SparkFrame:
    builder = _package("pyspark.sql").SparkSession.builder
    return SparkFrame(_read(lambda: read(builder.getOrCreate())))


def _package(module: str) -> Any:
    return package(module, "spark", "Spark frames")


def _read(work: Callable[[], Any]) -> Any:
    with reading(SparkFrame.name, _package("pyspark.errors").PySparkException):
        return work()


class SparkFrame:
    """A Spark frame as `dataframes.EngineFrame`."""

    name, keeps = "the Spark frame", "persist()"

    def __init__(self, frame: Any) -> None:
        functions = _package("pyspark.sql.functions")
        if not hasattr(frame, "mapInArrow") or not hasattr(frame, "toArrow"):
            raise CatalogError(
                f"An object of the type {type(frame).__name__} is no frame of Spark 4.",
                fix="Give other tables to incarts_pipeline.plan_links.",
            )
        self._frame, self._functions = frame, functions

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        return _read(self._frame.limit(0).toArrow).schema

    def counts(self, columns: Sequence[str]) -> Dict[int, int]:  # noqa: ARG002 - Spark needs none
        """Return how many rows each partition has."""
        number = self._functions.spark_partition_id().alias("number")
        counted = self._frame.select(number).groupBy("number").count()
        return {row["number"]: row["count"] for row in _read(counted.collect)}

    def values(self, column: str) -> Dict[str, int]:
        """Return how many rows have each value of a column."""
        text = self._functions.coalesce(self._frame[_quoted(column)], self._functions.lit(""))
        # As bytes: under a collation, texts that differ may be one value.
        value = text.cast("binary").alias("value")
        counted = _read(self._frame.select(value).groupBy("value").count().collect)
        return {bytes(row["value"]).decode(errors="replace"): row["count"] for row in counted}

    def having(self, column: str, value: str) -> SparkFrame:
        """Return the frame with those rows alone that have a value, or what Spark takes for it.

        Compared as bytes they would be exact, but a comparison of the column itself is what lets
        Spark leave out files.
        """
        return SparkFrame(self._frame.where(self._frame[_quoted(column)] == value))

    def found(self, work: Work, known: pa.Table | None = None) -> Iterator[Dict[str, Any]]:
        """Carry out the work on the executors."""
        # Not under their own names, of which Spark doesn't take all.
        columns = [
            self._frame[_quoted(name)].alias(f"c{place}") for place, name in enumerate(work.read)
        ]
        rows = self._frame.select(*columns, self._number)
        found = rows.mapInArrow(partial(prepared, work=work), _PASSED)
        if known is not None:
            passed = found.unionAll(self.framed(known))
            found = passed.groupBy("bucket").applyInArrow(_comparing(work), _PASSED)
        given = _read(lambda: found.toLocalIterator(prefetchPartitions=True))
        while (row := _read(lambda: next(given, None))) is not None:
            yield row.asDict()

    @property
    def _number(self) -> Any:
        return self._functions.monotonically_increasing_id().alias(NUMBERS)

    def head(self) -> pa.Table:
        """Return some rows."""
        return _read(self._frame.limit(_HEAD).toArrow)

    def collected(self) -> pa.Table:
        """Return all rows."""
        # As Spark numbers them: it may bring them in another order.
        table = _read(self._frame.select("*", self._number).toArrow)
        return table.sort_by(NUMBERS).drop_columns([NUMBERS])

    def framed(self, table: pa.Table) -> Any:
        """Return a table as a Spark frame of the same session."""
        session = self._frame.sparkSession
        if table.num_rows:
            return session.createDataFrame(table)
        # Spark makes no frame of no rows.
        nothing = [pa.nulls(1, field.type) for field in table.schema]
        return session.createDataFrame(pa.table(nothing, names=table.column_names)).limit(0)


def _comparing(work: Work) -> Callable[[pa.Table], pa.Table]:
    # Spark looks at the function's types, which a partial one hasn't.
    def compare(rows: pa.Table) -> pa.Table:
        return compared(rows, work)

    return compare


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
