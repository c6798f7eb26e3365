r"""Secrets in texts: the live ones, known since they were read, and whatever has a key's shape.

A server may send a secret back in any spelling: JSON's `\/` and `\u002B`, percent-encoding, HTML's
entities, base64, hexadecimal digits, UTF-16, invisible characters between its own, and several of
these at once. So a text is first asked whether it holds one, undoing one layer of spelling after
the other, and unpacking what is packed; only then is it searched for the place. Pure, but for the
list of live secrets.
"""

from __future__ import annotations

import base64
import html.entities
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from incarts_pipeline.outgoing.characters import UNSEEN
from incarts_pipeline.outgoing.packed import PACKED_ASCII, packed_places, unpacked

SHORTEST = 8  # characters; a shorter one would be found in everyday words
SHAPE = "ic_live_…"  # how a key is told of that nobody may see
MASK = "[secret]"

_MOST = 64  # credentials of URIs; keys are in use, and stay
_LONGEST = 64  # characters that are looked for; whatever follows them is hidden as well
_LAYERS = 12  # spellings of spellings; no honest text has so many
_DEPTH = 3  # packed texts in packed texts
_UNPACKED = 4_000_000  # characters that are unpacked of one text; one with more gives way whole
_SHORT = 4  # a password of a URI may be shorter than a key; it is found as a whole word alone
# What has a glyph in Arabic, Syriac, Kaithi or hieroglyphs is shown, and means nothing in a key.
_INVISIBLE = (
    UNSEEN + "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f"
)
# Behind a letter it may be the end of a word, like `basic_live_view`; not with digits in it.
_SHAPED = re.compile(
    r"(?<![a-z0-9])ic_(?:live|test)_[a-z0-9_+/=~-]{3}"
    r"|ic_(?:live|test)_(?=[a-z_+/=~-]{0,64}[0-9])[a-z0-9_+/=~-]{8}",
    re.IGNORECASE,
)
_UNSEEN = re.compile(f"[{_INVISIBLE}]")
_SPELLED = re.compile(
    r"(?:\\+|%)u\{?0*([0-9a-f]{2})\}?|\\+(?:x([0-9a-f]{2})|x\{0*([0-9a-f]{2})\}|([0-7]{2,3})|(.))"
    r"|(?:%(?:25)*[0-9a-f]{2})+|&(?:amp;)*(?:\#x?[0-9a-f]+|[a-z]+);?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Live:
    """The live secrets, and what of them to look for."""

    keys: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()  # credentials of URIs, the last ones
    # In lower case, because hosts and headers are lowered on their way. Those with a key's shape
    # are apart: nearly no text has what they begin with.
    shaped: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()
    words: re.Pattern[str] | None = field(default=None)


_live = _Live()


def keep_secret(text: str, *, passing: bool = False) -> None:
    """Let a text be seen nowhere from now on; one of fewer than four characters can't be hidden.

    Short ones are hidden where they stand as whole words. The mask's own word can't be either:
    every text with a mask in it would have to give way. Of the passing ones the last 64 are kept:
    a process that lives for months reads from URIs that are signed anew each time.
    """
    global _live  # one name for the whole list: who looks while it changes sees the old one
    text = str.__str__(text)  # itself, also of one that shows itself to nobody
    live = _live
    if len(text) < _SHORT or text in MASK or text in live.keys or text in live.passing[-1:]:
        return
    others = tuple(one for one in live.passing if one != text)
    if passing:
        _live = _known(live.keys, (*others, text)[-_MOST:])
    else:
        _live = _known((*live.keys, text), others)


def _known(keys: tuple[str, ...], passing: tuple[str, ...]) -> _Live:
    kept = (*keys, *passing)
    whole = [one for one in kept if len(one) >= SHORTEST]
    short = [re.escape(one) for one in kept if len(one) < SHORTEST]
    return _Live(
        keys=keys,
        passing=passing,
        shaped=tuple(one.lower() for one in whole if _SHAPED.match(one)),
        lowered=tuple(one.lower() for one in whole if not _SHAPED.match(one)),
        # What has a key's shape is found by that, once it is encoded.
        encoded=tuple(c for one in whole if not _SHAPED.match(one) for c in _encodings(one)),
        words=re.compile(rf"\b(?:{'|'.join(short)})\b") if short else None,
    )


def kept_secrets() -> tuple[str, ...]:
    """Return the live secrets, for who must know one again."""
    return (*_live.keys, *_live.passing)


def holds_secret(text: str) -> bool:
    """Say whether a text has a live secret, or what has a key's shape, in any spelling."""
    return _holds(text, _DEPTH)


def without_secrets(text: str) -> str:
    """Return a text in which a mask stands for each secret."""
    if not holds_secret(text):
        return text
    live = _live
    masked = _searching(None).sub(_mask, _without_packed(text))
    for secret in sorted(kept_secrets(), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            masked = _searching(secret).sub(MASK, masked)
    if live.words is not None:
        masked = live.words.sub(MASK, masked)
    # Spelled in a way that the search doesn't know: better nothing than the secret.
    return MASK if holds_secret(masked) else masked


def _holds(text: str, depth: int) -> bool:
    packed: list[str] = []
    for _ in range(_LAYERS):
        if "\0" in text:  # UTF-16, or what is left of it
            text = text.replace("\0", "")
        if _has(text):
            return True
        if depth and (found := unpacked(text)):
            packed.append(found)
        plain = text if text.isascii() and text.isprintable() else _UNSEEN.sub("", text)
        # Without what a spelling of other characters begins with, it says no more than it shows.
        if "\\" in plain or "%" in plain or "&" in plain:
            plain = _SPELLED.sub(_character, plain)
        if plain == text:
            break
        text = plain
    else:
        return True
    if sum(map(len, packed)) > _UNPACKED:
        return True
    return any(_holds(one, depth - 1) for one in dict.fromkeys(packed))


def _without_packed(text: str) -> str:
    """Return a text with a mask for each packed text that holds a secret."""
    held = [(a, b) for a, b in packed_places(text) if _holds(unpacked(text[a:b]), _DEPTH - 1)]
    parts, end = [], 0
    for first, last in sorted(held):
        if first >= end:
            parts += [text[end:first], MASK]
        end = max(end, last)
    return "".join((*parts, text[end:]))


def searched_pattern() -> str:
    """Return the regular expression of RE2 that finds secrets, for whole columns of texts."""
    return _pattern(kept_secrets())


def _has(text: str) -> bool:
    lowered, live = text.lower(), _live
    if "ic_" in lowered and (_SHAPED.search(text) or any(one in lowered for one in live.shaped)):
        return True
    # Nearly every text ends here, and one of them is each answer's: a loop would cost more. Single
    # characters are found ten times as fast as words.
    hints = (
        ("W" in text and "aWNf" in text)
        or ("X" in text and "ljX" in text)
        or ("Y" in text and "pY1" in text)
        or "69635f" in lowered
    )
    return (
        (hints and any(one in text for one in _SHAPES_ENCODED))
        or (bool(live.lowered) and any(one in lowered for one in live.lowered))
        or (bool(live.encoded) and any(one in text for one in live.encoded))
        or (live.words is not None and live.words.search(text) is not None)
    )


def _character(found: re.Match[str]) -> str:
    """Return the character that a spelling of it stands for."""
    if found[0].startswith("&"):
        return html.unescape(found[0])
    unicode, hexadecimal, braced, octal, itself = found.groups()
    if found[0].startswith("%") and not unicode:
        return unquote(found[0])
    if digits := unicode or hexadecimal or braced:
        return chr(int(digits, 16))
    return chr(int(octal, 8)) if octal else itself or ""


def _mask(found: re.Match[str]) -> str:
    return SHAPE if found.lastgroup == "shape" else MASK


def _encodings(text: str) -> set[str]:
    """Return how a text looks in hexadecimal digits and inside of base64, wherever it begins."""
    raw = text.encode()
    found = {raw.hex(), raw.hex().upper()}
    for before in range(3):
        code = base64.b64encode(b"\0" * before + raw).decode()
        first = (before * 8 + 5) // 6
        whole = code[first : (before + len(raw)) * 8 // 6]
        found |= {whole, whole.translate(_URL_SAFE)}
    return found


_URL_SAFE = str.maketrans("+/", "-_")
_SHAPES_ENCODED = tuple(
    sorted({code for kind in ("ic_live_", "ic_test_") for code in _encodings(kind)})
)


@lru_cache(maxsize=256)
def _searching(secret: str | None) -> re.Pattern[str]:
    """Return what finds one secret, or with none whatever has a key's shape."""
    if secret is None:
        return re.compile(_either([_shape(_BETWEEN)], _SHAPES_ENCODED))
    return re.compile(_either([_secret(secret, _BETWEEN)], tuple(_encodings(secret))))


@lru_cache(maxsize=4)
def _pattern(secrets: tuple[str, ...]) -> str:
    """Return what finds the secrets, and what only a search by itself can see through."""
    codes = [*_SHAPES_ENCODED]
    found = [_shape(""), *_SEEN_THROUGH]
    for secret in secrets:
        if len(secret) >= SHORTEST:
            found.append(_secret(secret, ""))
            codes += _encodings(secret)
        else:
            found.append(re.escape(secret))
    return _either(found, codes)


_MORE = r"(?:[\x00\w\\%&#;=+/.~-]|[^\x00-\x7f…])"
_BETWEEN = rf"(?:[{_INVISIBLE}]|\\+u0000|%00)*"
_SEEN_THROUGH = (
    f"[{_INVISIBLE}]",
    r"%(?:25|u00)|&amp;(?:amp;|#)|\\+(?:u00|x\{|U0000)",
    *PACKED_ASCII,
)


def _shape(between: str) -> str:
    kinds = f"(?:{_spelled('live', between)}|{_spelled('test', between)})"
    shape = between.join((_spelled("ic_", between), kinds, _spelled("_", between)))
    return f"(?P<shape>(?i:{shape}){between}{_MORE}{{3,}})"


def _secret(secret: str, between: str) -> str:
    rest = f"{_MORE}*" if len(secret) > _LONGEST else ""
    return f"(?i:{_spelled(secret[:_LONGEST], between)}){rest}"


def _either(found: list[str], codes: Iterable[str]) -> str:
    """Return the syntax that Python and RE2 share."""
    encoded = "|".join(map(re.escape, sorted(codes, key=len, reverse=True)))
    return "|".join((*found, f"(?:{encoded}){_MORE}*"))


def _spelled(text: str, between: str) -> str:
    return between.join(map(_spellings, text))


@lru_cache(maxsize=512)
def _spellings(character: str) -> str:
    """Return all spellings of one character as a regular expression."""
    code = ord(character)
    digits, slash = f"{code:02x}", r"(?:\\|%(?:25)*5c)"
    if code > 0x7F:
        return character
    itself = character if character.isalnum() else rf"\x{digits}"
    names = "".join(f"|{name}" for name in sorted(_ENTITIES[character]))
    return (
        rf"(?:{slash}*{itself}|{slash}+(?:u(?:0000)?00{digits}|[ux]\{{0*{digits}\}}|x{digits}|0?{code:o})"
        rf"|%(?:25)*(?:u00)?{digits}|&(?:amp;)*(?:#x0*{digits}|#0*{code}{names});?)"
    )


def _entities() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, text in html.entities.html5.items():
        found[text].add(name.rstrip(";"))
    return found


_ENTITIES = _entities()
