"""Row keys: the unique-key columns' values as one canonical text."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import MappingError
from incarts_pipeline.suggest import suggest


def key_field(schema: pa.Schema, name: str) -> pa.Field:
    """Return a key column's field.

    Raises:
        MappingError: it is missing, or its type can't make a key.
    """
    if name not in schema.names:
        raise MappingError(
            f"unique_key names the column {name!r}, which the catalog doesn't have."
            f"{suggest(name, schema.names)}",
            path="unique_key",
        )
    field = schema.field(name)
    if pa.types.is_floating(field.type):
        raise MappingError(
            f"The key column {name!r} holds floating-point numbers, and 550098461.0 is no id.",
            fix="Read it as text (dtype=str), or convert whole numbers with .astype('Int64').",
            path="unique_key",
        )
    if not _can_be_key(field.type):
        raise MappingError(
            f"The key column {name!r} has the type {field.type}, which can't make a key.",
            fix="Convert it to text in the catalog.",
            path="unique_key",
        )
    return field


def _can_be_key(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_decimal(kind):
        return bool(kind.scale == 0)
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
        or types.is_null(kind)
    )


def key_text(column: pa.Array) -> pa.Array:
    """Return one key column as text: Int64 123 and "123" come out the same."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _timestamp_text(column)
    if pa.types.is_date(kind):
        return pc.strftime(column.cast(pa.timestamp("s")), format="%Y-%m-%d")
    return column.cast(pa.string())


def _timestamp_text(column: pa.Array) -> pa.Array:
    """ISO 8601: zoned times in UTC with a Z, fractions only as far as they go."""
    zoned = column.type.tz is not None
    plain = column.cast(pa.timestamp("ns", tz="UTC" if zoned else None))
    text = pc.strftime(plain, format="%Y-%m-%dT%H:%M:%S")
    text = pc.replace_substring_regex(text, r"(\.\d*?)0+$", r"\1")
    text = pc.replace_substring_regex(text, r"\.$", "")
    return pc.binary_join_element_wise(text, "Z", "") if zoned else text


def row_keys(columns: Sequence[pa.Array]) -> pa.Array:
    """Join the key columns into the row key; null when one of them is null or empty.

    A single column stands as it is; several are joined with `|` after `\\` and `|` in them are
    escaped, so that no two different rows share a key.
    """
    texts = [key_text(column) for column in columns]
    texts = [pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text) for text in texts]
    if len(texts) == 1:
        return texts[0]
    escaped = [
        pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), "|", "\\|") for text in texts
    ]
    return pc.binary_join_element_wise(*escaped, "|")
