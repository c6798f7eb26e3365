"""Form of a CSV: its header as it stands, and whether it is one at all.

What is guessed would be read rightly today and wrongly one day, so a form that isn't the expected
one is refused, with what it looks like.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import Option, OptionText, counted

_DELIMITERS = ",;\t|"
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<rss", b"<feed")
_HEAD = 1 << 18  # bytes that are looked at
_LOOKED_AT = 30  # rows; what stands above a header is fewer
_SHOWN = 60  # characters of a header in a message


def read_header(head: bytes, delimiter: str, options: ReadOptions) -> tuple[list[str], bool]:
    """Return the names in the first row, and whether the row ends within `head`.

    Raises:
        csv.Error: its quotes aren't strict.
    """
    lines = _Counted(head)
    names = next(csv.reader(lines, **_dialect(delimiter, options)))
    return names, lines.read < lines.size or head.endswith((b"\n", b"\r"))


def check_form(
    head: bytes, names: list[str], delimiter: str, name: str, options: ReadOptions
) -> None:
    """Make sure that what looks like a header is one.

    Args:
        head: how the file begins, from the header on.
        names: the columns of the header.
        delimiter: what they were split by.
        name: the file, for messages.
        options: what was said of the form.

    Raises:
        CatalogError: the file is a page, its header has another delimiter, or is a title.
    """
    if head[:20].lower().startswith(_PAGES):
        raise CatalogError(
            f"{name} is no CSV: it begins with {_shown(head[:_SHOWN].decode(errors='ignore'))}.",
            fix="Check where it was downloaded; a page in its place mostly says what is missing.",
        )
    if options.delimiter is None:
        _check_delimiter(names, delimiter, name, head[:_HEAD], options)
    _check_first(names, name, _rows_below(head[:_HEAD], delimiter, options))


def _check_delimiter(
    names: list[str], delimiter: str, name: str, head: bytes, options: ReadOptions
) -> None:
    inside = {other: sum(column.count(other) for column in names) for other in _DELIMITERS}
    likely = [one for one in _DELIMITERS if one != delimiter and inside[one] >= len(names)]
    if not likely:
        return
    # Names may have commas in them: the delimiter is what makes the rows as wide as the header.
    other = max(likely, key=lambda one: (_rows_as_wide(head, one, options), inside[one]))
    raise CatalogError(
        f"The header of {name} has {other!r} where {delimiter!r} should be: "
        f"{_shown(delimiter.join(names))}.",
        fix=OptionText(
            f"Say that the delimiter is {other!r}, with ",
            Option(name="delimiter", value=other, stand_in=_word(other), of_reading=True),
            f"; or say {delimiter!r} if it really is that.",
        ),
    )


def _rows_as_wide(head: bytes, delimiter: str, options: ReadOptions) -> int:
    """Return how many rows a delimiter parts into as many cells as the header has."""
    try:
        header = next(csv.reader(_Counted(head), **_dialect(delimiter, options)))
    except csv.Error:
        return 0
    return sum(len(row) == len(header) for row in _rows_below(head, delimiter, options))


def _check_first(names: list[str], name: str, below: list[list[str]]) -> None:
    """A title, a date or an address above a table has one cell or two, and all below have more."""
    widest = max(map(len, below), default=0)
    filled = _filled(names)
    titles = 1 if widest == len(names) else 2  # a spreadsheet fills each row up with delimiters
    if not 0 < filled <= titles or widest < titles + 1:
        return
    header = next((at for at, row in enumerate(below) if _are_names(row, widest)), None)
    if header is None or any(len(row) != widest for row in below[header:]):
        return
    if len(below) - header < 2 or any(_filled(row) > titles for row in below[:header]):
        return
    title, seeming = ", ".join(filter(None, names)), ", ".join(below[header])
    raise CatalogError(
        f"The first row of {name} isn't its header: it is {_shown(title)}, and the columns' names "
        f"seem to be {_shown(seeming)}.",
        fix=f"Remove the {counted(header + 1, 'row')} above the header.",
    )


def _are_names(row: list[str], widest: int) -> bool:
    if _filled(row) < widest or len(set(row)) < widest:
        return False
    return not any(cell.strip().replace(".", "").isdigit() for cell in row)


def _filled(row: list[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _rows_below(head: bytes, delimiter: str, options: ReadOptions) -> list[list[str]]:
    """Return the rows behind the first one that have anything in them."""
    rows = csv.reader(_Counted(head), **_dialect(delimiter, options))
    try:
        return [row for row in islice(rows, 1, _LOOKED_AT) if row]
    except csv.Error:  # said with its place when rows are read
        return []


def _dialect(delimiter: str, options: ReadOptions) -> dict[str, Any]:
    quote = options.quote_mark
    return {
        "delimiter": delimiter,
        "quotechar": quote,
        "quoting": csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
        "escapechar": options.escape_mark,
        "strict": True,
    }


class _Counted:
    """Lines of a text, counted as they are read."""

    def __init__(self, head: bytes) -> None:
        # It may end inside a character.
        self._lines = io.StringIO(head.decode(errors="ignore"), newline="")
        self.read, self.size = 0, len(head)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.read += len(line.encode())
        return line


def _word(mark: str) -> str:
    """Return a delimiter as a shell takes it."""
    return "$'\\t'" if mark == "\t" else f"'{mark}'"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
