"""Quoting of a CSV: a strict look at every quoted cell, before a lenient parser reads it.

Parsers glue on what stands behind a closing quote, so that rows merge and cells change without a
word. `QuoteScan` finds the first cell of which that may be said. The scan is one pass over the
bytes on whole blocks: where quotes are as RFC 4180 has them, every second one closes a cell, which
a few vectorized comparisons tell; only blocks with other quotes are looked at one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

_Places = npt.NDArray[np.intp]
_LF, _CR = 10, 13
_BLANKS = (ord(" "), ord("\t"))
_SPACES = 3  # as many before a quote are looked for
_BREAK = re.compile(rb"\r\n|\r|\n")


class QuoteFault(Enum):
    """What is wrong with a cell; the values end the sentence that tells it."""

    TEXT_BEHIND = "has text behind its closing quote"
    UNCLOSED = "opens a quote that is never closed"
    TOO_LONG = "opens a quote that isn't closed within 4 MB"
    HOLDS_ROWS = "opens a quote that is closed rows later, and what is between looks like rows"
    SPACED = "has white space before its opening quote, which readers take in different ways"
    ESCAPE = "has an escape before a character that needs none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """How far a block is settled: whole cells before `end`; what begins there is faulty, or open.

    `fault` is None for a cell that only goes on in the next block; `culprit` is the place of the
    byte that proves a fault.
    """

    end: int
    fault: QuoteFault | None = None
    culprit: int = 0


class QuoteScan:
    """The rules of one file: its delimiter, quote and escape.

    Args:
        delimiter: one ASCII character.
        quote: one, or None for a file without quoting.
        escape: one, or None; it is put before quotes, delimiters, line breaks and itself.
        columns: how many the header has.
        trusted: whether somebody said that the quote is one, so that a long cell isn't doubted.
    """

    def __init__(
        self, delimiter: str, quote: str | None, escape: str | None, columns: int, *, trusted: bool
    ) -> None:
        self.delimiter = delimiter.encode()
        self._quote = None if quote is None else ord(quote)
        self._vectorized = quote is not None and escape is None
        self._columns = 0 if trusted or quote is None else columns
        self._cells = _pattern(delimiter, quote, escape)
        self._edges = np.zeros(256, np.bool_)
        self._edges[[ord(delimiter), _LF, _CR]] = True
        self._near = self._edges.copy()
        if quote is not None:
            self._near[ord(quote)] = True

    def scan(self, data: bytes) -> Scanned:
        """Look at the cells of some bytes that begin outside of quotes.

        Args:
            data: the first byte is the one before, which is only looked at, and is no quote.
        """
        if self._cells is None or not self._marks(data):
            return Scanned(end=len(data))
        found = self._regular(data) if self._vectorized else None
        openers, closers, settled = found or self._one_by_one(data)
        return self._rows_inside(data, openers, closers) or settled

    def _marks(self, data: bytes) -> bool:
        # Most blocks of most files have none, and nothing is faster than this.
        return not self._vectorized or data.find(bytes([self._quote or 0])) >= 0

    def _regular(self, data: bytes) -> tuple[_Places, _Places, Scanned] | None:
        """Return where cells open and close, None where quotes aren't as RFC 4180 has them."""
        codes = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(codes[1:] == self._quote) + 1
        if (found := self._pairs(codes, quotes)) is not None:
            return found
        # An inch sign in the middle of a cell is text, unless that cell is quoted.
        behind = codes[np.minimum(quotes + 1, len(codes) - 1)]
        texts = ~(self._near[codes[quotes - 1]] | self._near[behind])
        found = self._pairs(codes, quotes[~texts])
        if found is None or not len(quotes):
            return found
        # Behind white space that begins a cell it is doubtful.
        spaced = np.isin(codes[quotes - 1], _BLANKS)
        around = codes[np.maximum(quotes - 2, 0)]
        if (spaced & (self._edges[around] | np.isin(around, _BLANKS))).any():
            return None
        openers, closers, settled = found
        # The last cell may be open, and goes on to the end.
        openers, closers = np.append(openers, settled.end), np.append(closers, len(codes))
        at = np.searchsorted(openers, quotes[texts]) - 1
        return None if ((at >= 0) & (quotes[texts] < closers[at])).any() else found

    def _pairs(
        self, codes: npt.NDArray[np.uint8], quotes: _Places
    ) -> tuple[_Places, _Places, Scanned] | None:
        """Return the cells where every quote opens, closes or is doubled."""
        firsts, seconds = quotes[0::2], quotes[1::2]
        before = codes[firsts - 1]
        if len(quotes) and quotes[-1] == len(codes) - 1 and not len(quotes) % 2:
            seconds = seconds[:-1]  # what is behind it comes with the next block
        behind = codes[seconds + 1]
        if not (self._near[before].all() and self._near[behind].all()):
            return None
        openers, closers = firsts[self._edges[before]], seconds[self._edges[behind]]
        is_open = len(openers) > len(closers)
        end = int(openers[-1]) if is_open else len(codes)
        return openers[: len(closers)], closers, Scanned(end=end)

    def _one_by_one(self, data: bytes) -> tuple[_Places, _Places, Scanned]:
        openers, closers = [], []
        settled = Scanned(end=len(data))
        for found in self._cells.finditer(data, 1) if self._cells else ():
            kind = found.lastgroup or ""
            if kind == "closed":
                openers.append(found.start())
                closers.append(found.end() - 1)
            elif kind in ("open", "cut"):
                settled = Scanned(end=found.start())
            elif kind in _FAULTS:
                settled = Scanned(end=found.start(), fault=_FAULTS[kind], culprit=found.end())
                break
        return np.array(openers, np.intp), np.array(closers, np.intp), settled

    def _rows_inside(self, data: bytes, openers: _Places, closers: _Places) -> Scanned | None:
        """Return the first cell that would be whole rows, were its quotes none.

        An inch sign that opens a cell, `"Best TV`, and one that ends another, `TV 55"`, are as good
        a quoted cell as any: that they aren't one shows only in what they enclose.
        """
        if self._columns < 2 or not len(openers):
            return None
        codes = np.frombuffer(data, np.uint8)
        breaks = np.flatnonzero(codes == _LF)
        if not len(breaks):
            breaks = np.flatnonzero(codes == _CR)
        # Line ends are far fewer than quotes: each is asked for the cell that it is in, if any.
        at = np.searchsorted(openers, breaks) - 1
        inside = (at >= 0) & (breaks < closers[at])
        if not inside.any():
            return None
        cells, lines = np.unique(at[inside], return_counts=True)
        marks = np.flatnonzero(codes == self.delimiter[0])
        firsts, lasts = np.searchsorted(marks, openers), np.searchsorted(marks, closers)
        held = lasts - firsts
        ends = breaks[~inside]
        for cell in cells[held[cells] == lines * (self._columns - 1)]:
            start, end = int(openers[cell]), int(closers[cell])
            row = np.searchsorted(ends, start)
            column = None
            if row:  # its row begins in this block
                row_start = ends[row - 1]
                others = held[np.searchsorted(openers, row_start) : cell].sum()
                column = int(firsts[cell] - np.searchsorted(marks, row_start) - others)
            if self._is_rows(data[start + 1 : end], column):
                return Scanned(end=start, fault=QuoteFault.HOLDS_ROWS, culprit=end)
        return None

    def _is_rows(self, cell: bytes, column: int | None) -> bool:
        # In prose a comma is followed by a space, and between cells it mostly isn't.
        if self.delimiter != b"\t" and self.delimiter + b" " in cell:
            return False
        first, *between, last = (part.count(self.delimiter) for part in _BREAK.split(cell))
        whole = self._columns - 1
        fits = column is None or last == column
        return fits and first + last == whole and all(part == whole for part in between)


