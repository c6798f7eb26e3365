"""Digest: twelve digits that stand for one exact plan, made of a sum over its rows.

Equal plans have equal digests however they were computed: a sum knows no order, and the sums of a
catalog's parts add up to that of the whole. Unlike with an exclusive or, equal rows don't cancel
each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

_MODULUS = 1 << 128
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSum:
    """How many catalog rows there are, and the sum of what those come to that are looked at.

    `total` adds up, modulo 2^128, the MD5 hashes (little-endian) of the rows' parts: action,
    reason, link set, row key, and content hash in upper-case hexadecimal digits. Each part stands
    as UTF-8 behind its number of bytes and a colon; a null is a dash.
    """

    rows: int = 0
    total: int = 0

    def __add__(self, other: RowSum) -> RowSum:
        return RowSum(rows=self.rows + other.rows, total=(self.total + other.total) % _MODULUS)


def row_sum(db: duckdb.DuckDBPyConnection, rows: str) -> RowSum:
    """Return the sum over the rows of a query for the columns that `RowSum` names.

    A row counts as one of the catalog's unless its action is `missing`.
    """
    return _sum(db, rows, _PARTS, counts="action <> 'missing'")


def text_sum(db: duckdb.DuckDBPyConnection, rows: str, parts: Sequence[str]) -> RowSum:
    """Return the same over any texts, in SQL, of the rows of a query: all of them count."""
    return _sum(db, rows, parts, counts="TRUE")


def _sum(db: duckdb.DuckDBPyConnection, rows: str, parts: Sequence[str], *, counts: str) -> RowSum:
    text = " || ".join(map(length_prefixed, parts))
    query = _SUM.format(text=text, rows=rows, counts=counts)
    [(n, high, low)] = db.execute(query).fetchall()
    return RowSum(rows=n, total=((high << 64) + low) % _MODULUS)


def digest_of(facts: dict[str, Any], rows: RowSum) -> str:
    """Return the digest of a plan: of what it depends on beside its rows, and of their sum."""
    text = json.dumps([facts, asdict(rows)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def length_prefixed(value: str) -> str:
    """Return SQL for a text behind its number of bytes and a colon; a dash for a null."""
    return f"COALESCE(STRLEN({value}) || ':' || {value}, '-')"


_PARTS = ("action", "reason", "link_set", "row_key", "HEX(content_hash)")
# In halves, as DuckDB adds numbers of 64 bits exactly, and larger ones as floats.
_SUM = f"""
SELECT COUNT(*) FILTER (counts), COALESCE(SUM((hash >> 64)::UBIGINT), 0),
       COALESCE(SUM((hash & {2**64 - 1})::UBIGINT), 0)
FROM (SELECT {{counts}} AS counts, MD5_NUMBER({{text}}) AS hash FROM ({{rows}}))
"""  # noqa: S608 - our own text
