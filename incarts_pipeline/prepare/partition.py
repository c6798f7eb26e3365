"""Partition of a catalog: the rows that have one value in one column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import Mapping
from incarts_pipeline.prepare.placed import Placed, numbered
from incarts_pipeline.prepare.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The rows whose `column`, as text, is `value`; `column` None: the catalog is the partition."""

    value: str
    column: str | None = None


class Chosen:
    """Lets the rows through that a plan is about, each with its number in the whole catalog.

    They are those of a partition, and those that the mapping selects.

    Where an engine reads a partition's rows alone, those are the catalog here, and numbered so.

    Once all is read, `rows` counts what was let through, and `others` the other rows by their value
    ("" for null).

    Raises:
        MappingError: there is no such column, or it may differ within one basket.
    """

    def __init__(self, partition: Partition | None, schema: pa.Schema, mapping: Mapping) -> None:
        self.rows = 0
        self.others: Counter[str] = Counter()
        self._column = partition.column if partition else None
        self._value = partition.value if partition else ""
        self.selection = Selection(mapping)
        # A partition may be a catalog of its own, one file a day: then nothing is filtered.
        if self._column is None:
            return
        if self._column not in schema.names:
            raise MappingError(
                f"The catalog has no column {self._column!r} to partition by.",
                fix=f"Its columns are {', '.join(schema.names)}.",
            )
        # A basket is folded from the rows that are read; half of it would be another basket.
        baskets = any(link.basket for _, _, link in mapping.entries())
        if baskets and self._column not in mapping.unique_key:
            raise MappingError(
                f"The lines of one basket could be in several partitions of {self._column!r}.",
                fix=f"Add {self._column} to unique_key, or partition by a column that is in it.",
            )

    def of(
        self,
        batches: Iterable[pa.RecordBatch],
        warnings: list[str] | None = None,
        *,
        first_row: int = 0,
    ) -> Iterator[Placed]:
        """Yield the partition's rows that the mapping is about, as the whole catalog numbers them.

        Args:
            batches: rows of the catalog, in order.
            warnings: gets what was left out.
            first_row: the number of the first row.
        """
        for placed in numbered(batches, first_row):
            chosen = self._chosen(placed) if self._filters else placed
            self.rows += chosen.batch.num_rows
            if chosen.batch.num_rows:
                yield chosen
        if warnings is not None:
            warnings += self.selection.told()

    @property
    def _filters(self) -> bool:
        return self._column is not None or self.selection.is_needed

    def _chosen(self, placed: Placed) -> Placed:
        batch, first = placed.batch, placed.rows[0].as_py() if len(placed.rows) else 0
        ours = self.selection.wanted(batch, first)
        if self._column is not None:
            ours = pc.and_(ours, self._in_partition(batch, ours))
        return placed.kept(self.selection.firsts(batch, ours))

    def _in_partition(self, batch: pa.RecordBatch, wanted: pa.BooleanArray) -> pa.BooleanArray:
        # Partition keys are text in Dagster, whatever the column's type.
        text = batch.column(self._column).cast(pa.string())
        ours = pc.equal(text, self._value).fill_null(False)
        others = text.filter(pc.and_(wanted, pc.invert(ours))).value_counts()
        for one in others.to_pylist():
            # Counted, so that a value that no partition has is noticed: its rows would never get
            # links.
            self.others[one["values"] or ""] += one["counts"]
        return ours
