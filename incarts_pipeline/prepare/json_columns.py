"""JSON text in columns: escaped strings and objects put together without touching a single row.

The text is RFC 8785's (JSON Canonicalization Scheme): strings escaped only where they must be,
members ordered by their names' UTF-16 code units, numbers as ECMAScript writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

Part: TypeAlias = "str | pa.Array"

# RFC 8785, section 3.2.2.2: these five have a short form, other control characters \u00xx, and
# nothing else is escaped.
_SHORT = {0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r"}
_QUOTE, _BACKSLASH = 0x22, 0x5C


@dataclass(frozen=True, slots=True)
class Fragment:
    """A JSON value per row, in parts to be joined; where an `optional` one's array is null, none.

    Fixed texts stay single strings until the end, so that they cost no memory per row.
    """

    parts: tuple[Part, ...]
    optional: bool = False


def joined(parts: Sequence[Part], rows: int, *, optional: bool = False) -> pa.StringArray:
    """Join parts row by row; a null counts as nothing, or makes the row null when `optional`.

    Args:
        parts: fixed texts, and arrays of text with a value per row.
        rows: how many rows.
        optional: what a null does.
    """
    merged: list[Part] = []
    for part in parts:
        # Each part of the join costs a pass over all rows, so neighbours that are fixed become one.
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    if len(merged) == 1 and isinstance(merged[0], str):
        return pa.repeat(merged[0], rows)
    # "replace" puts the empty text in a null's place: how an absent member leaves no trace.
    handling = "emit_null" if optional else "replace"
    return pc.binary_join_element_wise(*merged, "", null_handling=handling)


def object_of(members: Sequence[tuple[str, Fragment | None]], rows: int) -> Fragment | None:
    """Put members together in the order given; absent ones, and empty objects, are left out.

    A member that every row has carries the commas: those before it end with one, those behind it
    begin with one. Without such a member the first comma is cut off.

    Args:
        members: names and values in canonical order; None for a value that no row has.
        rows: how many rows.
    """
    present = [(json_name(name), value) for name, value in members if value is not None]
    if not present:
        return None
    # Whether a comma is needed depends on which members a row has, and rows differ. Around a member
    # that all rows have it doesn't: every other one brings its own, and vanishes with it.
    anchor = next((at for at, (_, value) in enumerate(present) if not value.optional), None)
    if anchor is None:
        return _without_anchor(present, rows)
    parts: list[Part] = ["{"]
    for at, (name, value) in enumerate(present):
        before, after = ("," if at > anchor else ""), ("," if at < anchor else "")
        pieces = [f"{before}{name}:", *value.parts, after]
        # With its name and its comma, so that a null takes all three away.
        parts.extend([joined(pieces, rows, optional=True)] if value.optional else pieces)
    return Fragment((*parts, "}"))


def _without_anchor(present: Sequence[tuple[str, Fragment]], rows: int) -> Fragment:
    if len(present) == 1:
        name, value = present[0]
        return Fragment(("{" + name + ":", *value.parts, "}"), optional=True)
    # Each begins with a comma, and whichever comes first in a row loses it.
    each = [joined([f",{name}:", *v.parts], rows, optional=True) for name, v in present]
    # As bytes, since a slice of text counts characters, and has to look at all of them.
    inner = joined(each, rows).cast(pa.binary())
    empty = pc.equal(pc.binary_length(inner), 0)
    cut = pc.binary_replace_slice(inner, start=0, stop=1, replacement=b"").cast(pa.string())
    return Fragment(("{", pc.if_else(empty, None, cut), "}"), optional=True)


def text_fragment(value: pa.StringArray | str) -> Fragment:
    """Return JSON strings; null rows have none."""
    if isinstance(value, str):
        return Fragment((rfc8785.dumps(value).decode(),))
    return Fragment(('"', escaped(value), '"'), optional=value.null_count > 0)


def list_fragment(lists: pa.ListArray) -> Fragment | None:
    """Return JSON arrays of strings; empty and null lists have none."""
    # `","` between the elements, and the outer quotes below: three operations for any length.
    texts = pc.binary_join(_with_values(lists, escaped(lists.flatten())), '","')
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    if pc.max(lengths).as_py() in (0, None):
        return None
    texts = pc.if_else(pc.greater(lengths, 0), texts, None)
    return Fragment(('["', texts, '"]'), optional=texts.null_count > 0)


def _with_values(lists: pa.ListArray, values: pa.Array) -> pa.ListArray:
    offsets = lists.offsets
    # `flatten` leaves out what a slice doesn't show, but the offsets still count it.
    start = offsets[0].as_py()
    if start:
        offsets = pc.subtract(offsets, start)
    return pa.ListArray.from_arrays(offsets, values, mask=lists.is_null())


def escaped(texts: pa.StringArray) -> pa.StringArray:
    """Escape what JSON strings may not contain; most columns contain none and come back as such."""
    # One pass over the bytes says what is there at all; replacing costs a pass for each character.
    present = _to_escape(texts)
    # First, or it would double the backslashes that the others bring.
    if _BACKSLASH in present:
        texts = pc.replace_substring(texts, "\\", "\\\\")
    for code in present:
        if code == _QUOTE:
            texts = pc.replace_substring(texts, '"', '\\"')
        elif code != _BACKSLASH:
            texts = pc.replace_substring(texts, chr(code), _SHORT.get(code, f"\\u{code:04x}"))
    return texts


def _to_escape(texts: pa.StringArray) -> list[int]:
    data = data_of(texts)
    # Bytes of characters beyond ASCII are 0x80 and more, so they can't be mistaken for these.
    low = data[data < 0x20]
    present = np.unique(low).tolist() if len(low) else []
    for code in (_QUOTE, _BACKSLASH):
        if (data == code).any():
            present.append(code)
    return present


def data_of(texts: pa.StringArray) -> npt.NDArray[np.uint8]:
    """Return the UTF-8 bytes of all values, one after the other, without copying."""
    offsets = offsets_of(texts)
    if not len(texts) or texts.buffers()[2] is None:
        return np.empty(0, np.uint8)
    # A slice of an array shares the whole buffer, and shows a part of it.
    return np.frombuffer(texts.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]


def offsets_of(texts: pa.StringArray) -> npt.NDArray[np.int32]:
    """Return where each value begins in the array's data, and where the last one ends."""
    if not len(texts):
        return np.zeros(1, np.int32)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)
    return offsets[texts.offset : texts.offset + len(texts) + 1]


def json_name(name: str) -> str:
    """Return a member's name as a JSON string."""
    return rfc8785.dumps(name).decode()


def in_order(names: Sequence[str]) -> list[str]:
    """Sort member names as RFC 8785 does: by UTF-16 code units."""
    # Python sorts by code points, U+FB01 before U+1F600; by UTF-16 units, 0xD83D comes first.
    return sorted(names, key=lambda name: name.encode("utf-16-be"))
