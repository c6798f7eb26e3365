"""Problems of JSON lines: which line doesn't fit the others, and in which field."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import NoReturn

import pyarrow as pa
import pyarrow.types as pt

from incarts_pipeline.catalog.json_blocks import Block
from incarts_pipeline.errors import CatalogError

ELEMENT = "[]"  # in a path: what a list has
Path = tuple[str, ...]  # to a place in an object, its column first
_NOTHING = "nothing"
_ONE_TYPE = "Give the field one type in all lines, text for ids."


def refuse(
    block: Block, known: pa.Schema, error: Exception, *, all_fields: bool = True
) -> NoReturn:
    """Raise the error that names the first line of a block that doesn't fit.

    Args:
        block: what Arrow refused.
        known: the columns of what was before it.
        error: what Arrow says, of its own block and in its own words.
        all_fields: whether fields count that aren't known.

    Raises:
        CatalogError: names the line, and the column where it is one's.
    """
    for problem in _problems(block, known, all_fields=all_fields):
        raise problem from error
    # Arrow refuses what Python reads, duplicate names for one: its own words must do.
    where = block.name
    if found := re.search(r"in row (\d+)", str(error)):
        where = f"{block.unit} {block.line_of(int(found[1]))} of {block.name}"
    raise CatalogError(f"{where} can't be read: {error}.", fix=_ONE_TYPE) from error


def conflicts(block: Block, known: pa.Schema) -> dict[str, CatalogError]:
    """Return the columns that are of no one type, each with its first line that doesn't fit."""
    found: dict[str, CatalogError] = {}
    for problem in _problems(block, known, all_fields=True):
        if problem.column is None:
            break
        found.setdefault(problem.column, problem)
    return found


def _problems(block: Block, known: pa.Schema, *, all_fields: bool) -> Iterator[CatalogError]:
    kinds = {path: kind for one in known for path, kind in _kinds_of_type(one.type, (one.name,))}
    fields = None if all_fields else known.names
    for row, (number, line) in enumerate(block.filled()):
        for problem, column in _line_problems(line, kinds, fields):
            if column is None:
                yield _no_object(block, number, problem, block.row + row)
            else:
                yield CatalogError(
                    f"{block.unit} {number + 1} of {block.name} {problem}.",
                    fix=_ONE_TYPE,
                    row=block.row + row,
                    column=column,
                )


def _no_object(block: Block, line: int, problem: str, row: int) -> CatalogError:
    return CatalogError(
        f"{block.unit} {line + 1} of {block.name} is {problem}.",
        fix=f'Write one object per {block.unit.lower()}, like {{"sku": "0012", "quantity": 1}}.',
        row=row,
    )


def _line_problems(
    line: bytes, kinds: dict[Path, str], fields: Collection[str] | None
) -> Iterator[tuple[str, str | None]]:
    """Yield what is wrong with a line, and with which column; keeps the kinds of all places."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            yield f"{_kind(value)}, not an object", None
            return
        counted = {name: one for name, one in value.items() if not fields or name in fields}
        found = [place for name, one in counted.items() for place in _kinds_of(one, (name,))]
    except (ValueError, RecursionError) as error:
        yield f"not JSON: {error}", None
        return
    for path, kind in found:
        before = kinds.get(path, _NOTHING)
        # null fits any kind, so it neither breaks nor settles one.
        if _NOTHING not in (kind, before) and kind != before:
            place = ".".join(path).replace(f".{ELEMENT}", ELEMENT)
            yield f"has {kind} in {place!r}, which was {before} before", path[0]
        else:
            kinds[path] = before if kind == _NOTHING else kind


def _kinds_of(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the kind of a value, and of all that is in it, with its place."""
    yield path, _kind(value)
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _kinds_of(one, (*path, name))
    elif isinstance(value, list):
        for one in value:
            yield from _kinds_of(one, (*path, ELEMENT))


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


def _kinds_of_type(kind: pa.DataType, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield what `_kinds_of` yields, for what a column may have."""
    yield path, _kind_of_type(kind)
    if pt.is_struct(kind):
        for field in kind.fields:
            yield from _kinds_of_type(field.type, (*path, field.name))
    elif pt.is_list(kind):
        yield from _kinds_of_type(kind.value_type, (*path, ELEMENT))
