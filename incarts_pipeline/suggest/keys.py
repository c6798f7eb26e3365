"""Keys: which columns may say what a row is, and which of them says it best."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.types as pt

from incarts_pipeline.mapping import Preset
from incarts_pipeline.suggest import words
from incarts_pipeline.suggest.findings import Finding
from incarts_pipeline.suggest.key_counts import Counts, KeyCount
from incarts_pipeline.suggest.profile import ColumnProfile, Profile, quoted
from incarts_pipeline.text import counted

MOST = 10  # candidates that are counted
_ENOUGH = 0.99  # of the rows, and of the keys: a few broken rows hide no key

# Beside an id: rows that are one product in several stores, languages or sizes.
_BESIDE = (
    *("store_id", "store", "store_code", "region", "country", "language", "lang", "locale"),
    *("variant_id", "variant_sku", "variant", "size", "color", "colour", "pack_size", "unit"),
    *("store_view_code", "marketplace", "channel"),
)
_TOKENS = frozenset(("id", "sku", "code", "key", "nr", "no", "number", "num", "ref"))
LASTING = (
    "What a row is, today and next year: whoever spells a key anew gets a second link for the same "
    "product."
)


def key_candidates(
    profile: Profile, preset: Preset | None, page: str | None, name: str | None
) -> tuple[tuple[str, ...], ...]:
    """Return the columns that may be the key, the likeliest first.

    Args:
        profile: what the rows show that count.
        preset: the platform that wrote the table, if it is known.
        page: the column that says where links go, if there is one.
        name: the column of names.
    """
    own = profile.named(preset.unique_key) if preset is not None else None
    ids = [c for c in profile.worded(words.KEY) if _can_be_key(c)]
    coded = [c for c in profile.columns if own is None and c not in ids and _is_coded(c)]
    lasting = [c for c in [*ids, *coded] if not c.is_counter]
    counting = [c for c in [*ids, *coded] if c.is_counter]
    singles = [*([own] if own else []), *lasting, *counting]
    last = [c for n in (page, name) if n is not None and (c := profile.named(n)) is not None]
    keys: list[tuple[str, ...]] = [(c.name,) for c in singles[: MOST - 2]]
    if singles and not any(_is_unique(c, profile) for c in singles):
        beside = [c for c in profile.worded(_BESIDE) if c is not singles[0]]
        keys += [(singles[0].name, c.name) for c in beside]
    return tuple(dict.fromkeys([*keys[: MOST - 2], *((c.name,) for c in last)]))


def _can_be_key(column: ColumnProfile) -> bool:
    if pt.is_floating(column.type) or pt.is_boolean(column.type) or pt.is_nested(column.type):
        return False
    named = column.word not in words.COUNTERS
    return named and column.filled > 0.5 and not column.is_image and column.share(",") < 0.05


def _is_coded(column: ColumnProfile) -> bool:
    named = bool(_TOKENS & set(column.word.split("_")))
    return named and column.distinct > 1 and _can_be_key(column) and column.is_code


def _is_unique(column: ColumnProfile, profile: Profile) -> bool:
    return column.filled == 1 and column.distinct == profile.rows


def key_finding(
    profile: Profile, counts: Counts, page: str | None, name: str | None, *, first_counts: bool
) -> Finding:
    """Choose the key.

    Args:
        profile: what the rows show that count.
        counts: the candidates' counts over all rows, the likeliest first.
        page: the column that says where links go, if there is one.
        name: the column of names.
        first_counts: whether of rows that share a key the first one counts.
    """
    fit = [key for key in counts.keys if _fits(key, first_counts)]
    best = _best(fit, counts, page) if fit else max(counts.keys, key=_worth, default=None)
    if best is None:
        first = profile.plain[0].name
        return Finding(
            field="unique_key",
            value=[first],
            why=LASTING,
            doubt="no column looks like an id; this is only the first one.",
        )
    near = _nearly(best, counts)
    alike = [key for key in fit if key is not best and len(key.columns) <= len(best.columns)]
    others = tuple(list(key.columns) for key in [*([near] if near else []), *alike[:3]])
    return Finding(
        field="unique_key",
        value=list(best.columns),
        why=f"{LASTING} {_told(best, counts, first_counts)}",
        others=others,
        doubt=_doubt(best, near, profile, page, name, first_counts),
    )


def _nearly(best: KeyCount, counts: Counts) -> KeyCount | None:
    """Return the column that would be the likelier key, were it not for a few rows."""
    likelier = counts.keys[: counts.keys.index(best)]
    return next((key for key in likelier if key.is_nearly), None)


def _fits(key: KeyCount, first_counts: bool) -> bool:
    """Say whether nearly each row has the key, and rows that share it want the same link."""
    if not key.rows or key.filled < _ENOUGH * key.rows:
        return False
    return first_counts or key.differing <= (1 - _ENOUGH) * key.distinct


def _best(fit: Sequence[KeyCount], counts: Counts, page: str | None) -> KeyCount:
    """Return the likeliest of those that fit.

    An address may be spelled in several ways for one item; where another column has one value for
    each item, that is the key.
    """
    first = fit[0]
    if first.columns == (page,) and counts.targets is not None and first.distinct > counts.targets:
        return next((key for key in fit if key.distinct == counts.targets), first)
    return first


def _worth(key: KeyCount) -> float:
    """Return how many rows a key that doesn't fit is good for."""
    return key.filled - max(key.differing, 0)


