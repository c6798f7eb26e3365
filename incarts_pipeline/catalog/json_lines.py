"""JSON lines: one object per line, text stays text, whole numbers stay whole.

The file is read twice, block by block: once for the columns and their types, once for the rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
import pyarrow.types as pt

from incarts_pipeline.catalog.arrow_types import Faults
from incarts_pipeline.catalog.json_blocks import Block, blocks_of, leaves_of, parts_of
from incarts_pipeline.catalog.json_problems import ELEMENT, Path, conflicts, refuse
from incarts_pipeline.catalog.options import COLUMNS, LINE_BYTES
from incarts_pipeline.catalog.text_encoding import Decoded
from incarts_pipeline.catalog.width import check_width
from incarts_pipeline.errors import CatalogError

_EXACT = 2**53  # from here on not every whole number is a double


class JsonColumns:
    """Columns of JSON lines, as they become known; a field that widens has its widest type.

    `faults` has the fields that are of no one type: they are no columns, and nobody needs to mind.
    """

    def __init__(self) -> None:
        self.faults: Faults = {}
        self._schema = pa.schema([])
        self._rows = 0
        self._long: dict[Path, CatalogError] = {}  # numbers that a double would round

    def read(
        self,
        source: Decoded,
        name: str,
        unit: str = "Line",
        *,
        most: int = LINE_BYTES,
        most_columns: int = COLUMNS,
    ) -> None:
        """Read the lines of one more file.

        Args:
            source: the file; read to its end.
            name: the file, for messages.
            unit: what a line is to people.
            most: bytes that a line may have.
            most_columns: columns that all files together may have.

        Raises:
            CatalogError: a line is no JSON object, or too long; names it. There are too many
                columns.
        """
        # A pass for the types alone: a field may first appear, or first have a fraction, in the
        # last line, and a batch that is out can't be changed.
        for block in blocks_of(
            source, name, unit, self._rows, most=most, most_columns=most_columns
        ):
            for part in parts_of(block, leaves_of(self._schema)):
                self._read_part(part, most_columns)
            self._rows += block.rows

    def _read_part(self, part: Block, most_columns: int) -> None:
        table = self._as_known(part)
        if table is not None:
            self._take(part, table, most_columns)
            return
        # Nobody knows how many fields are new in it, so as many as there are colons.
        for smaller in parts_of(part, leaves_of(self._schema), grows=True):
            self._take(smaller, self._usable(smaller), most_columns)

    def _as_known(self, part: Block) -> pa.Table | None:
        """Parse what has no field that is new, and no type; None where it has one."""
        if self.faults or not self._schema.names:
            return None
        try:
            table = _read_json(part, self._schema, "error")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None  # what is wrong or new is found by the slower way
        return table if table.num_rows == part.rows else None

    def _take(self, part: Block, table: pa.Table, most_columns: int) -> None:
        self._schema = _unified(self._schema, table.schema)
        check_width(part.name, leaves_of(self._schema), most_columns)
        for field in table.schema:
            self._note_long(part, table[field.name].combine_chunks(), (field.name,))

    def schema(self) -> pa.Schema:
        """Return the columns of all that was read; no lines have none."""
        for path, error in self._long.items():
            # A fraction anywhere makes the column double, and a long id in it would lose digits.
            if path[0] not in self.faults and pt.is_floating(_type_at(self._schema, path)):
                self._leave_out(path[0], error)
        return self._schema

    def _usable(self, block: Block) -> pa.Table:
        """Parse a block without its fields that don't fit what was known before."""
        while True:
            usable = _without(block, self.faults)
            try:
                table = _parsed(usable, self._schema, None)
                try:
                    _unified(self._schema, table.schema)
                except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                    refuse(usable, self._schema, error)
                return table
            except CatalogError as error:
                if error.column is None or error.column in self.faults:
                    raise
                # All of them at once: each further pass would read the block again.
                found = {error.column: error} | conflicts(usable, self._schema)
                for column, fault in found.items():
                    self._leave_out(column, fault)

    def _leave_out(self, column: str, error: CatalogError) -> None:
        self.faults[column] = error
        self._schema = pa.schema([field for field in self._schema if field.name != column])

    def _note_long(self, block: Block, values: pa.Array, path: Path) -> None:
        for below, rows, leaves in _numbers(values, path, None):
            # A double from 2^53 on may have been another whole number in the file.
            most, least = (pa.scalar(one, leaves.type) for one in (_EXACT, -_EXACT))
            long = pc.or_(pc.greater_equal(leaves, most), pc.less_equal(leaves, least))
            if below in self._long or not pc.any(long).as_py():
                continue
            at = pc.index(long, True).as_py()
            row = at if rows is None else rows[at].as_py()
            self._long[below] = CatalogError(
                f"{block.unit} {block.line_of(row)} of {block.name} has a number in {path[0]!r} "
                "that is too long to be read exactly.",
                fix="Write it as text, in quotes.",
                row=block.row + row,
                column=path[0],
            )


