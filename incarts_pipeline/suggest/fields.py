"""Fields beside the destination: names, amounts, places, tracking, and what is only offered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pyarrow.types as pt

from incarts_pipeline.mapping import Preset
from incarts_pipeline.models import Intent
from incarts_pipeline.suggest import words
from incarts_pipeline.suggest.findings import Finding
from incarts_pipeline.suggest.profile import ADDRESS, MOSTLY, ColumnProfile, Profile, quoted
from incarts_pipeline.text import counted

NAME_CHARACTERS = 160  # the API's bound
_NAMED = 0.7  # of the values: where the name says what a column is, looks need only not gainsay it
_FIVE = r"^\s*\d{5}\s*$"
_SMALL = r"^\s*[1-9]\d{0,2}(\.0+)?\s*$"  # as pandas writes them, too


def name_of(profile: Profile, preset: Preset | None) -> Finding:
    """Return the finding about a link's name."""
    named = profile.named(preset.label) if preset is not None else None
    found = [c for c in profile.worded(words.NAME) if _is_name(c)]
    found += [c for c in profile.columns if _is_name(c) and _begins_like_a_name(c.word)]
    # Without a word for it: the column of short texts with the most different ones.
    rest = sorted((c for c in profile.columns if c.is_label), key=lambda c: -c.distinct)
    ranked = list(dict.fromkeys([*([named] if named else []), *found, *rest]))
    if not ranked:
        first = profile.plain[0]
        return Finding(
            field="link.name",
            value={"column": first.name},
            why="No column has names.",
            doubt="the links are called by their first column; choose a better one.",
        )
    best = ranked[0]
    told = named is not None or best in found
    return Finding(
        field="link.name",
        value={"column": best.name},
        why="The internal name, for your own people."
        + ("" if told else " No column is called so: this one has texts like names."),
        others=tuple({"column": c.name} for c in found if c is not best)[:3],
        doubt=_nameless(best, profile),
    )


def _nameless(column: ColumnProfile, profile: Profile) -> str | None:
    lacking = round((1 - column.filled) * profile.rows)
    if not lacking:
        return None
    return f"{lacking:,} of {counted(profile.rows, 'row')} lack it; those are rejected."


def _is_name(column: ColumnProfile) -> bool:
    return column.filled > 0.5 and (column.is_label or column.distinct > 1) and not column.is_image


def _begins_like_a_name(word: str) -> bool:
    return any(word.startswith(f"{name}_") for name in ("name", "title"))


def other_fields(profile: Profile, intent: object) -> Iterator[Finding]:
    """Yield what else the columns' names say: quantities, places, tracking."""
    if intent == Intent.ADD_TO_CART.value or isinstance(intent, dict):
        yield from _products(profile)
        yield from _location(profile)
    pages = [column for column in profile.worded(words.FALLBACK) if not column.is_image]
    for column in _likeliest(pages, ADDRESS, MOSTLY):
        why = "By its name and its addresses."
        found = Finding(field="link.fallback_url", value={"column": column.name}, why=why)
        yield from _if_mostly(found, column, ADDRESS, "addresses", MOSTLY)
    yield from _tracking(profile)
    if isinstance(intent, dict):
        yield from _tags(profile)


def _products(profile: Profile) -> Iterator[Finding]:
    for column in _likeliest(profile.worded(words.QUANTITY), _SMALL):
        found = Finding(
            field="link.products.quantity",
            value={"column": column.name, "default": 1},
            why="How many go into the cart; 1 where the cell is empty.",
            doubt="if it counts what is in stock, take the line out: each link takes 1."
            if _is_stock(column)
            else None,
        )
        yield from _if_mostly(found, column, _SMALL, "whole numbers from 1 to 999")
    for column in profile.worded(words.BACKUPS)[:1]:
        yield Finding(
            field="link.products.backup_product_ids",
            value=_split(column, ","),
            why="What is taken where the product isn't to be had.",
        )


def _likeliest(
    columns: Sequence[ColumnProfile], pattern: str, share: float = _NAMED
) -> Sequence[ColumnProfile]:
    """Return the first of the columns that looks as it should, else the first, in a list."""
    return sorted(columns, key=lambda column: column.share(pattern) < share)[:1]


