"""Stream of a CSV as its parser gets it: up to the first cell that can't be trusted.

The cell itself is replaced by a marker that nobody has, and nothing follows it. So the parser
counts rows and columns up to there, and whoever finds the marker knows where the cell is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from incarts_pipeline.catalog.quoting import QuoteFault, QuoteScan
from incarts_pipeline.catalog.text_encoding import BLOCK, UndecodableError

_SHOWN = 400  # bytes of a cell in a message
_BEHIND = 6  # and of what is behind the byte that proves a fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Why a stream ends early: a cell's quotes, or a byte that its encoding doesn't have.

    `line` is the cell's line in the file, from 1; `text` how it begins; `is_escaped` whether the
    quote that proves it has a backslash before it.
    """

    line: int
    text: str
    fault: QuoteFault | None = None
    error: UndecodableError | None = None
    is_escaped: bool = False


class CheckedStream(io.RawIOBase):
    """What a source holds, checked; a marker row ends it where all was well.

    Args:
        head: what was read of the source already.
        source: the rest, as UTF-8.
        scan: the rules of its quotes.
        line: the number of the first line.
        marker: a text that no cell holds.
        end: the marker row, which is put behind the last one.
    """

    def __init__(
        self, head: bytes, source: Any, scan: QuoteScan, *, line: int, marker: bytes, end: bytes
    ) -> None:
        self.cut: Cut | None = None
        self._head, self._source, self._scan = head, source, scan
        self._marker, self._end = marker, end
        self._lines, self._returns = line, line
        self._held = b"\n"  # the byte before, then what belongs to a cell that goes on
        self._ready = b""
        self._over = False

    def readable(self) -> bool:
        """Say yes, as `io` wants it."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        # What `io` makes of `readinto` would copy once more. Short reads would be short blocks, in
        # which a row of usual length may not fit.
        parts, lacking = [self._ready], size - len(self._ready)
        while (lacking > 0 or size < 0) and not self._over:
            parts.append(self._next())
            lacking -= len(parts[-1])
        found = b"".join(parts)
        if size < 0:
            size = len(found)
        self._ready = found[size:]
        return found[:size]

    def _next(self) -> bytes:
        error = None
        try:
            # `read1` returns what is before a wrong byte, and raises when it is asked for more.
            block, self._head = self._head or self._source.read1(BLOCK), b""
        except UndecodableError as found:
            block, error = b"", found
        self._over = error is not None or not block
        data = self._held + (self._end if not block and error is None else block)
        scanned = self._scan.scan(data)
        if scanned.fault is not None:
            return self._stopped(data, scanned.end, scanned.fault, scanned.culprit)
        if error is not None:
            return self._stopped(data, scanned.end, error=error)
        if self._over and scanned.end < len(data):
            return self._stopped(data, scanned.end, QuoteFault.UNCLOSED)
        if len(data) - scanned.end > BLOCK:
            return self._stopped(data, scanned.end, QuoteFault.TOO_LONG)
        return self._settled(data, scanned.end)

    def _settled(self, data: bytes, end: int) -> bytes:
        done = data[1:end]
        self._lines += done.count(b"\n")
        self._returns += done.count(b"\r")
        last = data[end - 1 : end]
        # A quote there is over, and would be taken for the first of a doubled one.
        begins_cell = last in (b"\n", b"\r", self._scan.delimiter)
        self._held = (last if begins_cell else b"x") + data[end:]
        return done

    def _stopped(
        self,
        data: bytes,
        at: int,
        fault: QuoteFault | None = None,
        culprit: int = 0,
        *,
        error: UndecodableError | None = None,
    ) -> bytes:
        done = self._settled(data, at)
        self._over = True
        shown = data[at : culprit + _BEHIND if culprit else None]
        self.cut = Cut(
            # A file of another age ends its lines with a return alone.
            line=max(self._lines, self._returns),
            text=shown[:_SHOWN].split(self._marker)[0].decode(errors="ignore"),
            fault=fault,
            error=error,
            is_escaped=data[culprit - 2 : culprit] == b'\\"',
        )
        return done + self._marker
