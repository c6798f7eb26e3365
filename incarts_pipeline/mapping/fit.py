"""Fit of a mapping and a catalog: whether the columns are there, and of a type that will do."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping.expressions import (
    Column,
    Node,
    ValueKind,
    alternatives_of,
    columns_of,
)
from incarts_pipeline.mapping.type_rules import refusal_of, refusal_of_key, refusal_of_several
from incarts_pipeline.text import suggest


def check_names(schema: pa.Schema, places: Sequence[tuple[str, str]]) -> None:
    """Name all columns that the catalog lacks, each once, where there are several.

    Args:
        schema: the catalog's columns.
        places: each column that is read, with the path of what reads it.

    Raises:
        MappingError: there are several.
    """
    # All at once: whoever maps another export has every name wrong, and would correct one a run.
    # Reversed, so that each name is told with the first field that needs it.
    lacking = {name: path for name, path in reversed(places) if name not in schema.names}
    if len(lacking) < 2:
        return
    listed = [
        f'{path}: the catalog has no column "{name}".{suggest(name, schema.names)}'
        for name, path in reversed(lacking.items())
    ]
    raise MappingError(
        "\n".join(listed),
        fix=f"Its columns are {', '.join(schema.names)}.",
        path=next(reversed(lacking.values())),
    )


def check_key(schema: pa.Schema, name: str) -> None:
    """Make sure that a column is there and can identify rows; raises MappingError with the fix."""
    field = field_of(schema, name, "unique_key")
    if refusal := refusal_of_key(field.type):
        raise _unfit(field, "unique_key", refusal)


def check_source(schema: pa.Schema, path: str, kind: ValueKind, node: Node) -> None:
    """Make sure that a field's columns are there and fit it.

    Args:
        schema: the catalog's columns.
        path: the field, for messages.
        kind: what the field must be.
        node: where it comes from.

    Raises:
        MappingError: one doesn't; names the column, the field and the fix.
    """
    several = set(alternatives_of(node))
    for source in columns_of(node):
        field = field_of(schema, str(source.column), path)
        # Inside an object, any JSON value will do; the column that *is* the object must be one.
        used_as = kind if isinstance(node, Column) else _inside(kind)
        refusal = refusal_of(field.type, used_as, source)
        if source.column in several:
            refusal = refusal or refusal_of_several(field.type, used_as)
        if refusal:
            raise _unfit(field, path, refusal)


def field_of(schema: pa.Schema, name: str, path: str) -> pa.Field:
    """Return the one column of a name.

    Args:
        schema: the catalog's columns.
        name: the column's name.
        path: the field of the mapping that reads it.

    Raises:
        MappingError: there is none, or several.
    """
    # `get_field_index` says -1 for none and for several alike.
    found = schema.get_all_field_indices(name)
    if len(found) == 1:
        return schema.field(found[0])
    if found:
        raise MappingError(
            f'{path}: the catalog has {len(found)} columns named "{name}".',
            fix="Rename them.",
            path=path,
        )
    raise MappingError(
        f'{path}: the catalog has no column "{name}".{suggest(name, schema.names)}',
        fix=f"Its columns are {', '.join(schema.names)}.",
        path=path,
    )


def _inside(kind: ValueKind) -> ValueKind:
    return ValueKind.VALUE if kind is ValueKind.JSON else kind


def _unfit(field: pa.Field, path: str, refusal: tuple[str, str]) -> MappingError:
    return MappingError(
        f'{path}: the column "{field.name}" is of type {field.type}, {refusal[0]}',
        fix=refusal[1],
        path=path,
        column=field.name,
    )
