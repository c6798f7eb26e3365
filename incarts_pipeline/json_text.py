"""JSON text from Arrow columns, as RFC 8785 writes it, without a loop over rows.

The caller's own JSON is the exception: it is parsed and written anew, once per distinct value.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

_STRING = pa.string()
_MAX_DEPTH = 64
_MAX_INTEGER = 2**53

# RFC 8785 section 3.2.2.2: two-character escapes where JSON has them, \u00xx for the rest.
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_ESCAPES = {chr(c): _SHORT.get(chr(c), f"\\u{c:04x}") for c in range(0x20)}


def has_bytes(text: pa.Array, wanted: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Say whether any byte of a string column is among the `wanted`: one look at its buffer."""
    _, offsets, data = text.buffers()
    if data is None or len(text) == 0:
        return False
    ends = np.frombuffer(offsets, dtype=np.int32)
    first, last = ends[text.offset], ends[text.offset + len(text)]
    return bool(wanted(np.frombuffer(data, dtype=np.uint8)[first:last]).any())


def escape(text: pa.Array) -> pa.Array:
    """Return what stands between the quotes of JSON strings; null stays null."""
    if has_bytes(text, lambda data: (data < 0x20) | (data == 0x22) | (data == 0x5C)):
        text = pc.replace_substring(text, "\\", "\\\\")
        text = pc.replace_substring(text, '"', '\\"')
        if has_bytes(text, lambda data: data < 0x20):
            for character, replacement in _ESCAPES.items():
                text = pc.replace_substring(text, character, replacement)
    return text


@dataclass(frozen=True, slots=True)
class Json:
    """JSON values, one per row: `column` between two texts; null where the column is."""

    column: pa.Array
    before: str = ""
    after: str = ""

    def text(self) -> pa.Array:
        """Return the values as a string column."""
        if not self.before and not self.after:
            return self.column
        return pc.binary_join_element_wise(self.before, self.column, self.after, "")


def quote(text: pa.Array) -> Json:
    """Return JSON strings for a string column."""
    return Json(escape(text), '"', '"')


def members(values: Mapping[str, Json]) -> pa.Array:
    """Return `"name":value,…` in the order of RFC 8785, without the nulls; empty when all are."""
    parts: list[pa.Array | str] = []
    first_is_there = False
    for name in sorted(values, key=lambda name: name.encode("utf-16-be")):
        value = values[name]
        comma = "," if parts else ""
        label = f"{comma}{json.dumps(name, ensure_ascii=False)}:{value.before}"
        if value.column.null_count == 0:
            first_is_there = first_is_there or not parts
            parts += [label, value.column, value.after]
        else:
            part = pc.binary_join_element_wise(label, value.column, value.after, "")
            parts.append(pc.fill_null(part, ""))
    if not parts:
        raise ValueError("an object of no members")
    whole = pc.binary_join_element_wise(*parts, "")
    return whole if first_is_there else pc.ascii_ltrim(whole, ",")


def json_object(values: Mapping[str, Json]) -> Json | None:
    """Return objects of the members that aren't null; null instead of an empty object."""
    if not values:
        return None
    inner = members(values)
    if any(value.column.null_count == 0 for value in values.values()):
        return Json(inner, "{", "}")
    return Json(pc.if_else(pc.equal(inner, ""), pa.scalar(None, _STRING), inner), "{", "}")


def json_array(lists: pa.ListArray) -> Json:
    """Return arrays of strings for a list column; null instead of an empty array."""
    inner = pc.binary_join(pa.ListArray.from_arrays(lists.offsets, quote(lists.values).text()), ",")
    return Json(pc.if_else(pc.equal(inner, ""), pa.scalar(None, _STRING), inner), "[", "]")


def own_json(column: pa.Array, *, as_object: bool) -> tuple[pa.Array, pa.Array]:
    """Return the canonical text of the caller's own JSON, and what is wrong with it.

    A text column is parsed as JSON when an object is wanted; any other value stands for itself.
    Null fields of structs are left out, since Arrow can't tell them from absent ones.

    Returns:
        Two string columns; for each row one of them is null, or both when the value is.
    """
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        values, indices = encoded.dictionary.to_pylist(), encoded.indices
    else:
        values, indices = column.to_pylist(), None
    texts: list[str | None] = []
    wrongs: list[str | None] = []
    for value in values:
        text, wrong = (None, None) if value is None else _canonical(value, as_object=as_object)
        texts.append(text)
        wrongs.append(wrong)
    canonical, problems = pa.array(texts, _STRING), pa.array(wrongs, _STRING)
    if indices is None:
        return canonical, problems
    return canonical.take(indices), problems.take(indices)


def _canonical(value: Any, *, as_object: bool) -> tuple[str | None, str | None]:
    try:
        if isinstance(value, str) and as_object:
            value = json.loads(value, object_pairs_hook=_unique, parse_constant=_refuse)
        elif as_object:
            value = _plain(value)
        if as_object and not isinstance(value, dict):
            return None, f"must be a JSON object, not {_kind(value)}"
        if _depth(value) > _MAX_DEPTH:
            return None, f"is nested deeper than {_MAX_DEPTH} levels"
        return rfc8785.dumps(_plain(value)).decode(), None
    except json.JSONDecodeError as error:
        return None, f"is not JSON: {error.msg} at character {error.pos}"
    except rfc8785.IntegerDomainError:
        return None, "has an integer beyond 2^53, which JSON can't carry; write it as text"
    except rfc8785.FloatDomainError:
        return None, "has a number that JSON can't carry (NaN or infinity)"
    except (rfc8785.CanonicalizationError, UnicodeError):
        return None, "has half of a surrogate pair, which is not a character"
    except RecursionError:
        return None, f"is nested deeper than {_MAX_DEPTH} levels"
    except ValueError as error:
        return None, str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the key {twice!r} twice")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"has {constant}, which is not JSON")


def _plain(value: Any) -> Any:
    """Return a value of an Arrow column as JSON knows it."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    raise ValueError(f"has a value of type {type(value).__name__}; convert it to text")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def constant_json(value: Any) -> str:
    """Return the canonical text of a constant from the mapping.

    Raises:
        ValueError: JSON can't carry it.
    """
    text, wrong = _canonical(value, as_object=False)
    if text is None:
        raise ValueError(f"the constant {wrong}")
    return text
