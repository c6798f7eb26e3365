"""Text files as UTF-8, whatever their encoding; a byte that doesn't fit is named."""

from __future__ import annotations

import codecs
import io
import re
from typing import Any

from incarts_pipeline.catalog.encoding_evidence import Evidence, is_utf8
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import Option, OptionText

BLOCK = 4 * 1024 * 1024  # bytes read at a time

# What begins so is no text, whatever was said.
_SIGNATURES = {
    b"\x1f\x8b": ("gzip", "Name it with .gz at the end."),
    b"\x28\xb5\x2f\xfd": ("zstd", "Name it with .zst at the end."),
    b"BZh": ("bzip2", "Name it with .bz2 at the end."),
    b"PK\x03\x04": ("a zip or Excel file", "Unpack it, or save the sheet as CSV (UTF-8)."),
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "Save the sheet as CSV (UTF-8)."),
    b"PAR1": ("a Parquet file", "Name it with .parquet at the end."),
}
# A longer mark first: that of UTF-16 is the beginning of one of UTF-32.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SIGN_BYTES = 4
_TAIL = 160  # bytes


class UndecodableError(CatalogError):
    """A byte that the encoding doesn't have.

    `what` names it; `verdict` is what the file as a whole says, the end of a sentence.
    """

    def __init__(
        self, name: str, encoding: str, what: str, verdict: str, *, fix: str, byte_offset: int
    ) -> None:
        message = f"{name} is not {encoding} text: {what} doesn't fit; {verdict}."
        super().__init__(message, fix=fix, byte_offset=byte_offset)
        self.encoding, self.what, self.verdict = encoding, what, verdict

    def at(self, where: str, row: int | None, column: str | None) -> CatalogError:
        """Return the error for the place that the byte is in, like `Row 1 of a.csv`."""
        inside = "" if column is None else f" in the column {column!r}"
        return CatalogError(
            f"{where} has{inside} {self.what}, which is not {self.encoding} text; {self.verdict}.",
            fix=self.fix,
            row=row,
            column=column,
            byte_offset=self.byte_offset,
        )


class _Decoder(io.RawIOBase):
    """A stream of UTF-8 made of another encoding's bytes; `tail` is its last bytes so far."""

    def __init__(self, stream: Any, name: str, encoding: str) -> None:
        self._stream = stream
        self._name = name
        # The mark is taken off below for every encoding, so no codec has to.
        self._encoding = codecs.lookup(encoding).name.removesuffix("-sig")
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._offset = 0
        self._evidence = Evidence()
        self._rest = memoryview(b"")
        self._over = False
        self._error: CatalogError | None = None
        self.tail = b""

    def readable(self) -> bool:
        """Say yes, as `io` wants it."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with UTF-8; 0 at the end."""
        while not self._rest and not self._over:
            # What is before a wrong byte is read first, so that its row can be told.
            if self._error is not None:
                raise self._error
            self._rest = memoryview(self._decode(self._stream.read(BLOCK)))
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        self.tail = (self.tail + bytes(buffer[max(0, n - _TAIL) : n]))[-_TAIL:]
        return n

    def _decode(self, raw: bytes) -> bytes:
        first = self._offset == 0
        if first:
            self._look_at_sign(raw)
        # Bytes of a character that the last block cut in two are counted before this block.
        waiting = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            if first and b"\0" in raw[:_SIGN_BYTES]:
                raise self._wrong(raw, raw.find(b"\0"), raw.find(b"\0")) from None
            # The decoder is as it was before; what stands before the byte is whole characters.
            good = self._decoder.decode(raw[: max(0, error.start - waiting)])
            self._evidence.add_good(error.start, len(good))
            at = self._offset - waiting + error.start
            self._error = self._wrong(error.object, error.start, at)
            return (good.removeprefix("\ufeff") if first else good).encode()
        self._over = not raw
        if first:
            # Excel marks UTF-8 so; it would become a part of the first column's name.
            text = text.removeprefix("\ufeff")
            # UTF-16 without a mark is valid UTF-8 as long as it is English: each second byte is
            # NUL.
            if "\0" in text[:_SIGN_BYTES]:
                raise self._wrong(raw, raw.find(b"\0"), raw.find(b"\0"))
        self._evidence.add_good(len(raw), len(text))
        self._offset += len(raw)
        return text.encode()

    def _look_at_sign(self, raw: bytes) -> None:
        for sign, (kind, fix) in _SIGNATURES.items():
            if raw.startswith(sign):
                raise CatalogError(f"{self._name} is no text: it looks like {kind}.", fix=fix)
        marked = next((kind for mark, kind in _MARKS.items() if raw.startswith(mark)), None)
        # UTF-8 has no such bytes, so the mark leaves no doubt.
        if marked and self._encoding == "utf-8":
            self._encoding = marked
            self._decoder = codecs.getincrementaldecoder(marked)()
        is_wide = self._encoding.startswith(("utf-16", "utf-32"))
        if self._encoding != "utf-8" and (b"\0" not in raw if is_wide else is_utf8(raw)) and raw:
            raise CatalogError(
                f"{self._name} is not {self._encoding} text: it looks like UTF-8.",
                fix=OptionText("Leave ", Option(name="encoding", of_reading=True), " out."),
            )

    def _wrong(self, raw: bytes, start: int, at: int) -> UndecodableError:
        if self._encoding == "utf-8" and b"\0" not in raw[:_SIGN_BYTES]:
            self._evidence.add(raw, start)
            while block := self._stream.read(BLOCK):
                self._evidence.add(block)
            verdict, fix = self._evidence.verdict(raw, start)
        else:
            guess = _wide(raw) if at < _SIGN_BYTES else None
            verdict = f"it looks like {guess}" if guess else "what it is can't be told"
            advised = Option(name="encoding", value=guess, of_reading=True)
            fix = OptionText("Say its encoding, with ", advised, ", or save it as UTF-8.")
        return UndecodableError(
            self._name,
            self._encoding,
            f"the byte 0x{raw[start]:02x} at offset {at}",
            verdict,
            fix=fix,
            byte_offset=at,
        )


def _wide(raw: bytes) -> str | None:
    if b"\0" not in raw[:_SIGN_BYTES]:
        return None
    return "utf-16-be" if raw.startswith(b"\0") else "utf-16-le"


class Decoded(io.BufferedReader):
    """A stream of bytes in some encoding, read as UTF-8 without a byte order mark, buffered.

    A byte order mark of UTF-16 or UTF-32 is believed where no other encoding was said.

    Raises:
        CatalogError: while reading, bytes that the encoding doesn't have, or a NUL where text
            should be; names the byte's offset and the likely encoding. `read1` returns first what
            is before such a byte, then raises an UndecodableError.
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
