"""Arrow types that the pipeline works with: few and plain, with names and text to be trusted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from incarts_pipeline.errors import CatalogError

Faults = dict[str, CatalogError]  # of columns, by their names


def usable_columns(schema: pa.Schema, name: str) -> tuple[pa.Schema, list[int], Faults]:
    """Return the columns that a mapping may use, and why it can't use the others.

    Args:
        schema: the columns as their producer has them.
        name: the catalog, for messages.

    Returns:
        The columns as `plain_type` has them, without metadata; their places; and by its name what
        is wrong with each column that has no name, another one's name, or a type that has no plain
        form.
    """
    faults = name_faults(schema.names, name)
    fields, places = [], []
    for place, field in enumerate(schema):
        if place in faults:
            continue
        try:
            fields.append(pa.field(field.name, plain_type(field.type)))
            places.append(place)
        except TypeError as error:
            faults[place] = CatalogError(
                f"The column {field.name!r} of {name} is of the type {error}, which is no plain "
                "text, number or date.",
                fix="Turn it into text that leaves missing values missing, or drop it.",
                column=field.name,
            )
    return pa.schema(fields), places, {schema.names[at]: fault for at, fault in faults.items()}


def member_field(schema: pa.Schema, name: str) -> pa.Field | None:
    """Return what a name like `price.value` means: a member of a column that is an object.

    None for what leads nowhere.
    """
    path = _member_path(schema, name)
    return None if path is None else pa.field(name, _member_type(schema, path))


def member_names(schema: pa.Schema) -> list[str]:
    """Return the names of all members of columns that are objects, like `price.value`."""
    return [name for field in schema for name in _members_below(field)]


def with_members(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the members that `schema` has behind the batch's own columns."""
    columns = list(batch.columns)
    for name in schema.names[len(columns) :]:
        column, *members = _member_path(batch.schema, name) or ()
        columns.append(pc.struct_field(batch[column], members))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _member_path(schema: pa.Schema, name: str) -> tuple[str, ...] | None:
    parts = name.split(".")
    # A column's own name may have dots.
    for n in range(len(parts) - 1, 0, -1):
        path = (".".join(parts[:n]), *parts[n:])
        if path[0] in schema.names and _member_type(schema, path) is not None:
            return path
    return None


def _member_type(schema: pa.Schema, path: Sequence[str]) -> pa.DataType | None:
    kind = schema.field(path[0]).type
    for member in path[1:]:
        at = kind.get_field_index(member) if pt.is_struct(kind) else -1
        if at < 0:
            return None
        kind = kind.field(at).type
    return kind


