"""Options of reading a catalog: format, encoding, delimiter and the size of batches."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.models import Limits
from incarts_pipeline.text import suggest

BATCH_ROWS = 65_536  # large enough for kernels to pay, small enough to have several at once
LINE_BYTES = Limits().max_line_bytes
FORMATS = ("parquet", "csv", "jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What `open_catalog` was told; checked when it is made.

    Raises:
        CatalogError: an unknown format or encoding, or a delimiter that can't be one.
    """

    format: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    batch_rows: int = BATCH_ROWS
    max_line_bytes: int = LINE_BYTES

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
        # Arrow takes one byte; a quote or a line break would mean two things.
        mark = self.delimiter
        if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in '"\r\n'):
            raise CatalogError(
                f"{mark!r} can't be a delimiter.", fix="Give one character, like ',' ';' or a tab."
            )
        if self.batch_rows < 1:
            raise CatalogError(f"batch_rows is {self.batch_rows}.", fix="Make it 1 or more.")
