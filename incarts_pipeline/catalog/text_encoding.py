"""Text files as UTF-8, whatever their encoding; a byte that doesn't fit is named."""

from __future__ import annotations

import codecs
import io
import re
from typing import Any

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import Option, OptionText

BLOCK = 4 * 1024 * 1024  # bytes read at a time

_SIGNATURES = {
    b"\x1f\x8b": "it looks like gzip, whose name should end in .gz",
    b"PK\x03\x04": "it looks like a zip or Excel file",
    b"PAR1": "it looks like a Parquet file",
    codecs.BOM_UTF16_LE: "it looks like utf-16",
    codecs.BOM_UTF16_BE: "it looks like utf-16",
}
_SIGN_BYTES = 4
_TAIL = 160  # bytes


class _Decoder(io.RawIOBase):
    """A stream of UTF-8 made of another encoding's bytes; `tail` is its last bytes so far."""

    def __init__(self, stream: Any, name: str, encoding: str) -> None:
        self._stream = stream
        self._name = name
        # The mark is taken off below for every encoding, so no codec has to.
        self._encoding = codecs.lookup(encoding).name.removesuffix("-sig")
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._offset = 0
        self._sign = b""
        self._rest = memoryview(b"")
        self._over = False
        self.tail = b""

    def readable(self) -> bool:
        """Say yes, as `io` wants it."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with UTF-8; 0 at the end."""
        while not self._rest and not self._over:
            self._rest = memoryview(self._decode(self._stream.read(BLOCK)))
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        self.tail = (self.tail + bytes(buffer[max(0, n - _TAIL) : n]))[-_TAIL:]
        return n

    def _decode(self, raw: bytes) -> bytes:
        self._over = not raw
        first = self._offset == 0
        if first:
            self._sign = raw[:_SIGN_BYTES]
        # Bytes of a character that the last block cut in two are counted before this block.
        waiting = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(raw, final=self._over)
        except UnicodeDecodeError as error:
            at = self._offset - waiting + error.start
            raise self._wrong(error.object, error.start, at) from None
        if first:
            # Excel marks UTF-8 so; it would become a part of the first column's name.
            text = text.removeprefix("\ufeff")
            # UTF-16 without a mark is valid UTF-8 as long as it is English: each second byte is
            # NUL.
            if "\0" in text[:_SIGN_BYTES]:
                raise self._wrong(raw, raw.find(b"\0"), raw.find(b"\0"))
        self._offset += len(raw)
        return text.encode()

    def _wrong(self, raw: bytes, start: int, at: int) -> CatalogError:
        return CatalogError(
            f"{self._name} is not {self._encoding} text: the byte 0x{raw[start]:02x} at offset "
            f"{at} doesn't fit; {self._guess(raw)}.",
            fix=OptionText(
                "Save it as UTF-8, or say its encoding, like ",
                Option(name="encoding", value="cp1252"),
                ".",
            ),
            byte_offset=at,
        )

    def _guess(self, raw: bytes) -> str:
        for sign, guess in _SIGNATURES.items():
            if self._sign.startswith(sign):
                return guess
        if b"\0" in self._sign:
            return "it looks like utf-16" + ("-be" if self._sign.startswith(b"\0") else "-le")
        try:
            # cp1252 has five holes; bytes that fall into one are most likely latin-1.
            raw.decode("cp1252")
        except UnicodeDecodeError:
            return "it may be latin-1"
        return "it may be cp1252"


class Decoded(io.BufferedReader):
    """A stream of bytes in some encoding, read as UTF-8 without a byte order mark, buffered.

    Raises:
        CatalogError: while reading, bytes that the encoding doesn't have, or a NUL where text
            should be; names the byte's offset and the likely encoding.
    """

    def __init__(self, stream: Any, name: str, encoding: str) -> None:
        self._decoder = _Decoder(stream, name, encoding)
        super().__init__(self._decoder, BLOCK)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read."""
        return not self._decoder.tail

    @property
    def rest_of_line(self) -> str:
        """What was read behind the last line end, or the end of it; empty where nothing was."""
        tail = self._decoder.tail.decode(errors="ignore")  # may begin inside a character
        return re.split(r"[\r\n]", tail)[-1]
