"""Platform of a table: which shop's program wrote it, and which of its rows are products."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.mapping import PRESETS, Condition, Preset
from incarts_pipeline.suggest.profile import plain_word

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def platform_of(names: Sequence[str]) -> Preset | None:
    """Return the platform that writes tables with such a header, None where none does."""
    words = {plain_word(name) for name in names}
    found = (one for one in PRESETS if {plain_word(sign) for sign in one.signs} <= words)
    return next((with_names(one, names) for one in found), None)


def with_names(preset: Preset, names: Sequence[str]) -> Preset:
    """Return a preset with the columns spelled as a table has them."""
    spelled = {plain_word(name): name for name in names} | {name: name for name in names}

    def own(name: str) -> str:
        return spelled.get(name) or spelled.get(plain_word(name), name)

    page = re.sub(
        r"\{([^{}]+?)(:raw)?\}",
        lambda one: one[0] if one[1] == "shop" else f"{{{own(one[1])}{one[2] or ''}}}",
        preset.page,
    )
    conditions = tuple(
        dataclasses.replace(one, column=own(one.column))
        for one in preset.rows
        if own(one.column) in names
    )
    return dataclasses.replace(
        preset,
        unique_key=own(preset.unique_key),
        label=own(preset.label),
        page=page,
        rows=conditions,
    )


def conditions_met(preset: Preset | None, sample: pa.Table) -> tuple[Condition, ...]:
    """Return the platform's conditions, without one that no row of the sample fulfils."""
    if preset is None:
        return ()
    return tuple(one for one in preset.rows if pc.any(_mask(sample, one)).as_py())


def rows_that_count(
    rows: Rows, conditions: Sequence[Condition], first: int = 0
) -> tuple[Rows, pa.Int64Array]:
    """Return the rows that fulfil all conditions, and where they are in the table.

    Args:
        rows: some of the table.
        conditions: which rows are products.
        first: where the first of the rows is in the table, from 0.
    """
    places = pa.array(np.arange(first, first + rows.num_rows))
    for one in conditions:
        mask = _mask(rows, one)
        rows, places = rows.filter(mask), places.filter(mask)
    return rows, places


def _mask(rows: Rows, condition: Condition) -> pa.Array:
    values = rows.column(condition.column)
    found = pc.is_in(values.cast(pa.string()), pa.array(condition.values))
    return pc.and_(values.is_valid(), pc.invert(found)) if condition.excluded else found
