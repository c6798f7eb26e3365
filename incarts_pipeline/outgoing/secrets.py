r"""Secrets in texts: the live ones, known since they were read, and whatever has a key's shape.

A server may send a secret back in any spelling: JSON's `\/` and `\u002B`, percent-encoding, HTML's
entities, base64, hexadecimal digits, UTF-16, invisible characters between its own, and several of
these at once. So a text is first asked whether it holds one, undoing one layer of spelling after
the other; only then is it searched for the place. Pure, but for the list of live secrets.
"""

from __future__ import annotations

import base64
import html.entities
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

SHORTEST = 8  # characters; a shorter one would be found in everyday words
SHAPE = "ic_live_…"  # how a key is told of that nobody may see
MASK = "[secret]"

_MOST = 128  # credentials of URIs; keys are in use, and stay
_LONGEST = 64  # characters that are looked for; whatever follows them is hidden as well
_LAYERS = 6  # spellings of spellings
_SHORT = 4  # a password of a URI may be shorter than a key; it is found as a whole word alone
_INVISIBLE = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
# Behind a letter it may be the end of a word, like `basic_live_view`; not with digits in it.
_SHAPED = re.compile(
    r"(?<![a-z0-9])ic_(?:live|test)_[a-z0-9_+/=~-]{3}"
    r"|ic_(?:live|test)_(?=[a-z_+/=~-]{0,64}[0-9])[a-z0-9_+/=~-]{8}",
    re.IGNORECASE,
)
_UNSEEN = re.compile(f"[{_INVISIBLE}]")
_SPELLED = re.compile(
    r"\\+(?:u\{?0*([0-9a-f]{2})\}?|x([0-9a-f]{2})|([0-7]{3})|(.))"
    rf"|(?:%[0-9a-f]{{2}})+|&(?:\#x?[0-9a-f]+|[a-z]+);?|[\x00{_INVISIBLE}]",
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
    every text with a mask in it would have to give way. Of the passing ones the last 128 are kept:
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
    for _ in range(_LAYERS):
        if "\0" in text:  # UTF-16, or what is left of it
            text = text.replace("\0", "")
        if _has(text):
            return True
        # Without what a spelling of other characters begins with, it says no more than it shows.
        if not ("\\" in text or "%" in text or "&" in text) and (
            text.isascii() or not _UNSEEN.search(text)
        ):
            return False
        plain = _SPELLED.sub(_character, text)
        if plain == text:
            return False
        text = plain
    return False


def without_secrets(text: str) -> str:
    """Return a text in which a mask stands for each secret."""
    if not holds_secret(text):
        return text
    live = _live
    masked = _searching(kept_secrets()).sub(_mask, text)
    if live.words is not None:
        masked = live.words.sub(MASK, masked)
    # Spelled in a way that the search doesn't know: better nothing than the secret.
    return MASK if holds_secret(masked) else masked


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
    if found[0].startswith("%"):
        return unquote(found[0])
    unicode, hexadecimal, octal, itself = found.groups()
    if digits := unicode or hexadecimal:
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


@lru_cache(maxsize=4)
def _searching(secrets: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(_pattern(secrets))


@lru_cache(maxsize=4)
def _pattern(secrets: tuple[str, ...]) -> str:
    """Return what finds the secrets, in the syntax that Python and RE2 share."""
    more = r"(?:[\x00\w\\%&#;=+/.~-]|[^\x00-\x7f…])"
    kinds = f"(?:{_spelled('live')}|{_spelled('test')})"
    shape = _BETWEEN.join((_spelled("ic_"), kinds, _spelled("_")))
    found = [f"(?P<shape>(?i:{shape}){_BETWEEN}{more}{{3,}})"]
    codes = [*_SHAPES_ENCODED]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            rest = f"{more}*" if len(secret) > _LONGEST else ""
            found.append(f"(?i:{_spelled(secret[:_LONGEST])}){rest}")
            codes += _encodings(secret)
    found.append(f"(?:{'|'.join(map(re.escape, sorted(codes, key=len, reverse=True)))}){more}*")
    return "|".join(found)


_BETWEEN = rf"(?:[\x00{_INVISIBLE}]|\\+u0000|%00)*"


def _spelled(text: str) -> str:
    return _BETWEEN.join(map(_spellings, text))


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
        rf"(?:{slash}*{itself}|{slash}+(?:u00{digits}|u\{{0*{digits}\}}|x{digits}|{code:03o})"
        rf"|%(?:25)*{digits}|&(?:amp;)*(?:#x0*{digits}|#0*{code}{names});?)"
    )


def _entities() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, text in html.entities.html5.items():
        found[text].add(name.rstrip(";"))
    return found


_ENTITIES = _entities()