_FAULTS = {
    "behind": QuoteFault.TEXT_BEHIND,
    "spaced": QuoteFault.SPACED,
    "stray": QuoteFault.ESCAPE,
    "wrong": QuoteFault.ESCAPE,
}


def _pattern(delimiter: str, quote: str | None, escape: str | None) -> re.Pattern[bytes] | None:
    """Return what finds each quoted cell and each escape; None where there is nothing to find."""
    if quote is None and escape is None:
        return None
    q, d = re.escape(quote or ""), re.escape(delimiter)
    edge = rf"[{d}\r\n]"
    parts, stop = [], ""
    if escape is not None:
        e = re.escape(escape)
        stop = e
        escaped = rf"{e}[{q}\"{e}{d}\r\n]"
        # A quote right behind an escaped delimiter doesn't begin a cell.
        behind = rf"{q}*+" if quote else ""
        parts += [rf"{escaped}{behind}", rf"(?P<stray>{e}.)", rf"(?P<open>{e}\Z)"]
    if quote is not None:
        inside = rf"[^{q}{stop}]++|{q}{q}" + (f"|{escaped}" if escape else "")
        ends = [rf"(?P<closed>{q}(?={edge}))", rf"(?P<behind>{q}(?=.))"]
        ends += [rf"(?P<wrong>{stop}(?=.))"] if escape else []
        ends += [rf"(?P<cut>[{q}{stop}]?\Z)"]
        # Each begins with the quote itself, which is what a search is quick to find.
        parts.append(rf"{q}(?<={edge}{q})(?:{inside})*+(?:{'|'.join(ends)})")
        blank = " " if delimiter == "\t" else r"[ \t]"
        spaces = "|".join(rf"(?<={edge}{blank * n}{q})" for n in range(1, _SPACES + 1))
        parts.append(rf"(?P<spaced>{q}(?:{spaces})[^{q}\r\n{stop}]*+{q}{blank}*+(?={edge}))")
    return re.compile("|".join(parts).encode(), re.DOTALL)
