"""Seen rows: 128-bit hashes of a row's key and of all that is mapped of it, the same everywhere.

They are MD5 sums, as a digest's (`plan.digest`): DuckDB computes one of a whole column at a time,
and everything else can. Rows that are alike tonight and were so last night need no other look.
"""

from __future__ import annotations

from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from incarts_pipeline.mapping import Mapping
from incarts_pipeline.prepare import Columns, Findings
from incarts_pipeline.prepare.row_keys import row_keys

# `key` is the MD5 of the row key's UTF-8, of no bytes where there is no key; `row` that of the
# mapped columns in the order of their names. Both are little-endian numbers, in halves.
SEEN = pa.schema(
    [
        pa.field("key_low", pa.uint64(), nullable=False),
        pa.field("key_high", pa.uint64(), nullable=False),
        pa.field("row_low", pa.uint64(), nullable=False),
        pa.field("row_high", pa.uint64(), nullable=False),
    ]
)
KEYS = pa.schema(list(SEEN)[:2])
KEY = "MD5_NUMBER(COALESCE(row_key, ''))"  # in DuckDB's SQL
_SIGNED = {32: pa.int32(), 64: pa.int64()}


def seen(batch: pa.RecordBatch, mapping: Mapping) -> pa.RecordBatch:
    """Return the hashes of a batch's rows.

    Args:
        batch: rows of a catalog with the columns that the mapping reads.
        mapping: which columns these are, and which of them are the key.

    Returns:
        A batch of `SEEN`, a row per row.

    Raises:
        CatalogError: a key holds bytes that are not UTF-8.
    """
    return _hashed(keys_of(batch, mapping), [batch.column(name) for name in columns_of(mapping)])


def keys_of(batch: pa.RecordBatch, mapping: Mapping) -> pa.StringArray:
    """Return each row's key, null where it has none."""
    return row_keys(Columns(batch, Findings(batch.num_rows)), mapping.unique_key)


def seen_keys(keys: pa.StringArray) -> pa.RecordBatch:
    """Return the hashes of row keys, a batch of `KEYS`."""
    batch = pa.record_batch([keys], names=["row_key"])
    return _run(f"SELECT {KEY} FROM batch", batch, KEYS)  # noqa: S608 - our own text


def columns_of(mapping: Mapping) -> list[str]:
    """Return the columns whose values decide what is made of a row."""
    return sorted(mapping.columns())


def _hashed(keys: pa.StringArray, columns: list[pa.Array]) -> pa.RecordBatch:
    names = [f"c{at}" for at in range(len(columns))]
    batch = pa.record_batch([keys, *map(_comparable, columns)], names=["row_key", *names])
    texts = ", ".join(f"{_text(f.name, f.type)} AS {f.name}" for f in list(batch.schema)[1:])
    # Each text behind its length; a null has none.
    parts = ", ".join(f"STRLEN({name}), ':', {name}" for name in names)
    query = f"""
SELECT {KEY}, MD5_NUMBER(CONCAT({parts})) FROM (SELECT row_key, {texts} FROM batch)
"""  # noqa: S608 - our own text
    return _run(query, batch, SEEN)


def _comparable(column: pa.Array) -> pa.Array:
    """Return a column as what has a text for each value, and another text for each other one."""
    kind = column.type
    if pt.is_null(kind):
        return column.cast(pa.string())
    if pt.is_temporal(kind):  # texts of times may leave nanoseconds out
        return column.view(_SIGNED[kind.bit_width])
    if pt.is_float16(kind):
        return column.cast(pa.float32())
    if pt.is_nested(kind) and not _has_json(kind):
        return pa.array([None if v is None else repr(v) for v in column.to_pylist()], pa.string())
    return column


def _has_json(kind: pa.DataType) -> bool:
    """Say whether a nested type's JSON tells all its values apart."""
    if pt.is_struct(kind):
        return all(_has_json(field.type) for field in kind.fields)
    if pt.is_list(kind):
        return _has_json(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_boolean(kind) or pt.is_integer(kind))


def _text(name: str, kind: pa.DataType) -> str:
    if pt.is_nested(kind):
        return f"TO_JSON({name})::VARCHAR"
    return f"HEX({name})" if pt.is_binary(kind) else f"{name}::VARCHAR"


def _run(query: str, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the 128-bit numbers that a query finds for a batch, in halves: the lower one first."""
    with _database().cursor() as db:
        db.register("batch", batch)
        found = db.sql(query).to_arrow_table()
        halves = [half for column in found.columns for half in _halves(column)]
    return pa.RecordBatch.from_arrays(halves, schema=schema)


def _halves(numbers: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    stored = numbers.combine_chunks().storage
    values = np.frombuffer(stored.buffers()[1], "<u8", 2 * len(stored), 16 * stored.offset)
    return pa.array(values[0::2].copy()), pa.array(values[1::2].copy())


@cache
def _database() -> duckdb.DuckDBPyConnection:
    # One thread for each batch: whoever has several cores works on several batches. Without the
    # other option, numbers of 128 bits come back as floats.
    return duckdb.connect(config={"threads": 1, "arrow_lossless_conversion": True})
