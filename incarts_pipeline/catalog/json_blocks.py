"""Blocks of JSON lines: whole lines, no longer, deeper or wider than they may be."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded, UndecodableError
from incarts_pipeline.catalog.width import CELLS, check_width
from incarts_pipeline.errors import CatalogError

_DEEPEST = 200  # levels: each costs Arrow's parser some of its stack
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_NAME = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:')  # of a field, the last one before a wrong byte


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
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


def leaves_of(schema: pa.Schema) -> int:
    """Return how many values a row has, with those inside of objects and lists."""
    return sum(_leaves_of(field.type) for field in schema)


def _leaves_of(kind: pa.DataType) -> int:
    if pt.is_struct(kind):
        return 1 + sum(_leaves_of(field.type) for field in kind.fields)
    return 1 + _leaves_of(kind.value_type) if pt.is_list(kind) else 1


def parts_of(block: Block, columns: int, *, grows: bool = False) -> Iterator[Block]:
    """Yield a block in parts that are no more cells than memory has room for.

    With `grows` each name in it may be another column.
    """
    most = block.data.count(b":") if grows else 0
    if block.rows * (columns + most) <= CELLS:
        yield block
        return
    lines = block.data.split(b"\n")
    start = row = rows = names = 0
    for at, line in enumerate(lines):
        is_row = bool(line.strip())
        more = line.count(b":") if grows else 0
        if rows and (rows + 1) * (columns + names + more) > CELLS:
            yield dataclasses.replace(
                block,
                data=b"\n".join(lines[start:at]),
                line=block.line + start,
                row=block.row + row,
                rows=rows,
            )
            start, row, rows, names = at, row + rows, 0, 0
        rows, names = rows + is_row, names + more
    yield dataclasses.replace(
        block,
        data=b"\n".join(lines[start:]),
        line=block.line + start,
        row=block.row + row,
        rows=rows,
    )


def blocks_of(
    source: Decoded,
    name: str,
    unit: str,
    row: int = 0,
    *,
    most: int,
    most_columns: int | None = None,
) -> Iterator[Block]:
    """Yield a file in blocks.

    Args:
        source: the file; read to its end.
        name: the file, for messages.
        unit: what a line is to people.
        row: the 0-based number of its first row in the catalog.
        most: bytes that a line may have.
        most_columns: names that a line may have, None where that was seen before.

    Raises:
        CatalogError: a line is too long, too deep or too wide, or a byte isn't the encoding's.
    """
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
        if most_columns is not None:
            _check_names(enumerate(lines, line), name, unit, most_columns)
        # Blank lines are no rows, but they count as lines in messages.
        rows = sum(1 for one in lines if one.strip())
        if rows:
            yield Block(data=data, line=line, row=row, rows=rows, name=name, unit=unit)
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


def _check_names(
    lines: Iterable[tuple[int, bytes]], name: str, unit: str, most_columns: int
) -> None:
    """Refuse a line with more names than columns may be, before anybody parses it."""
    for number, line in lines:
        if line.count(b":") > most_columns:
            check_width(f"{unit} {number + 1} of {name}", len({*_NAME.findall(line)}), most_columns)


def _depth(line: bytes) -> int:
    depth = deepest = 0
    for mark in _STRUCTURE.findall(line):
        depth += 1 if mark in b"[{" else -1 if mark in b"]}" else 0
        deepest = max(deepest, depth)
    return deepest
