"""JSON lines: one object per line, text stays text, whole numbers stay whole.

The file is read twice, block by block: once for the columns and their types, once for the rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
import pyarrow.types as pt

from incarts_pipeline.catalog.arrow_types import Faults
from incarts_pipeline.catalog.options import LINE_BYTES
from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded, UndecodableError
from incarts_pipeline.errors import CatalogError

_DEEPEST = 200  # levels: each costs Arrow's parser some of its stack
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_EXACT = 2**53  # from here on not every whole number is a double
_NAME = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:')  # of a field, the last one before a wrong byte
_ELEMENT = "[]"  # in a path: what a list has
_NOTHING = "nothing"
_Path = tuple[str, ...]  # to a place in an object, its column first
_ONE_TYPE = "Give the field one type in all lines, text for ids."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Whole lines: their bytes, and the 0-based numbers of the first line and of its row.

    `rows` is the number of lines that aren't blank; `unit` is what people call a line.
    """

    data: bytes
    line: int
    row: int
    rows: int
    name: str
    unit: str

    def filled(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that aren't blank, with their 0-based numbers in the file."""
        lines = enumerate(self.data.split(b"\n"), start=self.line)
        return ((number, line) for number, line in lines if line.strip())

    def line_of(self, row: int) -> int:
        """Return the 1-based line in the file of a row of the block."""
        return next(itertools.islice(self.filled(), row, None))[0] + 1


class JsonColumns:
    """Columns of JSON lines, as they become known; a field that widens has its widest type.

    `faults` has the fields that are of no one type: they are no columns, and nobody needs to mind.
    """

    def __init__(self) -> None:
        self.faults: Faults = {}
        self._schema = pa.schema([])
        self._rows = 0
        self._long: dict[_Path, CatalogError] = {}  # numbers that a double would round

    def read(
        self, source: Decoded, name: str, unit: str = "Line", *, most: int = LINE_BYTES
    ) -> None:
        """Read the lines of one more file.

        Args:
            source: the file; read to its end.
            name: the file, for messages.
            unit: what a line is to people.
            most: bytes that a line may have.

        Raises:
            CatalogError: a line is no JSON object, or too long; names it.
        """
        # A pass for the types alone: a field may first appear, or first have a fraction, in the
        # last line, and a batch that is out can't be changed.
        for block in _blocks(source, name, unit, self._rows, most=most):
            table = self._usable(block)
            self._schema = _unified(self._schema, table.schema)
            for field in table.schema:
                self._note_long(block, table[field.name].combine_chunks(), (field.name,))
            self._rows += block.rows

    def schema(self) -> pa.Schema:
        """Return the columns of all that was read; no lines have none."""
        for path, error in self._long.items():
            # A fraction anywhere makes the column double, and a long id in it would lose digits.
            if path[0] not in self.faults and pt.is_floating(_type_at(self._schema, path)):
                self._leave_out(path[0], error)
        return self._schema

    def _usable(self, block: _Block) -> pa.Table:
        """Parse a block without its fields that don't fit what was known before."""
        while True:
            usable = _without(block, self.faults)
            try:
                table = _parsed(usable, self._schema, None)
                try:
                    _unified(self._schema, table.schema)
                except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                    _refuse(usable, self._schema, error)
                return table
            except CatalogError as error:
                if error.column is None or error.column in self.faults:
                    raise
                self._leave_out(error.column, error)

    def _leave_out(self, column: str, error: CatalogError) -> None:
        self.faults[column] = error
        self._schema = pa.schema([field for field in self._schema if field.name != column])

    def _note_long(self, block: _Block, values: pa.Array, path: _Path) -> None:
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
    for block in _blocks(source, name, unit, first_row, most=most):
        yield from _parsed(block, schema, schema).select(schema.names).to_batches()


def _blocks(source: Decoded, name: str, unit: str, row: int = 0, *, most: int) -> Iterator[_Block]:
    line, rest = 0, b""
    while True:
        try:
            read = source.read1(BLOCK)
        except UndecodableError as error:
            raise _undecodable(error, rest, line, row, name) from error
        # Whole lines only: what is behind the last line feed waits for the next block.
        data, end, rest = (rest + read).rpartition(b"\n")
        if not read:
            data, rest = rest, b""
        lines = data.split(b"\n")
        behind = line + data.count(b"\n") + len(end)
        _check_bounds([*enumerate(lines, line), (behind, rest)], name, most)
        # Blank lines are no rows, but they count as lines in messages.
        rows = sum(1 for one in lines if one.strip())
        if rows:
            yield _Block(data=data, line=line, row=row, rows=rows, name=name, unit=unit)
        line, row = line + data.count(b"\n") + len(end), row + rows
        if not read:
            return


def _undecodable(
    error: UndecodableError, cut: bytes, line: int, row: int, name: str
) -> CatalogError:
    """Return the error for a byte behind the beginning of a line."""
    names = _NAME.findall(cut)
    column = names[-1].decode(errors="replace") if names else None
    return error.at(f"Line {line + 1} of {name}", row, column)


def _check_bounds(lines: list[tuple[int, bytes]], name: str, most: int) -> None:
    """Refuse a line that is too long, whole or not, or so deep that Arrow's parser would crash."""
    for number, line in lines:
        if len(line) > most:
            raise CatalogError(
                f"Line {number + 1} of {name} has more than {most:,} bytes.",
                fix="Write one object per line. Raise the bound max_line_bytes in INCARTS_LIMITS "
                "if it is one.",
            )
        if line.count(b"[") + line.count(b"{") > _DEEPEST and _depth(line) > _DEEPEST:
            raise CatalogError(
                f"Line {number + 1} of {name} is nested deeper than {_DEEPEST} levels.",
                fix="Flatten it, or give what is nested as text.",
            )


def _depth(line: bytes) -> int:
    depth = deepest = 0
    for mark in _STRUCTURE.findall(line):
        depth += 1 if mark in b"[{" else -1 if mark in b"]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _parsed(block: _Block, known: pa.Schema, explicit: pa.Schema | None) -> pa.Table:
    try:
        table = pajson.read_json(
            pa.BufferReader(block.data),
            # One block of Arrow's for one of ours: it infers types from its first one, and would
            # refuse what differs in the next.
            read_options=pajson.ReadOptions(block_size=len(block.data) + 1, use_threads=False),
            parse_options=pajson.ParseOptions(
                explicit_schema=explicit,
                unexpected_field_behavior="infer" if explicit is None else "ignore",
            ),
        )
        # Arrow may read two objects from one line without a word.
        if table.num_rows != block.rows:
            raise pa.ArrowInvalid("there must be one object per line")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # by block: find the line
        _refuse(block, known, error, all_fields=explicit is None)
    return table


def _without(block: _Block, columns: Collection[str]) -> _Block:
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
    values: pa.Array, path: _Path, rows: pa.Array | None
) -> Iterator[tuple[_Path, pa.Array | None, pa.Array]]:
    """Yield the arrays of numbers in a column: where, the rows that values belong to, values."""
    if pt.is_floating(values.type) or pt.is_integer(values.type):
        yield path, rows, values
    elif pt.is_struct(values.type):
        for field, child in zip(values.type.fields, values.flatten(), strict=True):
            yield from _numbers(child, (*path, field.name), rows)
    elif pt.is_list(values.type):
        parents = pc.list_parent_indices(values)
        own = parents if rows is None else rows.take(parents)
        yield from _numbers(values.flatten(), (*path, _ELEMENT), own)


