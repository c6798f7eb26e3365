"""Names of files and folders that are made from data, like a partition's key or a link set.

Percent-encoded as Hive and Spark name their folders, in ASCII alone: no name leads to another
folder, is hidden, or is one that Windows reserves, and no two texts have one name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from urllib.parse import quote

_EMPTY = "%empty"  # no escape, which has two hexadecimal digits: no text is named like it
_LONGEST = 120  # characters; disks take 255 bytes, encrypted ones 143, and suffixes come behind it
_KEPT = 80
_DIGITS = 32  # of a SHA-256: 128 bits
# With whatever comes behind a dot: con.txt is the console, too.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.I)


def path_name(text: str) -> str:
    """Return the name that a text has as a file or a folder, another one for each text.

    Letters, digits, hyphens, and dots and underscores that don't stand at an end of the name are
    kept; the rest is percent-encoded in UTF-8. A name of more than 120 characters ends in `~` and
    32 digits of its text's SHA-256 instead. Names may still differ in case alone: `same_on_disk`
    finds these.
    """
    if not text:
        return _EMPTY
    # quote keeps the tilde, which stands for a cut here.
    name = quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    if name[0] in "._" or _RESERVED.match(name):
        name = _encoded(name[0]) + name[1:]
    if name[-1] == ".":  # which Windows drops
        name = name[:-1] + _encoded(".")
    if len(name) > _LONGEST:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        name = f"{name[:_KEPT]}~{digest[:_DIGITS]}"
    return name


def in_path(place: str, placeholder: str, text: str) -> str:
    """Fill a text into a path or URI; in a URI it is encoded once more, as stores decode it."""
    name = path_name(text)
    return place.replace(placeholder, quote(name, safe="") if "://" in place else name)


def same_on_disk(texts: Iterable[str], known: Iterable[str]) -> tuple[str, str] | None:
    """Return a text, and a known one whose name differs in case alone: some disks mix them up."""
    by_name: dict[str, list[str]] = {}
    for one in known:
        by_name.setdefault(path_name(one).lower(), []).append(one)
    pairs = ((text, one) for text in texts for one in by_name.get(path_name(text).lower(), ()))
    return next((pair for pair in pairs if pair[0] != pair[1]), None)


def _encoded(character: str) -> str:
    return f"%{ord(character):02X}"
