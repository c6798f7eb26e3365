"""Filter of a mapping: which rows the catalog is about, in a small part of SQL's language.

`status = 'active' AND (stock > 0 OR backorder IN ('yes', 'y')) AND url IS NOT NULL`. Columns and
values are compared; there are no functions, no arithmetic and no second table, so a filter reads
nothing else and changes nothing. It is read here and evaluated by Arrow on whole columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|<>|!=|==|[=<>(),]))"""
)
_SIGNS = {"==": "=", "<>": "!="}
COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_WORDS = ("AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE", "LIKE", "BETWEEN")

Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A column beside values: `sign` is one of `COMPARISONS`, `IN` or `LIKE`."""

    column: str
    sign: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Whether a column has a value; white space is none."""

    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inverted:
    """What is true where another is false; where that is unknown, this is too."""

    of: Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Several conditions: `all_of` says whether all must be true, or one."""

    parts: tuple[Filter, ...]
    all_of: bool


Filter = Compared | Filled | Inverted | Joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A filter as it was written, and what it means."""

    text: str
    condition: Filter = field(repr=False)

    def columns(self) -> list[str]:
        """Return the columns that are compared, each once."""
        return list(dict.fromkeys(_columns(self.condition)))


def parse_where(value: object) -> Where:
    """Read a filter as it stands in the mapping.

    Raises:
        ValueError: it is none; the message says where, and what may stand there.
    """
    if isinstance(value, Where):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a condition like \"status = 'active'\".")
    return Where(text=value, condition=_Parser(value).whole())


def _columns(condition: Filter) -> Iterator[str]:
    if isinstance(condition, Joined):
        for part in condition.parts:
            yield from _columns(part)
    elif isinstance(condition, Inverted):
        yield from _columns(condition.of)
    else:
        yield condition.column


class _Parser:
    """Reads conditions by descent: OR of ANDs of NOTs."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise self._wrong(at, "is no name, number, text or comparison")
            kind = found.lastgroup or ""
            self._tokens.append((kind, found[kind], found.start(kind)))
            at = found.end()
        self._at = 0

    def whole(self) -> Filter:
        condition = self._any()
        if self._at < len(self._tokens):
            raise self._unexpected("AND, OR or the end")
        return condition

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._take("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Joined(parts=tuple(parts), all_of=False)

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._take("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Joined(parts=tuple(parts), all_of=True)

    def _one(self) -> Filter:
        if self._take("NOT"):
            return Inverted(of=self._one())
        if self._take("("):
            condition = self._any()
            self._need(")")
            return condition
        return self._compared(self._column())

    def _compared(self, column: str) -> Filter:
        if self._take("IS"):
            inverted = self._take("NOT")
            self._need("NULL")
            filled = Filled(column=column)
            return filled if inverted else Inverted(of=filled)
        inverted = self._take("NOT")
        condition = self._listed(column)
        if condition is None and not inverted:
            sign = next((sign for sign in COMPARISONS if self._take(sign)), None)
            if sign is not None:
                return Compared(column=column, sign=sign, values=(self._value(),))
        if condition is None:
            raise self._unexpected("=, !=, <, <=, >, >=, IN, LIKE, BETWEEN or IS NULL")
        return Inverted(of=condition) if inverted else condition

    def _listed(self, column: str) -> Filter | None:
        if self._take("IN"):
            self._need("(")
            values = [self._value()]
            while self._take(","):
                values.append(self._value())
            self._need(")")
            return Compared(column=column, sign="IN", values=tuple(values))
        if self._take("LIKE"):
            return Compared(column=column, sign="LIKE", values=(str(self._value()),))
        if self._take("BETWEEN"):
            low = self._value()
            self._need("AND")
            bounds = ((">=", low), ("<=", self._value()))
            parts = [Compared(column=column, sign=sign, values=(v,)) for sign, v in bounds]
            return Joined(parts=tuple(parts), all_of=True)
        return None

    def _column(self) -> str:
        kind, token, _ = self._peek()
        if kind == "name":
            self._at += 1
            return token[1:-1].replace('""', '"')
        if kind == "word" and token.upper() not in _WORDS:
            self._at += 1
            if self._peek()[1] == "(":
                raise ValueError(
                    f"{token}(…) is a function, and a filter has none; compare columns."
                )
            return token
        raise self._unexpected("a column")

    def _value(self) -> Value:
        kind, token, _ = self._peek()
        if kind == "text":
            value: Value = token[1:-1].replace("''", "'")
        elif kind == "number":
            value = float(token) if "." in token else int(token)
        elif kind == "word" and token.upper() in ("TRUE", "FALSE"):
            value = token.upper() == "TRUE"
        else:
            raise self._unexpected("a number or a text in single quotes")
        self._at += 1
        return value

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "", -1)

    def _take(self, token: str) -> bool:
        kind, found, _ = self._peek()
        known = _SIGNS.get(found, found.upper()) if kind in ("word", "sign") else ""
        if known != token:
            return False
        self._at += 1
        return True

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise self._unexpected(token)

    def _unexpected(self, expected: str) -> ValueError:
        _, token, place = self._peek()
        if place < 0:
            return ValueError(f"{self._text!r} ends where {expected} should be.")
        return self._wrong(place, f"stands where {expected} should be", token)

    def _wrong(self, place: int, problem: str, token: str = "") -> ValueError:
        shown = token or self._text[place:].strip()[:1]
        return ValueError(f"{shown!r} (character {place + 1}) {problem}.")