def _if_mostly(
    found: Finding, column: ColumnProfile, pattern: str, what: str, share: float = _NAMED
) -> Iterator[Finding]:
    """Yield a guess at a column that is named for it; only offered, and why, if it looks otherwise.

    Args:
        found: the guess.
        column: the column that it is about; nothing is said of one without a value.
        pattern: what its values look like.
        what: the same in words.
        share: of the values that have to, from 0 to 1.
    """
    other = column.unlike(pattern)
    if column.share(pattern) >= share:
        yield found
    elif other is not None:
        rest = f"{1 - column.share(pattern):.0%} of the values of {column.name!r}"
        doubt = f"not mapped: {rest} aren't {what}, like {quoted(other)}. Put them right, and take "
        doubt += "the # before the line away."
        yield dataclasses.replace(found, doubt=doubt, is_offer=True)


def _is_stock(column: ColumnProfile) -> bool:
    return column.share(r"^\s*(?:1?\d|2[0-4])(?:\.0+)?\s*$") < 0.9


def _location(profile: Profile) -> Iterator[Finding]:
    codes = _likeliest(profile.worded(words.ZIP_CODE), _FIVE)
    for code in codes:
        found = Finding(
            field="link.location.zip_code",
            value={"column": code.name},
            why="Where the shopper is; turns on Walmart's choice of the store.",
        )
        yield from _if_mostly(found, code, _FIVE, "ZIP codes of five digits")
    is_told = any(code.share(_FIVE) >= _NAMED for code in codes)
    for store in profile.worded(words.STORE)[:1] if is_told else ():
        value = {"column": store.name}
        yield Finding(field="link.location.store_id", value=value, why="The store.")


def _tracking(profile: Profile) -> Iterator[Finding]:
    for name in words.UTM:
        names = (f"utm_{name}", "campaign") if name == "campaign" else (f"utm_{name}",)
        for column in profile.worded(names)[:1]:
            yield Finding(
                field=f"link.tracking.utm.{name}",
                value={"column": column.name},
                why=f"utm_{name}, by its name.",
            )


def _tags(profile: Profile) -> Iterator[Finding]:
    """Yield the tags of a table that is made for links; those of a shop's are its own affair."""
    for column in profile.worded(("tags",))[:1]:
        marks = [mark for mark in ("|", ";") if column.share(f"[{mark}]") > 0]
        why = "By its name, cut into single tags."
        value = _split(column, marks[0] if marks else ",")
        yield Finding(field="link.tracking.tags", value=value, why=why)


def _split(column: ColumnProfile, mark: str) -> dict[str, object]:
    if not pt.is_string(column.type):
        return {"column": column.name}
    return {"column": column.name, "split": mark}


def at_the_top(profile: Profile) -> Iterator[Finding]:
    """Yield keys that stand beside the link: what is urgent, and what is in print."""
    for column in profile.worded(words.PRIORITY[:1])[:1]:
        why = "Higher numbers go first."
        found = Finding(field="priority", value={"column": column.name}, why=why)
        yield from _if_mostly(found, column, r"^\s*-?[\d.]+\s*$", "numbers", MOSTLY)
    for column in profile.worded(words.PINNED)[:1]:
        yield Finding(
            field="pinned",
            value={"column": column.name},
            why="Rows whose code is in print keep their link, whatever changes.",
        )


def too_long(profile: Profile, name: Finding) -> Iterator[Finding]:
    """Yield what becomes of names that the API would refuse, where there are any."""
    value = name.value
    column = profile.named(str(value["column"])) if isinstance(value, dict) else None
    # The longest name may stand behind the sample.
    if column is not None and column.longest > NAME_CHARACTERS * 3 / 4:
        yield Finding(
            field="on_too_long",
            value="truncate",
            why=f"A name of more than {NAME_CHARACTERS} characters is cut: only the internal one, "
            "not where the link goes.",
            others=("reject",),
        )


def offers(profile: Profile, used: Sequence[str]) -> Iterator[Finding]:
    """Yield what the table has beside: data that may go along with a link, and is in no need to."""
    kinds = (("brand", words.BRAND), ("price", words.PRICE), ("image", words.IMAGE))
    value: dict[str, object] = {}
    for kind, names in kinds:
        found = [c for c in _priced(profile, names, kind) if c.name not in used]
        if found:
            value[kind] = {"column": found[0].name}
    if value:
        yield Finding(
            field="link.metadata",
            value=value,
            why=f"Also in the table: {', '.join(value)}. Stored with a link as it was when the "
            "link was made.",
            is_offer=True,
        )


def _priced(profile: Profile, names: Sequence[str], kind: str) -> list[ColumnProfile]:
    found = profile.worded(names)
    if kind == "price":
        begin = [c for c in profile.columns if c.word.startswith("price_")]
        found = [c for c in [*found, *begin] if c.is_price]
    if kind == "image":
        found = [c for c in found if c.share(r"(?i)https?://") > 0.5]
    return [c for c in found if len(c.values)]