def json_batches(
    source: Decoded,
    name: str,
    schema: pa.Schema,
    first_row: int = 0,
    unit: str = "Line",
    *,
    most: int = LINE_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows, as the columns that `JsonColumns` found; what else a line has is left out.

    Args:
        source: the file, from its start.
        name: the file, for messages.
        schema: the columns of all files of the catalog.
        first_row: the 0-based number of its first row in the catalog.
        unit: what a line is to people.
        most: bytes that a line may have.

    Raises:
        CatalogError: a line can't be read; names it.
    """
    for block in blocks_of(source, name, unit, first_row, most=most):
        for part in parts_of(block, leaves_of(schema)):
            yield from _parsed(part, schema, schema).select(schema.names).to_batches()


def _parsed(block: Block, known: pa.Schema, explicit: pa.Schema | None) -> pa.Table:
    try:
        table = _read_json(block, explicit, "infer" if explicit is None else "ignore")
        # Arrow may read two objects from one line without a word.
        if table.num_rows != block.rows:
            raise pa.ArrowInvalid("there must be one object per line")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # by block: find the line
        refuse(block, known, error, all_fields=explicit is None)
    return table


def _read_json(block: Block, explicit: pa.Schema | None, unexpected: str) -> pa.Table:
    return pajson.read_json(
        pa.BufferReader(block.data),
        # One block of Arrow's for one of ours: it infers types from its first one, and would refuse
        # what differs in the next.
        read_options=pajson.ReadOptions(block_size=len(block.data) + 1, use_threads=False),
        parse_options=pajson.ParseOptions(
            explicit_schema=explicit, unexpected_field_behavior=unexpected
        ),
    )


def _without(block: Block, columns: Collection[str]) -> Block:
    """Return a block whose objects lack some fields; lines stay where they are."""
    if not columns:
        return block
    lines = (_line_without(line, columns) for line in block.data.split(b"\n"))
    return dataclasses.replace(block, data=b"\n".join(lines))


def _line_without(line: bytes, columns: Collection[str]) -> bytes:
    try:
        value = json.loads(line) if line.strip() else None
    except (ValueError, RecursionError):  # who parses it says what is wrong
        return line
    if not isinstance(value, dict) or value.keys().isdisjoint(columns):
        return line
    return json.dumps({name: one for name, one in value.items() if name not in columns}).encode()


def _unified(known: pa.Schema, found: pa.Schema) -> pa.Schema:
    # Arrow takes text like 2026-01-01 for a time. As an id or in a name it must stay as it is.
    return pa.unify_schemas([known, _without_times(found)], promote_options="permissive")


def _without_times(schema: pa.Schema) -> pa.Schema:
    """Text that looks like a time is text."""
    return pa.schema([pa.field(f.name, _without_time(f.type)) for f in schema])


def _without_time(kind: pa.DataType) -> pa.DataType:
    if pt.is_temporal(kind):
        return pa.string()
    if pt.is_list(kind):
        return pa.list_(_without_time(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([pa.field(f.name, _without_time(f.type)) for f in kind.fields])
    return kind


def _numbers(
    values: pa.Array, path: Path, rows: pa.Array | None
) -> Iterator[tuple[Path, pa.Array | None, pa.Array]]:
    """Yield the arrays of numbers in a column: where, the rows that values belong to, values."""
    if pt.is_floating(values.type) or pt.is_integer(values.type):
        yield path, rows, values
    elif pt.is_struct(values.type):
        for field, child in zip(values.type.fields, values.flatten(), strict=True):
            yield from _numbers(child, (*path, field.name), rows)
    elif pt.is_list(values.type):
        parents = pc.list_parent_indices(values)
        own = parents if rows is None else rows.take(parents)
        yield from _numbers(values.flatten(), (*path, ELEMENT), own)


def _type_at(schema: pa.Schema, path: Path) -> pa.DataType:
    kind = schema.field(path[0]).type
    for step in path[1:]:
        kind = kind.value_type if pt.is_list(kind) else kind.field(step).type
    return kind
