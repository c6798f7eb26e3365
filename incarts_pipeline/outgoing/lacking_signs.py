r"""Stand-ins for signs that the encoding of an output lacks: an ASCII terminal, cp437, Latin-1.

A text goes out whatever it holds: our own signs have marks of ASCII, and what else is lacking, from
a catalog say, is written as Python would, so that two values never look alike: `caf\xe9`.
"""

from __future__ import annotations

import codecs
import io
from typing import Any

_NAME = "incarts_stand_in"
# Every sign beyond ASCII that stands in a text of ours, or that Rich draws with.
STAND_INS = {
    "…": "...",
    "→": "->",
    "►": ">",
    "◄": "<",
    "▲": "^",
    "×": "x",
    "÷": "/",
    "·": "-",
    "•": "*",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "´": "'",
    "“": '"',
    "”": '"',
    "«": '"',
    "»": '"',
    "⟨": "<",
    "⟩": ">",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "±": "+-",
    "°": " deg",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "✓": "ok",
    "─": "-",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "│": "|",
    "┃": "|",
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╞╡╪┏┓┗┛┡┩┠┨╇╈", "+"),
}


def fitting(text: str, encoding: str | None) -> str:
    """Return a text as an encoding can write it, with stand-ins for what that lacks."""
    if encoding is None or text.isascii():
        return text
    return text.encode(encoding, _NAME).decode(encoding)


def fit(stream: Any) -> None:
    """Let a text stream write stand-ins instead of ending the program; nothing else is changed."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_NAME)


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_of_sign, lacking)), error.end


def _of_sign(sign: str) -> str:
    return STAND_INS.get(sign) or sign.encode("ascii", "backslashreplace").decode()


codecs.register_error(_NAME, _stand_in)
