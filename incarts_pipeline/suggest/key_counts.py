"""Counts of keys: how often values of columns are there, over all rows, exactly.

Rows are hashed to 64 bits, so that a million of them take some ten megabytes for each candidate. Of
a million different values two have one hash in one of 37 million tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

MOST_ROWS = 20_000_000  # beyond, more memory than is worth it for a guess


_LONG = 20  # bytes; a longer value is not white space alone, and trimming it takes time


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a link is made of.

    Attributes:
        columns: those that are taken as they are.
        target: the column that says where a link goes.
        item: the pattern (RE2) with one group that finds the item in it; None for all of it.
    """

    columns: tuple[str, ...]
    target: str | None = None
    item: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCount:
    """One candidate's counts, over all rows that were looked at.

    Attributes:
        columns: the candidate.
        rows: all rows.
        filled: rows in which each of the columns has a value.
        distinct: different values.
        contents: different pairs of a value and a link's content: as many as `distinct` where rows
            that share a value ask for the same link. None where it wasn't asked for.
    """

    columns: tuple[str, ...]
    rows: int
    filled: int
    distinct: int
    contents: int | None

    @property
    def differing(self) -> int:
        """How many links too many the rows that share a value ask for, at most."""
        return (self.filled if self.contents is None else self.contents) - self.distinct


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of all candidates.

    Attributes:
        keys: the candidates, the likeliest first.
        rows: rows that were looked at.
        targets: how many different pages or items there are, where it is known.
        is_whole: whether these are all rows.
    """

    keys: tuple[KeyCount, ...]
    rows: int
    targets: int | None
    is_whole: bool


def count_keys(
    batches: Iterable[pa.RecordBatch],
    candidates: Sequence[tuple[str, ...]],
    content: Content | None,
) -> Counts:
    """Count candidates over all rows.

    Args:
        batches: the rows.
        candidates: columns, each set of which may be the key.
        content: what a link is made of, to compare rows that share a key; None spares that.
    """
    names = _columns(candidates, content)
    hashes, kept = _hashes(names, candidates, content)
    rows, is_whole = 0, True
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE seen ({', '.join(f'{name} UBIGINT' for name in kept)})")
        for batch in batches:
            is_whole = rows < MOST_ROWS
            if not is_whole:
                break
            rows += batch.num_rows
            numbered = [f"c{place}" for place in range(len(names))]
            table = pa.Table.from_batches([batch]).select(names).rename_columns(numbered)
            connection.register("batch", table)
            connection.execute(f"INSERT INTO seen {hashes}")
        asked = ", ".join(f"count({name}), count(DISTINCT {name})" for name in kept)
        found = connection.execute(f"SELECT {asked} FROM seen").fetchall()[0]  # noqa: S608
    counted = {name: (found[2 * place], found[2 * place + 1]) for place, name in enumerate(kept)}
    keys = tuple(
        KeyCount(
            columns=key,
            rows=rows,
            filled=counted[f"k{place}"][0],
            distinct=counted[f"k{place}"][1],
            contents=counted[f"both{place}"][1] if content is not None else None,
        )
        for place, key in enumerate(candidates)
    )
    targets = counted["target"][1] if "target" in counted else None
    return Counts(keys=keys, rows=rows, targets=targets, is_whole=is_whole)


def _columns(candidates: Sequence[tuple[str, ...]], content: Content | None) -> list[str]:
    """Return the columns that are read, each once."""
    names = [name for key in candidates for name in key]
    if content is not None:
        names += [*content.columns, *([content.target] if content.target else [])]
    return list(dict.fromkeys(names))


def _hashes(
    names: Sequence[str], candidates: Sequence[tuple[str, ...]], content: Content | None
) -> tuple[str, list[str]]:
    """Return the statement that hashes a batch's columns c0, c1 and on, and what it yields."""
    at = {name: place for place, name in enumerate(names)}
    inner = [_hashed(place) for place in at.values()]
    found, kept = [], []
    for number, key in enumerate(candidates):
        value = f"hash({', '.join(f'h{at[name]}' for name in key)})"
        filled = " AND ".join(f"f{at[name]}" for name in key)
        found.append(f"CASE WHEN {filled} THEN {value} END")
        kept.append(f"k{number}")
        if content is not None:
            parts = [value, *(f"h{at[name]}" for name in content.columns)]
            parts += ["hash(item)"] if content.target else []
            found.append(f"CASE WHEN {filled} THEN hash({', '.join(parts)}) END")
            kept.append(f"both{number}")
    if content is not None and content.target:
        inner.append(f"{_item(at[content.target], content.item)} AS item")
        found.append("CASE WHEN item IS NOT NULL THEN hash(item) END")
        kept.append("target")
    statement = f"SELECT {', '.join(found)} FROM (SELECT {', '.join(inner)} FROM batch)"  # noqa: S608
    return statement, kept


def _hashed(place: int) -> str:
    text = f"CAST(c{place} AS VARCHAR)"
    filled = f"CASE WHEN strlen({text}) > {_LONG} THEN true ELSE trim({text}) <> '' END"
    return f"hash({text}) AS h{place}, coalesce({filled}, false) AS f{place}"


def _item(place: int, pattern: str | None) -> str:
    text = f"CAST(c{place} AS VARCHAR)"
    if pattern is None:
        return text
    quoted = pattern.replace("'", "''")
    return f"regexp_extract({text}, '{quoted}', 1)"
