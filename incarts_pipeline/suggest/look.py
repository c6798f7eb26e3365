"""Look at a table: a sample of its rows for what columns look like, and counts over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import pyarrow as pa

from incarts_pipeline.catalog import Catalog
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.mapping import Condition, Preset
from incarts_pipeline.suggest.key_counts import Content, Counts, count_keys
from incarts_pipeline.suggest.platform import (
    conditions_met,
    platform_of,
    rows_that_count,
    with_names,
)
from incarts_pipeline.suggest.profile import SAMPLE_ROWS, Profile, profile_of
from incarts_pipeline.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a table.

    Attributes:
        catalog: the table.
        preset: the platform that wrote it, if that is known.
        conditions: which rows are products.
        profile: what the sample shows, of the rows that are.
    """

    catalog: Catalog
    preset: Preset | None
    conditions: tuple[Condition, ...]
    profile: Profile
    _first: Sequence[pa.RecordBatch]  # that the sample is of
    _rest: Iterator[pa.RecordBatch]

    @property
    def first_counts(self) -> bool:
        """Whether of rows that share a key the first one is the product."""
        return self.preset is not None and self.preset.first_of_key

    def counts(self, candidates: Sequence[tuple[str, ...]], content: Content) -> tuple[Counts, int]:
        """Count keys over all rows; return that, and the number of rows that there are.

        Comparing what rows that share a key ask for takes most of the time, and is needless where
        the likeliest key has no such rows. So it waits, for a table that can be read again, until
        it turns out to be needed.
        """
        likely = self.profile.named(candidates[0][0])
        alone = likely is not None and likely.distinct == self.profile.rows
        # Addresses may be many for one item, which only their contents tell.
        items = content.item is not None and candidates[0] == (content.target,)
        spared = alone and len(candidates[0]) == 1 and self.catalog.reopenable and not items
        batches = chain(self._first, self._rest)
        counts, rows = self._count(batches, candidates, None if spared else content)
        if not (spared and counts.keys[0].differing):
            return counts, rows
        shared = [key.columns for key in counts.keys if key.differing]
        compared, _ = self._count(self.catalog.batches(), shared, content)
        known = {key.columns: key for key in compared.keys}
        keys = tuple(known.get(key.columns, key) for key in counts.keys)
        return replace(compared, keys=keys), rows

    def _count(
        self,
        batches: Iterable[pa.RecordBatch],
        candidates: Sequence[tuple[str, ...]],
        content: Content | None,
    ) -> tuple[Counts, int]:
        rows = 0

        def counting() -> Iterator[tuple[pa.RecordBatch, pa.Int64Array]]:
            nonlocal rows
            for batch in batches:
                first, rows = rows, rows + batch.num_rows
                yield rows_that_count(batch, self.conditions, first)

        return count_keys(counting(), candidates, content), rows


def look_at(catalog: Catalog, preset: Preset | None = None) -> Look:
    """Read a sample.

    Args:
        catalog: any table.
        preset: the platform that wrote it; by default told from the header.

    Raises:
        CatalogError: the table can't be read, or has no rows or columns.
    """
    names = catalog.schema.names
    preset = platform_of(names) if preset is None else with_names(preset, names)
    rest = catalog.batches()
    first, sample = _sample(rest, catalog.schema)
    conditions = conditions_met(preset, sample)
    profile = profile_of(*rows_that_count(sample, conditions))
    if not profile.rows or not profile.plain:
        raise CatalogError(
            f"{catalog.name} has nothing to look at: {counted(profile.rows, 'row')}, "
            f"{counted(len(profile.plain), 'column')} of texts, numbers or dates.",
            fix="It needs a header and at least one row.",
        )
    return Look(
        catalog=catalog,
        preset=preset,
        conditions=conditions,
        profile=profile,
        _first=first,
        _rest=rest,
    )


def _sample(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> tuple[list[pa.RecordBatch], pa.Table]:
    """Return the batches that were read for a sample, and the sample."""
    first: list[pa.RecordBatch] = []
    while sum(batch.num_rows for batch in first) < SAMPLE_ROWS:
        batch = next(batches, None)
        if batch is None:
            break
        first.append(batch)
    return first, pa.Table.from_batches(first, schema).slice(0, SAMPLE_ROWS)
