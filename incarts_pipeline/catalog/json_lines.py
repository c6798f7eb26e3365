"""JSON lines: one object per line, text stays text, whole numbers stay whole.

The file is read twice, block by block: once for the columns and their types, once for the rows.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
import pyarrow.types as pt

from incarts_pipeline.catalog.options import LINE_BYTES
from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded, UndecodableError
from incarts_pipeline.errors import CatalogError

_DEEPEST = 200  # levels: each costs Arrow's parser some of its stack
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_EXACT = 2.0**53  # from here on not every whole number is a double
_NAME = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:')  # of a field, the last one before a wrong byte
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


def json_schema(
    source: Decoded, name: str, unit: str = "Line", *, most: int = LINE_BYTES
) -> pa.Schema:
    """Return the columns of all lines; a field that widens on the way has its widest type.

    An empty file has none.

    Args:
        source: the file; read to its end.
        name: the file, for messages.
        unit: what a line is to people.
        most: bytes that a line may have.

    Raises:
        CatalogError: a line is no JSON object, is too long, or a field changes between types
            that have none in common; names the line.
    """
    # The first pass, for the types alone: a field may first appear, or first have a fraction, in
    # the last line, and a batch that is out can't be changed.
    known = pa.schema([])
    for block in _blocks(source, name, unit, most=most):
        # Arrow takes text like 2026-01-01 for a time. As an id or in a name it must stay as it is.
        found = _without_times(_parsed(block, known, None).schema)
        try:
            known = pa.unify_schemas([known, found], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            _refuse(block, known, error)
    return known


def json_batches(
    source: Decoded,
    name: str,
    schema: pa.Schema,
    first_row: int = 0,
    unit: str = "Line",
    *,
    most: int = LINE_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows, as the columns that `json_schema` found.

    Args:
        source: the file, from its start.
        name: the file, for messages.
        schema: the columns of all files of the catalog.
        first_row: the 0-based number of its first row in the catalog.
        unit: what a line is to people.
        most: bytes that a line may have.

    Raises:
        CatalogError: a number has more digits than its column can hold; names the line.
    """
    for block in _blocks(source, name, unit, first_row, most=most):
        table = _parsed(block, schema, schema).select(schema.names)
        for column in schema.names:
            # The types are settled now, so a whole number in a column of doubles is known for what
            # it is.
            _check_digits(block, table[column].combine_chunks(), column)
        yield from table.to_batches()


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
            parse_options=pajson.ParseOptions(explicit_schema=explicit),
        )
        # Arrow may read two objects from one line without a word.
        if table.num_rows != block.rows:
            raise pa.ArrowInvalid("there must be one object per line")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # by block: find the line
        _refuse(block, known, error)
    return table


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


def _check_digits(block: _Block, values: pa.Array, column: str) -> None:
    """A fraction anywhere makes the column double, and a long id in it would lose digits."""
    for rows, leaves in _doubles(values, None):
        # A double from 2^53 on may have been another whole number in the file.
        too_long = pc.greater_equal(pc.abs(leaves), _EXACT)
        if not pc.any(too_long).as_py():
            continue
        at = pc.index(too_long, True).as_py()
        row = at if rows is None else rows[at].as_py()
        raise CatalogError(
            f"{block.unit} {block.line_of(row)} of {block.name} has a number in {column!r} that is "
            "too long to be read exactly.",
            fix="Write it as text, in quotes.",
            row=block.row + row,
            column=column,
        )


def _doubles(values: pa.Array, rows: pa.Array | None) -> Iterator[tuple[pa.Array | None, pa.Array]]:
    """Yield the arrays of doubles in a column, each with the rows that its values belong to."""
    if pt.is_floating(values.type):
        yield rows, values
    elif pt.is_struct(values.type):
        for child in values.flatten():
            yield from _doubles(child, rows)
    elif pt.is_list(values.type):
        parents = pc.list_parent_indices(values)
        yield from _doubles(values.flatten(), parents if rows is None else rows.take(parents))


def _refuse(block: _Block, known: pa.Schema, error: Exception) -> NoReturn:
    """Raise the error that names the first line of a block that doesn't fit."""
    kinds = {field.name: _kind_of_type(field.type) for field in known}
    # Arrow says what is wrong, but of its own block and in its own words. Python finds the line.
    for row, (number, line) in enumerate(block.filled()):
        problem, column = _line_problem(line, kinds)
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


def _line_problem(line: bytes, kinds: dict[str, str]) -> tuple[str, str | None]:
    """Say what is wrong with a line, and with which column; keeps the columns' kinds."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}", None
    if not isinstance(value, dict):
        return f"{_kind(value)}, not an object", None
    for column, item in value.items():
        kind = _kind(item)
        before = kinds.get(column, "nothing")
        # null fits any kind, so it neither breaks nor settles one.
        if "nothing" not in (kind, before) and kind != before:
            return f"has {kind} in {column!r}, which was {before} before", column
        kinds[column] = before if kind == "nothing" else kind
    return "", None


def _kind(value: object) -> str:
    # A bool is an int for Python.
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return kinds.get(type(value), "nothing")


def _kind_of_type(kind: pa.DataType) -> str:
    if pt.is_boolean(kind):
        return "true or false"
    if pt.is_string(kind):
        return "text"
    if pt.is_struct(kind):
        return "an object"
    if pt.is_list(kind):
        return "a list"
    return "nothing" if pt.is_null(kind) else "a number"
