"""Files of a catalog: opened again and again, and what their readers give for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog.arrow_types import Faults
from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded
from incarts_pipeline.errors import CatalogError

_SHOWN = 60  # characters of a line in a warning
_LONGEST = 64 * 1024 * 1024  # bytes from the end of one record to the end of the next


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that can be opened again and again; `open` returns a stream of bytes."""

    name: str
    open: Callable[[], AbstractContextManager[Any]]

    @contextmanager
    def decoded(self, encoding: str) -> Iterator[Decoded]:
        """Open it as UTF-8."""
        with self.open() as stream:
            yield Decoded(stream, self.name, encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """What a reader found in all files of a catalog.

    Attributes:
        schema: the columns.
        rows_of: yields the rows of one file; takes the file, the number of its first row in the
            catalog, and a list for warnings.
        faults: by its name why another column can't be used.
        chosen: options that would say what was found without them, like the sheet.
    """

    schema: pa.Schema
    rows_of: Callable[[SourceFile, int, list[str]], Iterator[pa.RecordBatch]]
    faults: Faults = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)


def end_warnings(text: Decoded, name: str, last_row: int) -> Iterator[str]:
    """Say of a text file that was read to its end that it is empty, or may be cut off.

    Args:
        text: the file.
        name: the file, for messages.
        last_row: the 0-based number of its last row in the catalog.
    """
    if text.is_empty:
        yield f"{name} is empty."
    elif end := text.rest_of_line:
        shown = repr(end if len(end) <= _SHOWN else "…" + end[-_SHOWN:])
        where = f"row {last_row} (the first is 0), its last" if last_row >= 0 else "its header"
        yield (
            f"{name} ends without a line end, so it may be cut off: look at {where}, which ends "
            f"in {shown}."
        )


def check_same_columns(name: str, first: Sequence[str], names: Sequence[str], file: str) -> None:
    """Make sure that a file has the columns of the catalog's first one, in any order.

    Raises:
        CatalogError: it hasn't; names a column.
    """
    differing = sorted(set(first) ^ set(names))
    if differing:
        raise CatalogError(
            f"The files of {name} have different columns: {differing[0]!r} is in the first or in "
            f"{file}, not in both.",
            fix="Give all of them the same header, in any order.",
            column=differing[0],
        )


class RecordStream:
    """A stream of bytes whose reader says when a record is over, so that none fills the memory.

    What is packed small may unpack to anything; parsers keep a text until it ends.

    Raises:
        CatalogError: while reading, when no record ended for 64 MiB.
    """

    def __init__(self, stream: Any, name: str, *, strip: bool = False) -> None:
        self._stream = stream
        self._name = name
        self._strip = strip  # white space at the start
        self._taken = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most a block of them; none at the end."""
        block: bytes = self._stream.read(BLOCK if size < 0 else min(size, BLOCK))
        if self._strip:
            while block and not (block := block.lstrip()):
                block = self._stream.read(BLOCK)
            self._strip = False
        self._taken += len(block)
        if self._taken > _LONGEST:
            raise CatalogError(
                f"{self._name} has no end of a record within {_LONGEST:,} bytes.",
                fix="Check that it is what its name says, and whole.",
            )
        return block

    def record_ended(self) -> None:
        """Note that the reader let go of a record."""
        self._taken = 0
