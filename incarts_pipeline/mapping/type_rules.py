"""Type rules: which Arrow types may feed which field, and what to do about the others."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from incarts_pipeline.mapping.expressions import Column, ValueKind

# Why, to go on with "the column is of type X, …", and the fix.
Refusal = tuple[str, str]

_FLOAT_ID: Refusal = (
    "so long ids have lost digits and gained a .0.",
    "Read it as text (in pandas: dtype=str) or as whole numbers (.astype('Int64')).",
)
_FRACTION: Refusal = (
    "whose values have fractions and no one spelling.",
    "Turn it into text, or into a decimal without fraction digits.",
)
_NO_LIST: Refusal = (
    "but a list needs a list column or one text.",
    "Give split: with the separator, or build a list column.",
)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values behind dictionaries, run ends and extensions."""
    while True:
        if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def is_text(kind: pa.DataType) -> bool:
    """Whether values of the type are strings."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether values of the type are lists."""
    return bool(
        pt.is_list(kind)
        or pt.is_large_list(kind)
        or pt.is_fixed_size_list(kind)
        or pt.is_list_view(kind)
        or pt.is_large_list_view(kind)
    )


def refusal_of_key(kind: pa.DataType) -> Refusal | None:
    """Return why a column of this type can't identify rows, and the fix; None when it can."""
    plain = plain_type(kind)
    if pt.is_floating(plain):
        return _FLOAT_ID
    # 1.50 and 1.5 are one number, and would be two keys.
    if pt.is_decimal(plain) and plain.scale != 0:
        return _FRACTION
    return None if _has_text(plain) else _no_text(plain)


def refusal_of(kind: pa.DataType, use: ValueKind, source: Column) -> Refusal | None:
    """Return why a column of this type can't feed such a field, and the fix; None when it can.

    Args:
        kind: the column's type, as the catalog has it.
        use: what the field must be.
        source: the column in the mapping, for its `split` and `extract`.
    """
    plain = plain_type(kind)
    if source.split is not None and use is not ValueKind.LIST:
        return "and split: is given.", "split: is only for backup_product_ids and tags."
    if source.extract is not None and not is_text(plain):
        return "and extract: reads text only.", "Take extract: out, or turn the column into text."
    # A column that is empty in this file may be full in the next one; its rows are judged one by
    # one.
    if pt.is_null(plain):
        return None
    if use is ValueKind.LIST:
        return _refusal_of_list(plain, source)
    if use in (ValueKind.JSON, ValueKind.VALUE):
        return _refusal_of_json(plain, use)
    if use is ValueKind.ID:
        return refusal_of_key(plain)
    if use is ValueKind.FLAG and not (
        pt.is_boolean(plain) or pt.is_integer(plain) or is_text(plain)
    ):
        return "but true or false is needed.", "Use a boolean column."
    # Text too: all columns of a CSV are, and each value is checked.
    if use in (ValueKind.COUNT, ValueKind.NUMBER) and not (_is_number(plain) or is_text(plain)):
        return "but a number is needed.", "Use a column of numbers."
    # A price in a name may be a float; only ids and keys may not, where a digit decides.
    return None if _has_text(plain) or pt.is_floating(plain) else _no_text(plain)


def refusal_of_several(kind: pa.DataType, use: ValueKind) -> Refusal | None:
    """Return why a column of this type can't be one of several, and the fix; None when it can."""
    # What the first filled one has is known as text; a list or a number would become one.
    if use in (ValueKind.LIST, ValueKind.JSON, ValueKind.VALUE):
        plain = plain_type(kind)
        if not (is_text(plain) or pt.is_null(plain)):
            return "but of several columns only text can be taken here.", "Name one column."
    return None


def _refusal_of_list(plain: pa.DataType, source: Column) -> Refusal | None:
    if is_list(plain):
        if source.split is not None or source.extract is not None:
            return "which is a list already.", "Take split: and extract: out."
        return refusal_of_key(plain.value_type)
    if source.split is not None and not is_text(plain):
        return _NO_LIST
    return refusal_of_key(plain)


def _refusal_of_json(plain: pa.DataType, use: ValueKind) -> Refusal | None:
    if use is ValueKind.JSON and not (pt.is_struct(plain) or pt.is_map(plain) or is_text(plain)):
        return "but an object is needed.", "Use a struct column, or JSON text."
    # All the way down: a struct is sent whole, and its innermost value needs a JSON form as well.
    for child in _children(plain):
        if refusal := _refusal_of_json(plain_type(child), ValueKind.VALUE):
            return refusal
    if pt.is_map(plain) and not is_text(plain_type(plain.key_type)):
        return "but an object's names are text.", "Make the map's keys text."
    nested = is_list(plain) or pt.is_struct(plain) or pt.is_map(plain)
    if nested or pt.is_floating(plain) or pt.is_null(plain) or _has_text(plain):
        return None
    return _no_text(plain)


def _children(plain: pa.DataType) -> list[pa.DataType]:
    if is_list(plain):
        return [plain.value_type]
    if pt.is_map(plain):
        return [plain.item_type]
    return [f.type for f in plain.fields] if pt.is_struct(plain) else []


def _is_number(plain: pa.DataType) -> bool:
    return bool(pt.is_integer(plain) or pt.is_floating(plain) or pt.is_decimal(plain))


def _has_text(plain: pa.DataType) -> bool:
    simple = (pt.is_boolean, pt.is_integer, pt.is_decimal, pt.is_date, pt.is_timestamp, pt.is_time)
    return is_text(plain) or pt.is_null(plain) or any(test(plain) for test in simple)


def _no_text(plain: pa.DataType) -> Refusal:
    if pt.is_floating(plain):
        return _FLOAT_ID
    return "which has no text form.", "Turn it into text, numbers or dates."
