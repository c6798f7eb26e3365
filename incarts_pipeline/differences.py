"""Differences between two bodies: each value that differs, by its path, as it was and as it is.

Objects are compared member by member. Of lists, what they begin and end with alike is left out, and
the rest is compared place by place. Names are those of a mapping, in snake case, but within
`metadata` and Instacart's own objects, where they are the caller's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from incarts_pipeline.outgoing import safe

ARROW = "→"
_NONE = "(none)"
_LONGEST = 300  # characters that are kept of a value: around what differs
_CONTEXT = 40  # of them before it
_ABSENT: Any = object()
_OWN = ("metadata", "options.instacart.")  # the caller's names are below
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that differs; `old` or `new` is None where there is none.

    Texts are as they are, all else as JSON; of long ones, what stands around the first character
    that differs.
    """

    path: str
    old: str | None
    new: str | None

    @property
    def field(self) -> str:
        """The path without places in lists: `products.retailer_product_id`."""
        return field_of(self.path)

    def __str__(self) -> str:
        return f"{self.path}  {told(self.old)} {ARROW} {told(self.new)}"


def differences(old_body: bytes, new_body: bytes) -> list[Difference]:
    """Return what differs between two bodies, in the order of their names.

    Args:
        old_body: canonical JSON.
        new_body: canonical JSON.
    """
    found = _differing(json.loads(old_body), json.loads(new_body), "", own=False)
    return [_difference(path, old, new) for path, old, new in found]


def changed_fields(old_body: bytes, new_body: bytes) -> list[str]:
    """Return the fields that differ between two bodies, sorted: `products.quantity`."""
    found = _differing(json.loads(old_body), json.loads(new_body), "", own=False)
    return sorted({field_of(path) for path, _, _ in found})


def told(value: str | None) -> str:
    """Return a value as a line has it: in quotes where its ends would not be seen."""
    if value is None:
        return _NONE
    return value if value and value == value.strip() else json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=4096)
def field_of(path: str) -> str:
    """Return a path without its places in lists."""
    return _INDEX.sub("", path)


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """Return a name of the API as a mapping spells it: `retailer_product_id`."""
    return _CAMEL.sub(lambda found: "_" + found[1].lower(), name)


def _differing(old: Any, new: Any, path: str, *, own: bool) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) or isinstance(new, dict):
        parts = _members(old, new, path, own=own)
    elif isinstance(old, list) or isinstance(new, list):
        parts = _items(old, new, path)
    else:
        parts = None
    if parts is None:
        # 1 and True, or 1 and 1.0, are equal for Python; in JSON they are two contents.
        if old != new or type(old) is not type(new):
            yield path, old, new
        return
    for name, was, now in parts:
        # Nearly all are equal texts; a call for each would be most of the work.
        if not (type(was) is str and was == now):
            yield from _differing(was, now, name, own=own or name.startswith(_OWN))


def _members(old: Any, new: Any, path: str, *, own: bool) -> Iterator[tuple[str, Any, Any]] | None:
    """Return the members of two objects beside each other, None for what is no two objects."""
    old, new = ({} if one is _ABSENT else one for one in (old, new))
    if not (isinstance(old, dict) and isinstance(new, dict)) or not (old or new):
        return None
    before = f"{path}." if path else ""
    names = old if old.keys() == new.keys() else sorted(old.keys() | new.keys())
    return (
        (before + (name if own else snake(name)), old.get(name, _ABSENT), new.get(name, _ABSENT))
        for name in names
    )


def _items(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]] | None:
    """Return the items of two lists beside each other, None for what is no two lists."""
    old, new = ([] if one is _ABSENT else one for one in (old, new))
    if not (isinstance(old, list) and isinstance(new, list)) or not (old or new):
        return None
    first, left = (0, 0) if len(old) == len(new) else _alike(old, new)
    one, other = old[first : len(old) - left], new[first : len(new) - left]
    most = max(len(one), len(other))
    return ((f"{path}[{first + at}]", _at(one, at), _at(other, at)) for at in range(most))


def _alike(old: Sequence[Any], new: Sequence[Any]) -> tuple[int, int]:
    """Return how many items two lists begin, and then end, with alike."""
    # As JSON, where true is not 1.
    one, other = ([json.dumps(item, sort_keys=True) for item in items] for items in (old, new))
    least, first, left = min(len(one), len(other)), 0, 0
    while first < least and one[first] == other[first]:
        first += 1
    while left < least - first and one[-1 - left] == other[-1 - left]:
        left += 1
    return first, left


def _at(items: Sequence[Any], place: int) -> Any:
    return items[place] if place < len(items) else _ABSENT


def _difference(path: str, old: Any, new: Any) -> Difference:
    was, now = _text(old), _text(new)
    if was == now:  # "5" that became 5
        was, now = json.dumps(old), json.dumps(new)
    if max(len(was or ""), len(now or "")) > _LONGEST:
        was, now = _around(was, now)
    return Difference(path=path, old=was, new=now)


def _text(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _around(old: str | None, new: str | None) -> tuple[str | None, str | None]:
    """Return of two texts what stands around the first character that differs."""
    # Of a secret that is cut in two, nobody would see that it is one.
    texts = [None if text is None else safe(text) for text in (old, new)]
    start = 0
    if None not in texts:
        start = max(0, common_prefix(texts[0] or "", texts[1] or "") - _CONTEXT)
    one, other = (None if text is None else _cut(text, start) for text in texts)
    return one, other


def _cut(text: str, start: int) -> str:
    end = start + _LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def common_prefix(one: str, other: str) -> int:
    """Return with how many characters two texts begin alike."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    return next(at for at in range(most) if one[at] != other[at])
