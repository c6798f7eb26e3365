"""Options of reading a catalog: format, encoding, delimiter, quotes and the size of batches."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.models import Limits
from incarts_pipeline.text import suggest

BATCH_ROWS = 65_536  # large enough for kernels to pay, small enough to have several at once
LINE_BYTES = Limits().max_line_bytes
COLUMNS = Limits().max_columns
DOUBLE_QUOTE = '"'
NO_QUOTE = "none"
_ARTICLES = {"delimiter": "a", "quote": "a", "escape": "an"}
FORMATS = ("parquet", "csv", "jsonl", "json", "xml", "excel", "delta", "iceberg")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What `open_catalog` was told; checked when it is made.

    Raises:
        CatalogError: an unknown format or encoding, or a delimiter, quote or escape that can't be
            one.
    """

    format: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    sheet: str | None = None
    records: str | None = None
    query: str | None = None
    batch_rows: int = BATCH_ROWS
    max_line_bytes: int = LINE_BYTES
    max_columns: int = COLUMNS

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise CatalogError(
                f"There is no catalog format {self.format!r}.{suggest(self.format, FORMATS)}",
                fix=f"Say {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
            )
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise CatalogError(
                f"There is no encoding {self.encoding!r}.",
                fix="Say utf-8, utf-16, cp1252 or another that Python knows.",
            ) from None
        self._check_marks()
        if self.batch_rows < 1:
            raise CatalogError(f"batch_rows is {self.batch_rows}.", fix="Make it 1 or more.")

    @property
    def quote_mark(self) -> str | None:
        """The character that quotes a cell; None where none does."""
        return None if self.quote == NO_QUOTE else self.quote or DOUBLE_QUOTE

    @property
    def escape_mark(self) -> str | None:
        """The character before a quote that is text; None where a quote is doubled instead."""
        return None if self.escape == self.quote_mark else self.escape

    def _check_marks(self) -> None:
        # Arrow takes one byte; a line break would mean two things.
        marks = {"delimiter": self.delimiter, "quote": self.quote_mark, "escape": self.escape_mark}
        examples = {"delimiter": "',' ';' or a tab", "quote": "'\"', or none", "escape": "'\\'"}
        for what, mark in marks.items():
            if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n"):
                raise CatalogError(
                    f"{mark!r} can't be {_ARTICLES[what]} {what}.",
                    fix=f"Give one character, like {examples[what]}.",
                )
        given = [mark for mark in marks.values() if mark is not None]
        if len(set(given)) < len(given):
            raise CatalogError(
                f"The delimiter, quote and escape can't be the same: {' '.join(map(repr, given))}.",
                fix="Give each a character of its own.",
            )
