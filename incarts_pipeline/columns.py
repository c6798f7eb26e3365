"""What a mapping's source yields for a batch: typed columns, text, lists and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import MappingError
from incarts_pipeline.keys import key_text
from incarts_pipeline.mapping import Source, parse_template

STRING = pa.string()
NO_TEXT = pa.scalar(None, STRING)


def evaluate(source: Source, batch: pa.RecordBatch, path: str) -> pa.Array:
    """Return a source's values, one per row, in the catalog's type.

    Raises:
        MappingError: the column's type doesn't go with what the source asks for.
    """
    if source.column is not None:
        column = batch.column(batch.schema.get_field_index(source.column))
        column = pc.cast(column, STRING) if pa.types.is_null(column.type) else column
    elif source.template is not None:
        column = _template(source.template, batch, path)
    else:
        return _constant(source.constant, batch.num_rows)
    if source.extract is not None:
        column = _extract(plain_text(column, path), source.extract)
    if source.default is not None:
        column = _fill(column, source.default, path)
    return column


def _constant(value: Any, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), rows)


def _template(template: str, batch: pa.RecordBatch, path: str) -> pa.Array:
    parts: list[Any] = []
    for kind, value in parse_template(template):
        if kind == "text":
            parts.append(value)
        else:
            column = batch.column(batch.schema.get_field_index(value))
            parts.append(_not_empty(plain_text(column, path)))
    if len(parts) == 1:
        return parts[0]
    return pc.binary_join_element_wise(*parts, "")


def _extract(text: pa.Array, pattern: str) -> pa.Array:
    named = pattern.replace("(", "(?P<it>", 1) if "(?" not in pattern else _name_group(pattern)
    return pc.struct_field(pc.extract_regex(text, named), "it")


def _name_group(pattern: str) -> str:
    """Name the one capturing group of a pattern that has other groups too."""
    position = 0
    while (position := pattern.find("(", position)) >= 0:
        escaped = position > 0 and pattern[position - 1] == "\\"
        if not escaped and pattern[position + 1 : position + 2] != "?":
            return f"{pattern[:position]}(?P<it>{pattern[position + 1 :]}"
        position += 1
    return pattern


def _fill(column: pa.Array, default: Any, path: str) -> pa.Array:
    if pa.types.is_string(column.type):
        return pc.fill_null(_not_empty(column), str(default))
    try:
        return pc.fill_null(column, pa.scalar(default, column.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise MappingError(
            f"{path}: the default {default!r} doesn't fit a column of type {column.type}.",
            path=path,
        ) from error


def _not_empty(text: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(text, ""), NO_TEXT, text)


def plain_text(column: pa.Array, path: str) -> pa.Array:
    """Return a column as text.

    Raises:
        MappingError: its type has no plain text (bytes, structs, lists).
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise MappingError(f"{path}: a column of type {kind} can't be used as text.", path=path)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return key_text(column)
    return column.cast(STRING)


def text(source: Source | None, batch: pa.RecordBatch, path: str) -> pa.Array | None:
    """Return a text field; empty text counts as null. None when the field isn't mapped."""
    if source is None:
        return None
    return _not_empty(plain_text(evaluate(source, batch, path), path))


def id_text(source: Source | None, batch: pa.RecordBatch, path: str) -> pa.Array | None:
    """Return an id field as text.

    Raises:
        MappingError: the ids are floating-point numbers, as pandas makes them of integers with
            gaps.
    """
    if source is None:
        return None
    values = evaluate(source, batch, path)
    if pa.types.is_floating(values.type):
        raise MappingError(
            f"{path}: the column {source.column!r} holds floating-point numbers, so an id would "
            "be sent as 550098461.0.",
            fix="Read it as text (dtype=str), or convert it with .astype('Int64').",
            path=path,
        )
    return _not_empty(plain_text(values, path))


def texts(source: Source | None, batch: pa.RecordBatch, path: str) -> pa.ListArray | None:
    """Return a list field: each element trimmed, empty ones dropped. None when it isn't mapped."""
    if source is None:
        return None
    values = evaluate(source, batch, path)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        lists = values.cast(pa.list_(STRING))
    elif source.split is not None:
        lists = pc.split_pattern(plain_text(values, path), source.split)
    else:
        plain = plain_text(values, path)
        offsets = pa.array(np.arange(len(plain) + 1, dtype=np.int32))
        lists = pa.ListArray.from_arrays(offsets, plain)
    trimmed = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    keep = pc.fill_null(pc.greater(pc.binary_length(trimmed), 0), False)
    return regroup(trimmed, pc.list_parent_indices(lists), keep, len(lists))


def regroup(values: pa.Array, parents: pa.Array, keep: pa.Array, rows: int) -> pa.ListArray:
    """Return lists of the kept values, given each value's row."""
    parent = parents.filter(keep).to_numpy(zero_copy_only=False)
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(np.bincount(parent, minlength=rows), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(keep))
