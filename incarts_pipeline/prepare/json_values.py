"""JSON of the caller's own: read strictly, written canonically, kept in meaning."""

from __future__ import annotations

import json
from typing import Any

import rfc8785

from incarts_pipeline.models import ProblemCode

MAX_DEPTH = 64  # far below the depth at which Python's own parser gives up
_EXACT = 2**53 - 1  # the largest whole number that IEEE doubles tell from its neighbours


class OwnJsonError(ValueError):
    """The value can't be sent; `code` is the problem's."""

    def __init__(self, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Reader:
    """Parses one text; `is_simple` stays true while Python's own encoder writes it as RFC 8785."""

    def __init__(self) -> None:
        # Python's encoder, written in C, is much faster than rfc8785, and writes the same where
        # names are ASCII (it sorts by code points) and no number is a float (it spells some
        # otherwise).
        self.is_simple = True
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._integer,
            parse_float=self._float,
            parse_constant=self._constant,
        )

    def read(self, text: str) -> Any:
        return self._decoder.decode(text)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        # RFC 8259 lets each reader choose which of two equal names counts, so nobody can say what
        # the caller meant.
        if len(found) < len(pairs):
            seen: set[str] = set()
            name = next(n for n, _ in pairs if n in seen or seen.add(n))  # type: ignore[func-returns-value]
            raise OwnJsonError(
                ProblemCode.DUPLICATE_NAME, f'the name "{name}" is there twice; keep one.'
            )
        self.is_simple = self.is_simple and all(map(str.isascii, found))
        return found

    def _integer(self, digits: str) -> int:
        # The length first: Python refuses to turn thousands of digits into a number.
        if len(digits) > 17 or abs(int(digits)) > _EXACT:
            raise _inexact(digits)
        return int(digits)

    def _float(self, digits: str) -> float:
        self.is_simple = False
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            raise _inexact(digits)
        return value

    def _constant(self, name: str) -> None:
        # NaN and Infinity, which Python's parser takes by default.
        raise OwnJsonError(ProblemCode.NOT_JSON, f"{name} is not JSON; use null or leave it out.")


def canonical_object(text: str) -> str | None:
    """Return the canonical form (RFC 8785) of a JSON object in text; None for null and `{}`.

    Raises:
        OwnJsonError: it isn't JSON, no object, or can't be kept in meaning.
    """
    reader = _Reader()
    try:
        value = reader.read(text)
    except json.JSONDecodeError as error:
        raise OwnJsonError(
            ProblemCode.NOT_JSON,
            f"{error.msg} in line {error.lineno}, column {error.colno}; correct it.",
        ) from None
    # Python's parser recurses; `_check_depth` below doesn't, and is reached by what it can read.
    except RecursionError:
        raise _too_deep() from None
    # Nothing and an empty object are alike to the API, and must be one content.
    if not value and isinstance(value, dict | None):
        return None
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "a number")
        raise OwnJsonError(ProblemCode.NOT_AN_OBJECT, f"it is {kind}, but must be an object {{…}}.")
    _check_depth(value)
    return _written(value, is_simple=reader.is_simple)


def canonical_value(value: object) -> str:
    """Return the canonical form (RFC 8785) of a Python value.

    Raises:
        OwnJsonError: it has no JSON form, or can't be kept in meaning.
    """
    _check_depth(value)
    return _written(value, is_simple=False)


_KINDS = {str: "text", list: "a list", bool: "true or false"}


def _written(value: Any, *, is_simple: bool) -> str:
    try:
        if is_simple:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            # A lone surrogate passes the encoder, and fails here rather than on the wire.
            text.encode()
            return text
        return rfc8785.dumps(value).decode()
    except UnicodeError:
        raise OwnJsonError(
            ProblemCode.LONE_SURROGATE, "it has half a character (\\ud800 to \\udfff); correct it."
        ) from None
    except rfc8785.IntegerDomainError:
        raise _inexact("a whole number") from None
    except rfc8785.CanonicalizationError as error:
        raise OwnJsonError(ProblemCode.INEXACT_NUMBER, f"{error}; correct it.") from None


def _check_depth(value: object) -> None:
    # Level by level, without recursion, which is what has to be prevented.
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise _too_deep()
        nested = [item for item in level if isinstance(item, dict | list)]
        level = [x for item in nested for x in (item.values() if isinstance(item, dict) else item)]


def _too_deep() -> OwnJsonError:
    return OwnJsonError(ProblemCode.TOO_DEEP, f"it is nested deeper than {MAX_DEPTH}; flatten it.")


def _inexact(digits: str) -> OwnJsonError:
    # A row's problem goes into links.parquet; a megabyte of digits doesn't have to.
    shown = digits if len(digits) <= 40 else digits[:40] + "…"
    return OwnJsonError(
        ProblemCode.INEXACT_NUMBER, f"{shown} is 2^53 or more and would lose digits; make it text."
    )
