"""Bytes of an XML document whose writer forgot that & is `&amp;` there."""

from __future__ import annotations

import re
from typing import Any

_OPENING = re.compile(
    rb"<!\[CDATA\[|<!--|&(?!(?:[A-Za-z_][\w.-]{0,39}|#[0-9]{1,9}|#x[0-9A-Fa-f]{1,9});)",
)
_ENDS = {b"<![CDATA[": b"]]>", b"<!--": b"-->"}
_LONGEST = 64  # bytes of an opening or a reference
_BEGINS = re.compile(rb"[<&]")


class Ampersands:
    """A stream of XML with each & escaped that begins no reference; the others stay.

    Such an & makes no sense in XML, so that it can only mean itself. In a CDATA section or a
    comment, any & does.

    Attributes:
        escaped: how many there were so far.
    """

    def __init__(self, stream: Any) -> None:
        self.escaped = 0
        self._stream = stream
        self._rest = b""
        self._end = b""  # of the section that is open
        self._is_wide: bool | None = None  # UTF-16 or UTF-32, which stay as they are

    def read(self, size: int) -> bytes:
        """Return the next bytes, about as many as were asked for; none at the end."""
        while True:
            block: bytes = self._stream.read(size)
            if self._is_wide is None:
                mark = block.startswith((b"\xff\xfe", b"\xfe\xff"))
                self._is_wide = mark or b"\0" in block[:4]
            if self._is_wide:
                return block
            text, self._rest = self._rest + block, b""
            done = self._escaped(text, is_last=not block)
            if done or not block:
                return done

    def _escaped(self, text: bytes, *, is_last: bool) -> bytes:
        """Return text as far as it is whole; keeps the rest for later."""
        parts, at, limit = [], 0, len(text) if is_last else _whole(text)
        while at < limit:
            if self._end:
                stop = text.find(self._end, at)
                stop = limit if stop < 0 or stop >= limit else stop + len(self._end)
                self._end = b"" if text[at:stop].endswith(self._end) else self._end
                parts.append(text[at:stop])
                at = stop
                continue
            found = _OPENING.search(text, at)
            if found is None or found.start() >= limit:
                break
            parts.append(text[at : found.start()])
            at = found.end()
            self._end = _ENDS.get(found[0], b"")
            self.escaped += not self._end
            parts.append(found[0] if self._end else b"&amp;")
        parts.append(text[at:limit])
        self._rest = text[max(at, limit) :]
        return b"".join(parts)


def _whole(text: bytes) -> int:
    """Return up to where an opening, a reference or an end can't be cut in two."""
    tail = max(0, len(text) - _LONGEST)
    found = _BEGINS.search(text, tail)
    return min(found.start() if found else len(text), max(0, len(text) - 2))
