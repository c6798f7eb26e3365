"""Columns of texts: which rows have a secret, and the columns without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from incarts_pipeline.outgoing.secrets import holds_secret, searched_pattern, without_secrets

_TOGETHER = 16_000_000  # bytes of texts that are looked through at once


def rows_with_secrets(texts: pa.Array) -> list[int]:
    """Return the numbers of the rows whose text has a secret, in any spelling."""
    # One pass of RE2, whatever the number of secrets and spellings; it finds a few too many.
    found = pc.match_substring_regex(texts, searched_pattern())
    if not found.true_count:
        return []
    rows = pc.indices_nonzero(pc.fill_null(found, False)).to_pylist()
    return [row for row in rows if holds_secret(texts[row].as_py())]


def column_without_secrets(column: pa.Array) -> pa.Array:
    """Return a column with a mask for each secret: of texts, or of lists or structs with texts."""
    kind = column.type
    if pt.is_string(kind) or pt.is_large_string(kind):
        rows = rows_with_secrets(column)
        if not rows:
            return column
        values = column.to_pylist()
        for row in rows:
            values[row] = without_secrets(values[row])
        return pa.array(values, kind)
    if not _has_text(kind) or not _any_secret(column):
        return column
    return pa.array(_clean(column.to_pylist()), kind)


def columns_without_secrets(columns: Sequence[pa.Array]) -> list[pa.Array]:
    """Return columns of one table as `column_without_secrets` does each."""
    texts = [text for column in columns for text in _texts(column)]
    few = sum(text.nbytes for text in texts) < _TOGETHER
    if few and texts and not rows_with_secrets(pa.concat_arrays(texts)):
        return list(columns)
    return [column_without_secrets(column) for column in columns]


def _texts(column: pa.Array) -> Iterator[pa.StringArray]:
    """Yield the texts of a column, by themselves or within lists and structs."""
    kind = column.type
    if pt.is_string(kind):
        yield column
    elif pt.is_large_string(kind):
        yield column.cast(pa.string())
    elif pt.is_list(kind):
        yield from _texts(column.flatten())
    elif pt.is_struct(kind):
        for child in column.flatten():
            yield from _texts(child)


def _has_text(kind: pa.DataType) -> bool:
    if pt.is_list(kind):
        return _has_text(kind.value_type)
    if pt.is_struct(kind):
        return any(_has_text(field.type) for field in kind.fields)
    return bool(pt.is_string(kind))


def _any_secret(column: pa.Array) -> bool:
    if pt.is_list(column.type):
        return _any_secret(column.flatten())
    if pt.is_struct(column.type):
        return any(_any_secret(child) for child in column.flatten())
    return bool(pt.is_string(column.type) and rows_with_secrets(column))


def _clean(value: object) -> object:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value
