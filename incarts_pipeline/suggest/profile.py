"""Profile of a table: what a sample of its rows shows of each column."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

SAMPLE_ROWS = 20_000
LOOKED_AT = 2_000  # different values of a column
MOSTLY = 0.8  # of the rows: what they are is what the column is, and the others are odd

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_APART = re.compile(r"[^a-z0-9]+")
ADDRESS = r"(?i)^\s*https?://"
_IMAGE = r"(?i)^\s*https?://\S+\.(?:jpe?g|png|webp|gif|avif|svg)(?:\W|$)"
WHOLE = r"^\s*\d+\s*$"
_NUMBER = r"^\s*[-+]?\d[\d.,\s]*$"
_CURRENCY = r"(?:[$£€¥₹¢]|[a-z]{3}\b)?"
_PRICE = rf"(?i)^\s*{_CURRENCY}\s*\d[\d.,]*\s*{_CURRENCY}(?:\s*(?:/|each)\s*\w*)?\s*$"
_CODE = r"^\s*[\w.:#+/-]{1,64}\s*$"
_DATE = r"^\s*\d{4}-\d{2}-\d{2}"
_MARKUP = r"<[a-zA-Z/]"
_LETTERS = r"\p{L}{2}"
_NAMED = 3  # rows that are named
_LONGEST = 60  # characters of a value that is named


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays have no hash
class ColumnProfile:
    """What the sample shows of one column.

    Attributes:
        name: as the table has it.
        word: the name in plain lower-case words joined by underscores: `Name *` is `name`.
        type: its Arrow type.
        texts: its values row by row, null where there is nothing but white space.
        values: its different values as text, at most `LOOKED_AT` of them; none of a nested type.
        counts: how many rows have each of them.
        filled: the share of rows that have a value, from 0 to 1.
        distinct: how many different values there are in the sample.
        longest: how many characters the longest of them has.
        is_counter: whether the values count the rows: 0, 1, 2 or 1, 2, 3.
    """

    name: str
    word: str
    type: pa.DataType
    texts: pa.StringArray
    values: pa.StringArray
    counts: pa.Int64Array
    filled: float
    distinct: int
    longest: int
    is_counter: bool

    def share(self, pattern: str) -> float:
        """Return the share of the rows with a value in which an RE2 pattern is found."""
        found = self.counts.filter(pc.match_substring_regex(self.values, pattern))
        return float((pc.sum(found).as_py() or 0) / max(pc.sum(self.counts).as_py() or 0, 1))

    def unlike(self, pattern: str) -> str | None:
        """Return the first value that lacks an RE2 pattern, None where all have it."""
        found = pc.invert(pc.match_substring_regex(self.values, pattern))
        others = self.values.filter(found)
        return others[0].as_py() if len(others) else None

    def mostly(self, pattern: str) -> bool:
        """Say whether nearly all values have a pattern: a few broken cells hide nothing."""
        return self.share(pattern) >= MOSTLY

    @property
    def is_address(self) -> bool:
        """Whether the values are pages on the web, not pictures."""
        return self.mostly(ADDRESS) and not self.mostly(_IMAGE)

    @property
    def is_image(self) -> bool:
        """Whether the values are addresses of pictures."""
        return self.mostly(_IMAGE)

    @property
    def is_whole(self) -> bool:
        """Whether the values are digits alone."""
        return self.mostly(WHOLE)

    @property
    def is_price(self) -> bool:
        """Whether the values are amounts, with or without a currency."""
        return self.mostly(_PRICE)

    @property
    def is_code(self) -> bool:
        """Whether the values look like ids: one word, neither an address nor a fraction or date."""
        if pt.is_floating(self.type) or pt.is_boolean(self.type) or self.is_address:
            return False
        return self.mostly(_CODE) and not self.mostly(_DATE) and not self._is_fraction()

    @property
    def is_label(self) -> bool:
        """Whether the values could be names: short texts of letters, without markup."""
        if not self.mostly(_LETTERS) or self.mostly(ADDRESS) or self.is_price:
            return False
        return self.length <= 160 and self.share(_MARKUP) < 0.2

    @property
    def length(self) -> float:
        """Return the mean length of the values, in characters."""
        return float(pc.mean(pc.utf8_length(self.values)).as_py() or 0)

    def _is_fraction(self) -> bool:
        return self.mostly(_NUMBER) and self.share(r"[.,]") > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a sample shows of a table.

    Attributes:
        columns: each column.
        rows: the sample's size.
        places: where each of its rows is in the table, from 0.
    """

    columns: tuple[ColumnProfile, ...]
    rows: int
    places: pa.Int64Array

    @property
    def plain(self) -> tuple[ColumnProfile, ...]:
        """The columns of single values: not of lists, objects or bytes."""
        return tuple(c for c in self.columns if not _is_nested(c.type))

    def named(self, name: str) -> ColumnProfile | None:
        """Return a column by its name, or by its name in plain words."""
        exact = next((column for column in self.columns if column.name == name), None)
        return exact or next((c for c in self.columns if c.word == plain_word(name)), None)

    def worded(self, words: Sequence[str]) -> list[ColumnProfile]:
        """Return the columns that have one of the names, in the order of the names."""
        return [column for word in words for column in self.columns if column.word == word]

    def value(self, name: str, place: int) -> str | None:
        """Return what a column has in a row of the table, None where the sample hasn't the row."""
        column, at = self.named(name), pc.index(self.places, place).as_py()
        return None if column is None or at < 0 else column.texts[at].as_py()

    def odd_rows(self, column: ColumnProfile, pattern: str) -> OddRows:
        """Return the rows whose value lacks an RE2 pattern, those without a value among them."""
        found = pc.match_substring_regex(column.texts, pattern)
        odd = pc.indices_nonzero(pc.invert(pc.fill_null(found, False)))
        first = odd.slice(0, _NAMED)
        pairs = zip(self.places.take(first), column.texts.take(first), strict=True)
        return OddRows(
            rows=len(odd), first=tuple((place.as_py(), text.as_py()) for place, text in pairs)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OddRows:
    """Rows that are unlike the others: how many, and the first with their values."""

    rows: int
    first: tuple[tuple[int, str | None], ...]

    def __str__(self) -> str:
        said = [
            f"row {place} ({'empty' if text is None else quoted(text)})"
            for place, text in self.first
        ]
        more = [f"{self.rows - len(said):,} more"] if self.rows > len(said) else []
        return f"{', '.join([*said, *more])}, counted from 0"


def profile_of(sample: pa.Table, places: pa.Int64Array | None = None) -> Profile:
    """Look at the columns of a sample.

    Args:
        sample: rows as `Catalog.batches` yields them, of plain types.
        places: where they are in the table; by default they are its first ones.
    """
    if places is None:
        places = pa.array(range(sample.num_rows), pa.int64())
    columns = tuple(
        _column(name, sample.column(place).combine_chunks())
        for place, name in enumerate(sample.column_names)
    )
    return Profile(columns=columns, rows=sample.num_rows, places=places)


def plain_word(name: str) -> str:
    """Return a column's name in plain words: `Variant SKU` and `variantSku` are `variant_sku`."""
    flat = unicodedata.normalize("NFKD", _HUMP.sub("_", name)).encode("ascii", "ignore").decode()
    return _APART.sub("_", flat.lower()).strip("_").removeprefix("g_")


def quoted(text: str) -> str:
    """Return a value as a sentence may quote it: in one line, and shortened."""
    return json.dumps(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…", ensure_ascii=False)


def _column(name: str, values: pa.Array) -> ColumnProfile:
    texts = _texts(values)
    filled = texts.drop_null()
    unique = filled.value_counts()
    looked_at = unique.slice(0, LOOKED_AT)
    return ColumnProfile(
        name=name,
        word=plain_word(name),
        type=values.type,
        texts=texts,
        values=looked_at.field("values"),
        counts=looked_at.field("counts"),
        filled=len(filled) / len(texts) if len(texts) else 0.0,
        distinct=len(unique),
        longest=pc.max(pc.utf8_length(filled)).as_py() or 0,
        is_counter=_is_counter(texts),
    )


def _texts(values: pa.Array) -> pa.StringArray:
    """Return values as text, null where there is nothing but white space."""
    if _is_nested(values.type):
        return pa.nulls(len(values), pa.string())
    texts = values.cast(pa.string())
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), texts)


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pt.is_nested(kind) or pt.is_binary(kind) or pt.is_fixed_size_binary(kind))


def _is_counter(texts: pa.StringArray) -> bool:
    if len(texts) < 3:
        return False
    return any(
        texts.equals(pc.cast(pa.array(range(first, first + len(texts))), pa.string()))
        for first in (0, 1)
    )
