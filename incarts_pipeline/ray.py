"""Ray: `plan_links` and `write_links` over a Ray dataset, on its own workers.

Workers prepare and compare, and never call Incarts: Ray tries their tasks again. The links are made
from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping as Dict, Sequence
from functools import cached_property, partial
from typing import Any, Unpack, cast

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
from incarts_pipeline.engine import (
    PASSED,
    Work,
    compared,
    look,
    numbered_block,
    prepared_block,
    typed_block,
    values_of,
)
from incarts_pipeline.errors import CatalogError

_HEAD = 1_000  # rows


@shows(Planning)
def plan_links(
    dataset: Any, mapping: AnyMapping = None, **arguments: Unpack[PlanArguments]
) -> EnginePlan:
    """Say what `write_links` would do with a Ray dataset, and why. Sends nothing.

    The columns that the mapping reads are materialized once, in Ray's object store; for a partition
    by a column of text, that column is before, by itself. Only the
    requests of rows that don't simply have their link already come here; the plan and its digest
    are those of the same rows in any other frame.

    Args:
        dataset: a `ray.data.Dataset`.
        mapping: as for `incarts_pipeline.plan_links`, like all that is given by name.
        arguments: see there.

    Raises:
        CatalogError: it is no Ray dataset, can't be read, or its blocks have other types.
        MissingExtraError: Ray isn't installed.
        IncartsError: as `incarts_pipeline.plan_links` raises.
    """
    return plan_on(RayFrame, dataset, mapping, arguments)


@shows(Planning, Writing)
def write_links(
    dataset_or_plan: Any, mapping: AnyMapping = None, **arguments: Unpack[WriteArguments]
) -> EngineResult:
    """Make a Ray dataset's links, each exactly once, from here; workers only prepare them.

    All requests come here, and wait on this machine's disk.

    Args:
        dataset_or_plan: what `plan_links` takes, or a plan that it made.
        mapping: as for `incarts_pipeline.write_links`, like all that is given by name.
        arguments: see there.

    Raises:
        RefusedError: a guard stands against the plan.
        IncartsError: as `plan_links` and `incarts_pipeline.write_links` raise.
    """
    return write_on(RayFrame, dataset_or_plan, mapping, arguments)


def read_parquet(path: str) -> RayFrame:
    """Return Parquet that Ray reads."""
    data = _package("ray.data")
    return RayFrame(_read(lambda: data.read_parquet(path)))


def _package(module: str) -> Any:
    return package(module, "ray", "Ray datasets")


def _read(work: Callable[[], Any]) -> Any:
    with reading(RayFrame.name, _package("ray.exceptions").RayError, OSError, pa.ArrowException):
        return work()


class RayFrame:
    """A Ray dataset as `dataframes.EngineFrame`; a block is a partition."""

    name, keeps = "the Ray dataset", "materialize()"

    def __init__(self, dataset: Any) -> None:
        ray, data = _package("ray"), _package("ray.data")
        if not isinstance(dataset, data.Dataset):
            raise CatalogError(
                f"An object of the type {type(dataset).__name__} is no Ray dataset.",
                fix="Give other tables to incarts_pipeline.plan_links.",
            )
        self._dataset, self._ray = dataset, ray
        # Read once: a dataset may have other rows each time, and blocks in another order.
        self._columns: Sequence[str] | None = None
        self._blocks: list[Any] = []

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        found = _read(self._dataset.schema)
        if found is None:
            raise CatalogError(
                f"{self.name} has no rows and no columns.", fix="Look at its source."
            )
        fields = [pa.field(*one) for one in zip(found.names, map(_arrow, found.types), strict=True)]
        # That of the first block, which says nothing of a column that has no value in it.
        unknown = [field.name for field in fields if pa.types.is_null(field.type)]
        if unknown:
            types = self._types_of(self._materialized(unknown))
            fields = [types.get(field.name, field) for field in fields]
        return pa.schema(fields)

    def counts(self, columns: Sequence[str]) -> Dict[int, int]:
        """Return how many rows each block has."""
        if self._columns != columns:
            self._blocks, self._columns = self._materialized(columns), columns
        looks = _read(lambda: self._ray.get([self._task(look)(one) for one in self._blocks]))
        for _, schema in looks:
            self._check(schema)
        return {number: rows for number, (rows, _) in enumerate(looks) if rows}

    def values(self, column: str) -> Dict[str, int]:
        """Return how many rows have each value of a column."""
        blocks = self._materialized([column])
        counts = _read(lambda: self._ray.get([self._task(values_of)(one) for one in blocks]))
        return sum(map(Counter, counts), Counter[str]())

    def having(self, column: str, value: str) -> RayFrame:
        """Return the dataset with those rows alone that have a value."""
        col = _package("ray.data.expressions").col
        return RayFrame(self._dataset.filter(expr=col(column) == value))

    def found(self, work: Work, known: pa.Table | None = None) -> Iterator[Dict[str, Any]]:
        """Carry out the work on Ray's workers."""
        data, columns = self._ray.data, [self.schema.field(name) for name in work.read]
        number = self._task(numbered_block)
        blocks = [number(one, i, pa.schema(columns)) for i, one in enumerate(self._blocks)]
        found = data.from_arrow(PASSED.empty_table() if known is None else known)
        if work.counts:
            rows = _read(lambda: data.from_arrow_refs(blocks))
            passed = rows.map_batches(
                partial(prepared_block, work=work), batch_size=None, batch_format="pyarrow"
            )
            found = passed if known is None else found.union(passed)
        if known is not None:
            found = found.groupby("bucket", num_partitions=work.buckets).map_groups(
                partial(compared, work=work), batch_format="pyarrow"
            )
        batches = iter(found.iter_batches(batch_size=None, batch_format="pyarrow"))
        while (batch := _read(lambda: next(batches, None))) is not None:
            yield from batch.to_pylist()

    def head(self) -> pa.Table:
        """Return some rows."""
        return self._together(_read(self._dataset.limit(_HEAD).to_arrow_refs))

    def collected(self) -> pa.Table:
        """Return all rows."""
        return self._together(self._materialized(self.schema.names))

    def framed(self, table: pa.Table) -> Any:
        """Return a table as a Ray dataset."""
        return self._ray.data.from_arrow(table)

    def _materialized(self, columns: Sequence[str]) -> list[Any]:
        """Return blocks of some columns, in the order in which the dataset reads them."""
        dataset = self._dataset.select_columns([*columns])
        options = dataset.context.execution_options
        before, options.preserve_order = options.preserve_order, True
        try:
            found: list[Any] = _read(dataset.to_arrow_refs)
            return found
        finally:
            options.preserve_order = before

    def _task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        remote = self._ray.remote(function).remote
        return cast(Callable[..., Any], remote)

    def _types_of(self, blocks: Sequence[Any]) -> Dict[str, pa.Field]:
        looks = _read(lambda: self._ray.get([self._task(look)(one) for one in blocks]))
        fields = [field for _, schema in looks for field in schema]
        return {one.name: one for one in fields if not pa.types.is_null(one.type)}

    def _check(self, schema: pa.Schema) -> None:
        """Refuse a block that isn't of the dataset's types: Ray lets each have its own."""
        for field in schema:
            wanted = self.schema.field(field.name).type
            if field.type != wanted and not pa.types.is_null(field.type):
                raise CatalogError(
                    f"{self.name} has the column {field.name!r} as {wanted} in one block, and as "
                    f"{field.type} in another.",
                    fix="Give all blocks one type, such as with map_batches, and materialize it.",
                    column=field.name,
                )

    def _together(self, blocks: Sequence[Any]) -> pa.Table:
        tables = _read(lambda: self._ray.get(list(blocks)))
        for table in tables:
            self._check(table.schema)
        return pa.concat_tables(
            [typed_block(table, self.schema) for table in tables] or [self._nothing]
        )

    @property
    def _nothing(self) -> pa.Table:
        return self.schema.empty_table()


def _arrow(kind: Any) -> pa.DataType:
    """Return a type of `ray.data.Schema`, which has Python's `object` for what Arrow can't hold."""
    return kind if isinstance(kind, pa.DataType) else pa.null()