def _type_at(schema: pa.Schema, path: _Path) -> pa.DataType:
    kind = schema.field(path[0]).type
    for step in path[1:]:
        kind = kind.value_type if pt.is_list(kind) else kind.field(step).type
    return kind


def _refuse(
    block: _Block, known: pa.Schema, error: Exception, *, all_fields: bool = True
) -> NoReturn:
    """Raise the error that names the first line of a block that doesn't fit.

    Without `all_fields` only those that are known count.
    """
    kinds = {path: kind for one in known for path, kind in _kinds_of_type(one.type, (one.name,))}
    fields = None if all_fields else known.names
    # Arrow says what is wrong, but of its own block and in its own words. Python finds the line.
    for row, (number, line) in enumerate(block.filled()):
        problem, column = _line_problem(line, kinds, fields)
        if column:
            raise CatalogError(
                f"{block.unit} {number + 1} of {block.name} {problem}.",
                fix=_ONE_TYPE,
                row=block.row + row,
                column=column,
            ) from error
        if problem:
            raise _no_object(block, number, problem, block.row + row) from error
    # Arrow refuses what Python reads, duplicate names for one: its own words must do.
    where = block.name
    if found := re.search(r"in row (\d+)", str(error)):
        where = f"{block.unit} {block.line_of(int(found[1]))} of {block.name}"
    raise CatalogError(f"{where} can't be read: {error}.", fix=_ONE_TYPE) from error


def _no_object(block: _Block, line: int, problem: str, row: int) -> CatalogError:
    return CatalogError(
        f"{block.unit} {line + 1} of {block.name} is {problem}.",
        fix=f'Write one object per {block.unit.lower()}, like {{"sku": "0012", "quantity": 1}}.',
        row=row,
    )


def _line_problem(
    line: bytes, kinds: dict[_Path, str], fields: Collection[str] | None
) -> tuple[str, str | None]:
    """Say what is wrong with a line, and with which column; keeps the kinds of all places."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            return f"{_kind(value)}, not an object", None
        counted = {name: one for name, one in value.items() if not fields or name in fields}
        found = [place for name, one in counted.items() for place in _kinds_of(one, (name,))]
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}", None
    for path, kind in found:
        before = kinds.get(path, _NOTHING)
        # null fits any kind, so it neither breaks nor settles one.
        if _NOTHING not in (kind, before) and kind != before:
            place = ".".join(path).replace(f".{_ELEMENT}", _ELEMENT)
            return f"has {kind} in {place!r}, which was {before} before", path[0]
        kinds[path] = before if kind == _NOTHING else kind
    return "", None


def _kinds_of(value: object, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Yield the kind of a value, and of all that is in it, with its place."""
    yield path, _kind(value)
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _kinds_of(one, (*path, name))
    elif isinstance(value, list):
        for one in value:
            yield from _kinds_of(one, (*path, _ELEMENT))


def _kind(value: object) -> str:
    # A bool is an int for Python.
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return kinds.get(type(value), _NOTHING)


def _kind_of_type(kind: pa.DataType) -> str:
    if pt.is_boolean(kind):
        return "true or false"
    if pt.is_string(kind):
        return "text"
    if pt.is_struct(kind):
        return "an object"
    if pt.is_list(kind):
        return "a list"
    return _NOTHING if pt.is_null(kind) else "a number"


def _kinds_of_type(kind: pa.DataType, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Yield what `_kinds_of` yields, for what a column may have."""
    yield path, _kind_of_type(kind)
    if pt.is_struct(kind):
        for field in kind.fields:
            yield from _kinds_of_type(field.type, (*path, field.name))
    elif pt.is_list(kind):
        yield from _kinds_of_type(kind.value_type, (*path, _ELEMENT))
