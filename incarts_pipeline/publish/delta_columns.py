"""Columns of a Delta table: whether it can have the key columns of a catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pt

from incarts_pipeline.errors import PublishError
from incarts_pipeline.publish.output import Output
from incarts_pipeline.publish.rows import key_columns
from incarts_pipeline.schemas import LINKS

_TYPES = (
    *(pt.is_string, pt.is_binary, pt.is_signed_integer, pt.is_float32, pt.is_float64),
    *(pt.is_boolean, pt.is_date32, pt.is_decimal128),
)


def check_columns(output: Output, key_fields: Sequence[pa.Field]) -> None:
    """Refuse a Delta table that couldn't have a catalog's key columns; ask before anything is sent.

    Raises:
        PublishError: a type isn't one of Delta's, or two names differ in case alone.
    """
    if not output.is_delta:
        return
    for field in key_fields:
        if not any(test(field.type) for test in _TYPES):
            raise PublishError(
                f"A Delta table has no columns of the type {field.type}, which {field.name!r} in "
                "the unique key has.",
                fix="Write it as text or whole numbers, or choose another output.",
            )
    names = [*key_columns(key_fields, LINKS), *LINKS.names]
    counts = Counter(name.lower() for name in names)
    for name in names:
        if counts[name.lower()] > 1:
            raise PublishError(
                f"A Delta table can't have two columns whose names differ in case alone: {name!r} "
                f"and {name.lower()!r}.",
                fix="Rename the catalog's column, or choose another output.",
            )
