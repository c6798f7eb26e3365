"""Evidence of a file's encoding: what its bytes as a whole speak for, once one isn't UTF-8."""

from __future__ import annotations

import codecs
import re
from collections import Counter

from incarts_pipeline.text import Option, OptionText, counted

# Letters and signs of Western European languages, as cp1252 has them. Those of Icelandic, Turkish
# and the languages that cp1250 is for are left out: their files look like cp1252, and aren't.
_LOWER = "àáâãäåæçèéêëìíîïñòóôõöøùúûüÿœßªº"
_UPPER = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŒ"
_SIGNS = "’‘“”–—…•€£¥¢™®©°²³½¼¾±×÷·§«»¿¡´\xa0"
_CLOSING = "”»…™®©°²³½¼¾±×÷§´\xa0€£¥¢•¿¡«“‘–"  # mostly not between two letters
_ENCODINGS = ("cp1252", "mac_roman", "cp850")  # the first that fits: the others are rare
_FITS = 0.98  # of the characters
_CHANCE = 2  # so many times as many bytes that aren't UTF-8, and those that are may be chance
_SAMPLES = 100_000
_AROUND = re.compile(rb"(?<=([\x00-\xff]))([\x80-\xff])(?=([\x00-\xff]?))", re.DOTALL)
_CONTEXT = 20  # characters around a byte that are shown


class Evidence:
    """Counts of what is UTF-8 in a file and what isn't."""

    def __init__(self) -> None:
        self._good = 0  # bytes beyond the first of valid characters
        self._bad = 0
        self._around: Counter[tuple[bytes, bytes, bytes]] = Counter()
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def add_good(self, size: int, characters: int) -> None:
        """Count a block that was UTF-8."""
        self._good += max(0, size - characters)

    def add(self, raw: bytes, start: int = 0) -> None:
        """Count a block that may hold anything, from a byte on."""
        text = self._decoder.decode(raw[start:])
        bad = len(re.findall("[\udc80-\udcff]", text))
        self._bad += bad
        self._good += len(raw) - start - len(text)
        if self._around.total() < _SAMPLES:
            self._around.update(_AROUND.findall(raw, start))

    def verdict(self, raw: bytes, start: int) -> tuple[str, str]:
        """Return what the file speaks for, the end of a sentence, and what to do.

        Args:
            raw: a block with the first byte that isn't UTF-8.
            start: the byte's place in it.
        """
        others = counted(self._bad - 1, "more byte isn't", "more bytes aren't")
        more = f" ({others} either)" if self._bad > 1 else ""
        if self._good >= self._bad:
            return (
                f"the rest of the file is UTF-8{more}, so the cell is wrong, not the encoding",
                f"Write it again{_meant(raw, start)}. Another encoding would garble the rest.",
            )
        if self._good * _CHANCE > self._bad:
            return (
                f"other letters of the file are UTF-8{more}, so it has two encodings",
                "Correct the cells; or, where two files were joined, save each as UTF-8 before.",
            )
        # A letter that is UTF-8 would be garbled by any of them.
        fitting = (one for one in _ENCODINGS if not self._good and self._fits(one))
        encoding = next(fitting, None)
        if encoding is None:
            return (
                "most letters beyond ASCII in it aren't, and what it is can't be told",
                OptionText(
                    "Save it as UTF-8 (in Excel: CSV UTF-8), or say the encoding of the program "
                    "that wrote it, with ",
                    Option(name="encoding", stand_in="NAME", of_reading=True),
                    ".",
                ),
            )
        return (
            f"it may be {encoding}, in which this reads {_read_as(raw, start, encoding)!r}",
            OptionText(
                "If that is right, say ",
                Option(name="encoding", value=encoding, of_reading=True),
                "; or save it as UTF-8.",
            ),
        )

    def _fits(self, encoding: str) -> bool:
        fits = total = 0
        for (before, byte, behind), count in self._around.items():
            total += count
            if _is_plausible(before, byte, behind, encoding):
                fits += count
        return total > 0 and fits >= total * _FITS


def is_utf8(raw: bytes) -> bool:
    """Say whether a block has letters beyond ASCII, and all of them are UTF-8."""
    if raw.isascii():
        return False
    try:
        return not codecs.getincrementaldecoder("utf-8")().decode(raw).isascii()
    except UnicodeDecodeError:
        return False


def _is_plausible(before: bytes, byte: bytes, behind: bytes, encoding: str) -> bool:
    text = byte.decode(encoding, "replace")
    left, right = before.decode(encoding, "replace"), behind.decode(encoding, "replace")
    if all(one > "\x7f" and one.isalpha() for one in (left, right)):
        return False  # letters beyond ASCII in a row are another script's
    if text in _UPPER:  # AbÉ is no word
        return not left.islower() or right.isupper()
    if text not in _SIGNS:
        return text in _LOWER
    return not (text in _CLOSING and left.islower() and right.islower())


def _meant(raw: bytes, start: int) -> str:
    """Say what a byte is in the encoding that it most likely was copied from."""
    before, behind = raw[max(0, start - 1) : start], raw[start + 1 : start + 2]
    if not _is_plausible(before, raw[start : start + 1], behind, "cp1252"):
        return ""
    return f": in cp1252 the byte is {raw[start : start + 1].decode('cp1252')}"


def _read_as(raw: bytes, start: int, encoding: str) -> str:
    line = re.split(rb"[\r\n]", raw[max(0, start - _CONTEXT) : start])[-1]
    rest = re.split(rb"[\r\n]", raw[start : start + _CONTEXT])[0]
    return (line + rest).decode(encoding, "replace")
