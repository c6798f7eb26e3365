"""Counts of keys: how often values of columns are there, over all rows, exactly.

Rows are hashed to 64 bits, so that a million of them take some ten megabytes for each candidate. Of
a million different values two have one hash in one of 37 million tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from incarts_pipeline.suggest.profile import MOSTLY

MOST_ROWS = 20_000_000  # beyond, more memory than is worth it for a guess


# Of the values that rows share, the one that comes first. Lists of rows would take more memory than
# one look more.
_SHARING = """
WITH shared AS (
    SELECT {key} AS value, min(place) AS first FROM seen WHERE {key} IS NOT NULL
    GROUP BY value HAVING {differ} ORDER BY first LIMIT 1
)
SELECT place FROM seen JOIN shared ON {key} = value ORDER BY place LIMIT 4
"""
_LACKING = "SELECT place FROM seen WHERE {key} IS NULL ORDER BY place LIMIT 3"

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
        sharing: the first rows that share a value but not what they ask for, by their places in the
            table. They are looked for in candidates that are nearly keys, up to the first key.
        lacking: the first rows without a value, looked for in the same way.
    """

    columns: tuple[str, ...]
    rows: int
    filled: int
    distinct: int
    contents: int | None
    sharing: tuple[int, ...] = ()
    lacking: tuple[int, ...] = ()

    @property
    def is_nearly(self) -> bool:
        """Whether most rows have a value of their own."""
        return self.filled >= MOSTLY * self.rows and self.differing <= (1 - MOSTLY) * self.distinct

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
    batches: Iterable[tuple[pa.RecordBatch, pa.Int64Array]],
    candidates: Sequence[tuple[str, ...]],
    content: Content | None,
) -> Counts:
    """Count candidates over all rows.

    Args:
        batches: the rows, and where each is in the table.
        candidates: columns, each set of which may be the key.
        content: what a link is made of, to compare rows that share a key; None spares that.
    """
    names = _columns(candidates, content)
    hashes, kept = _hashes(names, candidates, content)
    rows, is_whole = 0, True
    with duckdb.connect() as connection:
        columns = ", ".join(f"{name} UBIGINT" for name in ("place", *kept))
        connection.execute(f"CREATE TABLE seen ({columns})")
        for batch, places in batches:
            is_whole = rows < MOST_ROWS
            if not is_whole:
                break
            rows += batch.num_rows
            numbered = [f"c{place}" for place in range(len(names))]
            table = pa.Table.from_batches([batch]).select(names).rename_columns(numbered)
            connection.register("batch", table.append_column("place", places))
            connection.execute(f"INSERT INTO seen {hashes}")
        asked = ", ".join(f"count({name}), count(DISTINCT {name})" for name in kept)
        found = connection.execute(f"SELECT {asked} FROM seen").fetchall()[0]  # noqa: S608
        counted = {name: (found[2 * at], found[2 * at + 1]) for at, name in enumerate(kept)}
        keys = [
            KeyCount(
                columns=key,
                rows=rows,
                filled=counted[f"k{at}"][0],
                distinct=counted[f"k{at}"][1],
                contents=counted[f"both{at}"][1] if content is not None else None,
            )
            for at, key in enumerate(candidates)
        ]
        keys = _with_rows(connection, keys)
    targets = counted["target"][1] if "target" in counted else None
    return Counts(keys=tuple(keys), rows=rows, targets=targets, is_whole=is_whole)


def _with_rows(connection: duckdb.DuckDBPyConnection, keys: Sequence[KeyCount]) -> list[KeyCount]:
    """Name the rows that keep a likely candidate from being the key."""
    made = list(keys)
    for at, key in enumerate(keys):
        if key.filled == key.rows and not key.differing:
            break
        if key.is_nearly:
            differ = "count(*) > 1" if key.contents is None else f"min(both{at}) < max(both{at})"
            sharing = _SHARING.format(key=f"k{at}", differ=differ)
            lacking = _LACKING.format(key=f"k{at}")
            rows = [
                tuple(place for (place,) in connection.sql(q).fetchall())
                for q in (sharing, lacking)
            ]
            made[at] = replace(key, sharing=rows[0], lacking=rows[1])
    return made


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
    statement = (
        f"SELECT place, {', '.join(found)} FROM (SELECT place, {', '.join(inner)} FROM batch)"  # noqa: S608
    )
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
