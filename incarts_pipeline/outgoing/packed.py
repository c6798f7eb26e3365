r"""Packed texts: base64 and hexadecimal digits in a text, and what comes out of them.

Base64 may be the standard one or that for URLs, without padding, broken into lines, or begin
anywhere in a run of its characters; hexadecimal digits may have `:`, spaces, commas or `0x` between
them. What comes out is text with a NUL beside each character where it was UTF-16.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from functools import lru_cache

_BREAK = r"(?:\\+[nrt]|[\r\n][ \t]*)"
_CODE = "[A-Za-z0-9+/_-]"
_BASE64 = re.compile(rf"{_CODE}{{8,}}+(?:{_BREAK}+{_CODE}+)*")
_DIGIT = "0-9A-Fa-f"
_HEX = re.compile(rf"[{_DIGIT}][{_DIGIT}\s:,;xnrt\\-]{{14,}}[{_DIGIT}]")
_SHORTEST = 16  # characters: what a secret of eight is at least, in any alignment
_REPEATED = 128  # characters of a run that may come again: a path, which each answer has
_BROKEN = re.compile(_BREAK)
_NO_DIGITS = re.compile(rf"0x|[^{_DIGIT}]")
_WORD = re.compile(rb"[\x20-\x7e\0]{8}")
_NO_UTF8 = re.compile(rb"(?:^|[\0-\x7f])[\x80-\xbf]|[\xc0-\xff](?:[^\x80-\xbf]|$)")
_SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# In base64 of ASCII each byte's first bit, which is none, stands in another one of four characters.
_GROUP = "".join(
    f"[{''.join(sign for value, sign in enumerate(_SIGNS) if not value & bit)}]"
    for bit in (32, 8, 2)
)
# What a secret is made of, in UTF-16 with a NUL beside each: of eight characters, so many bytes at
# least follow the first. A hash has such a run once in twenty times.
_PRINTED = f"(?:[2-6][{_DIGIT}]|7[0-9A-Ea-e])"
_BYTE = f"(?:[2-6][{_DIGIT}]|7[0-9A-Ea-e]|00)"
_BETWEEN = r"(?:[\s:,;-]|0x)*"
# Syntax of RE2 as well, for whole columns: nearly no id or address has it.
PACKED_ASCII = (
    rf"(?:{_GROUP}[A-Za-z0-9+/_-]){{3}}",
    rf"{_PRINTED}{_BETWEEN}(?:{_BYTE}{_BETWEEN}){{7}}",
    r"\\[nrt][A-Za-z0-9+/]",
)
_STANDARD = str.maketrans("-_", "+/")
# What a run must have before it is unpacked, which ids nearly never have: each answer has some.
_PERHAPS_BASE64 = re.compile(rf"(?:{_GROUP}[A-Za-z0-9+/]){{3}}")
_PERHAPS_HEX = re.compile(rf"{_PRINTED}{_BYTE}{{7}}")


def unpacked(text: str) -> str:
    """Return what the packed texts in a text say, one behind the other; mostly nothing."""
    parts: list[str] = []
    for run in _BASE64.findall(text):
        if len(run) >= _SHORTEST:
            parts += _of_repeated(run) if len(run) < _REPEATED else _of_base64(run)
    for run in _HEX.findall(text):
        parts += _of_hex(run)
    return "\n\n".join(filter(None, parts))


def packed_places(text: str) -> Iterator[tuple[int, int]]:
    """Yield where packed texts may be, from the first to behind the last character."""
    for pattern in (_BASE64, _HEX):
        for found in pattern.finditer(text):
            yield found.span()


def _of_base64(run: str) -> Iterator[str]:
    code = _BROKEN.sub("", run) if "\\" in run or "\n" in run or "\r" in run else run
    code = code.translate(_STANDARD)
    if not _PERHAPS_BASE64.search(code):
        return
    for first in range(4):
        rest = code[first:]
        yield _text(binascii.a2b_base64(rest + "A" * (-len(rest) % 4)))


@lru_cache(maxsize=256)
def _of_repeated(run: str) -> tuple[str, ...]:
    return tuple(_of_base64(run))


def _of_hex(run: str) -> Iterator[str]:
    digits = _NO_DIGITS.sub("", run)
    if len(digits) < _SHORTEST or not _PERHAPS_HEX.search(digits):
        return
    for first in range(2):
        yield _text(bytes.fromhex(digits[first : len(digits) - (len(digits) - first) % 2]))


def _text(raw: bytes) -> str:
    """Return bytes as text; nothing where they are noise, as nearly always."""
    text = _WORD.search(raw) or raw.isascii() or not _NO_UTF8.search(raw)
    return raw.decode("utf-8", "ignore") if text and raw.strip(b"\0") else ""