def _members_below(field: pa.Field) -> list[str]:
    if not pt.is_struct(field.type):
        return []
    below = [one for member in field.type for one in (member.name, *_members_below(member))]
    return [f"{field.name}.{one}" for one in below]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return what values of a type become: text is `string`, dictionaries are decoded.

    Raises:
        TypeError: an extension type whose stored values mean something else, like a period.
    """
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_extension(kind)
    # Large and view types differ in their offsets alone. Batches are small enough for 32 bits, and
    # having one type of text keeps every rule and every kernel behind this to one case.
    if pt.is_large_string(kind) or pt.is_string_view(kind):
        return pa.string()
    if pt.is_large_binary(kind) or pt.is_binary_view(kind):
        return pa.binary()
    # A fixed-size list becomes a plain one too: what makes it fixed is no part of its meaning.
    if _is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(f.name, plain_type(f.type)) for f in kind.fields])
    if pt.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    return kind


def _plain_extension(kind: pa.BaseExtensionType) -> pa.DataType:
    storage = plain_type(kind.storage_type)
    # A JSON extension is stored as text and stays that; a UUID is stored as 16 bytes, which nobody
    # has in a spreadsheet, so it is spelled out.
    if pt.is_string(storage) or kind.extension_name == "arrow.uuid":
        return pa.string()
    if kind.extension_name == "arrow.bool8":
        return pa.bool_()
    # A period or an interval is stored as a number that isn't the value that its owner sees.
    raise TypeError(str(kind))


def _is_list(kind: pa.DataType) -> bool:
    tests = (
        pt.is_list,
        pt.is_large_list,
        pt.is_fixed_size_list,
        pt.is_list_view,
        pt.is_large_list_view,
    )
    return any(test(kind) for test in tests)


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch whose columns have the plain types of `schema`."""
    columns = [
        _plain_column(column, f.type) for column, f in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    # First, because a dictionary may be behind the run ends.
    if pt.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pt.is_dictionary(column.type):
        # The few different values are turned into plain ones, not each row's.
        return _plain_column(column.dictionary, kind).take(column.indices)
    if isinstance(column, pa.ExtensionArray):
        if column.type.extension_name == "arrow.uuid":
            return _uuid_text(column.storage)
        column = column.storage
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError:  # views and dictionaries inside of lists and structs
        return pa.array(column.to_pylist(), kind)


def _uuid_text(stored: pa.Array) -> pa.Array:
    # Arrow has no cast from a UUID to its spelling.
    values = (None if raw is None else str(uuid.UUID(bytes=raw)) for raw in stored.to_pylist())
    return pa.array(values, pa.string())


def name_faults(names: Sequence[str], name: str) -> dict[int, CatalogError]:
    """Return by its place what is wrong with each column that has no name of its own.

    Args:
        names: the columns, in order.
        name: the catalog, for messages.
    """
    faults = {}
    seen: dict[str, int] = {}
    for place, column in enumerate(names):
        first = seen.setdefault(column, place)
        if not column.strip():
            faults[place] = CatalogError(
                f"Column {place + 1} of {name} has no name.", fix="Name it, or remove the column."
            )
        # pandas takes any text for a name, also one that no file could hold.
        elif not encodable(column):
            faults[place] = CatalogError(
                f"The name of column {place + 1} of {name} holds half a character: {column!a}.",
                fix="Rename it.",
            )
        elif first != place:
            # Nobody knows which of them is meant.
            faults[first] = faults[place] = CatalogError(
                f"Columns {first + 1} and {place + 1} of {name} are both named {column!r}.",
                fix="Rename or drop one of them.",
                column=column,
            )
    return faults


def encodable(text: str) -> bool:
    """Say whether text is whole characters: a lone surrogate has no bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(batch: pa.RecordBatch, first_row: int, name: str) -> None:
    """Make sure that text is UTF-8: Parquet and other producers don't check what they pass on.

    Args:
        batch: rows of plain types.
        first_row: the 0-based number of its first row in the catalog.
        name: the catalog, for messages.

    Raises:
        CatalogError: it is not; names row and column.
    """
    for column, field in zip(batch.columns, batch.schema, strict=True):
        if not _holds_text(field.type):
            continue
        try:
            # Parquet marks bytes as text on its writer's word. Kernels for text rely on it, so this
            # comes before any of them.
            column.validate(full=True)
        except pa.ArrowInvalid:
            # Arrow names the byte, which helps nobody in a table: find the row.
            row = first_row + _first_undecodable(column)
            raise CatalogError(
                f"Row {row} of {name} (the first is 0) has bytes in the column {field.name!r} "
                "that are no UTF-8 text.",
                fix="Write the column again as UTF-8, or drop it.",
                row=row,
                column=field.name,
            ) from None


def _holds_text(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return any(_holds_text(f.type) for f in kind.fields)
    if pt.is_map(kind):
        return _holds_text(kind.key_type) or _holds_text(kind.item_type)
    return bool(pt.is_string(kind)) or (bool(pt.is_list(kind)) and _holds_text(kind.value_type))


def _first_undecodable(column: pa.Array) -> int:
    """Return the row of the first text that is none, by halves, as Arrow only says that it's there.

    Python's values would show it too, but without pandas there are none for nanoseconds.
    """
    first, end = 0, len(column)
    while end - first > 1:
        middle = (first + end) // 2
        try:
            column.take(pa.array(range(first, middle))).validate(full=True)
            first = middle
        except pa.ArrowInvalid:
            end = middle
    return first
