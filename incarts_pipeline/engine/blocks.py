"""Blocks of a catalog whose engine doesn't number rows, and lets each block have its own types.

Little is loaded to carry this out: it is done by tasks of an engine.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

NUMBERS = "incarts_row_number"  # a column of our own
ROW_BITS = 33  # of an engine's row numbers, below those of the partition


def look(block: pa.Table) -> tuple[int, pa.Schema]:
    """Return how many rows a block has, and its types."""
    return block.num_rows, block.schema


def values_of(block: pa.Table) -> dict[str, int]:
    """Return how many rows a block has with each value of its one column, "" for null."""
    [column] = block.columns or [pa.nulls(0)]
    counts = column.cast(pa.string()).fill_null("").value_counts()
    return {one["values"]: one["counts"] for one in counts.to_pylist()}


def numbered_block(block: pa.Table, partition: int, schema: pa.Schema) -> pa.Table:
    """Return a block's columns as a catalog has them, c0, c1 and so on, and `NUMBERS` beside them.

    Args:
        block: any of the catalog's columns.
        partition: its number among the blocks.
        schema: the columns that are wanted.
    """
    numbers = (partition << ROW_BITS) + np.arange(block.num_rows, dtype=np.int64)
    # Under names of our own: theirs may be the same.
    table = typed_block(block, schema).rename_columns([f"c{at}" for at in range(len(schema))])
    return table.append_column(NUMBERS, pa.array(numbers))


def typed_block(block: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a block with a catalog's columns and types; one without rows may lack them."""
    columns = [
        block[field.name].cast(field.type)
        if field.name in block.column_names
        else pa.nulls(block.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
