"""Characters that a screen would obey or not show, as what they are."""

from __future__ import annotations

import re

# Controls, what turns the direction of writing, what has no width or no glyph, and half characters.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str) -> str:
    r"""Return a text as one line in which each character shows: `\x1b`, `\n`, `⟨U+202E⟩`."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0xA0 else f"⟨U+{code:04X}⟩")