def _told(key: KeyCount, counts: Counts, first_counts: bool) -> str:
    where = "" if counts.is_whole else f" of the first {counts.rows:,} rows"
    if key.distinct == key.rows:
        return f"Each of {counted(key.rows, 'row')}{where} has one of its own."
    if key.distinct == key.filled:
        return f"{counted(key.filled, 'row')} of {key.rows:,}{where} have one, each its own."
    rest = "the first of the rows that share one counts" if first_counts else _shared(key)
    return f"{counted(key.distinct, 'value')} in {counted(key.rows, 'row')}{where}; {rest}."


def _shared(key: KeyCount) -> str:
    if not key.differing:
        return "rows that share one ask for the same link, and get one"
    return "rows that share one mostly ask for the same link"


def _doubt(
    key: KeyCount,
    near: KeyCount | None,
    profile: Profile,
    page: str | None,
    name: str | None,
    first_counts: bool,
) -> str | None:
    empty = key.rows - key.filled
    said = []
    if empty:
        said.append(f"{counted(empty, 'row')} without it can't get a link{_named(key.lacking)}")
    if key.differing > 0 and not first_counts:
        said.append(
            f"rows that share it ask for different links ({key.differing:,} too "
            f"many){_named(key.sharing)}"
        )
    if near is not None:
        said.append(_told_of(near, profile))
    if (rounded := _rounded(key, profile)) is not None:
        said.append(
            f"{quoted(rounded.name)} can't be the key as numbers with fractions (in pandas, read "
            "it with dtype=str)"
        )
    if key.columns == (page,):
        said.append("an address that is spelled anew, with another ?query, is another row")
    elif key.columns == (name,):
        said.append("a product that is renamed is another row, and gets a second link")
    column = profile.named(key.columns[0])
    if column is not None and column.is_counter and len(key.columns) == 1:
        said.append("it counts the rows: see that a product keeps it when others come and go")
    return f"{'; '.join(said)}." if said else None


def _rounded(key: KeyCount, profile: Profile) -> ColumnProfile | None:
    """Return a column that is called like a likelier key, but has floats."""
    ranked = profile.worded(words.KEY)
    named = [at for at, one in enumerate(ranked) if one.name == key.columns[0]]
    likelier = ranked[: named[0]] if named else ranked
    return next((one for one in likelier if pt.is_floating(one.type)), None)


def _named(places: Sequence[int]) -> str:
    return f": {_rows(places)}, counted from 0" if places else ""


def _rows(places: Sequence[int]) -> str:
    return f"{'row' if len(places) == 1 else 'rows'} {' and '.join(map(str, places))}"


def _told_of(near: KeyCount, profile: Profile) -> str:
    """Return what keeps a column from being the key, and what to do about it."""
    wrong = []
    if near.sharing:
        values = [profile.value(name, near.sharing[0]) for name in near.columns]
        shared = ", ".join("one" if value is None else quoted(value) for value in values)
        wrong.append(f"{_rows(near.sharing)} share {shared} and ask for different links")
    if near.lacking:
        wrong.append(f"{_rows(near.lacking)} {'lacks' if len(near.lacking) == 1 else 'lack'} it")
    return (
        f"{', '.join(map(quoted, near.columns))} nearly is a key, but {', and '.join(wrong)} "
        "(counted from 0): if that is a slip, correct it and take that"
    )
