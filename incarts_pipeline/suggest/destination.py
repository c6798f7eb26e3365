"""Destination: where a table's links most likely go, by its addresses, its ids and its platform."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import RETAILER, Preset, page_of
from incarts_pipeline.models import Intent
from incarts_pipeline.suggest import words
from incarts_pipeline.suggest.findings import Finding
from incarts_pipeline.suggest.profile import MOSTLY, WHOLE, ColumnProfile, OddRows, Profile
from incarts_pipeline.suggest.retailers import RETAILERS, Retailer
from incarts_pipeline.suggest.yaml_text import flow

# No such host can ever be: RFC 2606 keeps the name for that.
PLACEHOLDER = "https://your-shop.invalid"

_LOCAL = re.compile(r"//(?:localhost|127\.|10\.|192\.168\.|[^/]*\.(?:local|test|invalid|internal))")
_CARRIED = "The table says it itself."
_INTENT = rf"^\s*(?:{'|'.join(one.value for one in Intent)})\s*$"
_WALMART = r"(?i)^\s*https?://[\w.-]*walmartimages\.(?:com|ca)/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where links go: the findings, and the column and pattern that tell one page from another."""

    findings: tuple[Finding, ...]
    target: tuple[str, str | None] | None = None


def destination_of(profile: Profile, preset: Preset | None, title: str) -> Destination:
    """Return where links most likely go.

    Args:
        profile: what the rows show that count.
        preset: the platform that wrote the table, if it is known.
        title: what the table is called.
    """
    if carried := _carried(profile):
        return carried
    if page := _page_column(profile, preset):
        return _to_column(page, profile)
    if ids := _walmart_ids(profile, title):
        return ids
    return _to_shop(profile, preset)


def page_findings(page: str, preset: Preset | None, why: str) -> tuple[Finding, ...]:
    """Return the findings for a page that a person named.

    Args:
        page: a template of columns, or, for a platform whose paths are known, the shop's address.
        preset: the platform, if it is known.
        why: who named it.

    Raises:
        MappingError: all rows would go to the same page.
    """
    if "{" in page:
        return _custom(page, why)
    if preset is None or not preset.needs_shop:
        raise MappingError(
            f"{page} is the same address for each row.",
            fix="Put a column in braces where the products differ, like "
            "https://www.your-shop.com/p/{sku}.",
        )
    return _custom(page_of(preset.page, page), why)


def _to_page(page: str, why: str, doubt: str) -> Destination:
    """Link to pages made of a template."""
    inner = re.findall(r"\{([^{}]+?)(?::raw)?\}", page)
    return Destination(
        findings=_custom(page, why, doubt=doubt), target=(inner[0], None) if inner else None
    )


def _custom(
    page: object, why: str, *, others: tuple[object, ...] = (), doubt: str | None = None
) -> tuple[Finding, ...]:
    return (
        Finding(
            field="link.retailer",
            value=RETAILER,
            why="An address goes with any retailer; the key needs the scope retailers:custom.",
        ),
        Finding(
            field="link.intent", value=Intent.CUSTOM_URL.value, why="Goes to the address below."
        ),
        Finding(field="link.custom_url", value=page, why=why, others=others, doubt=doubt),
    )


def _carried(profile: Profile) -> Destination | None:
    """Return what the table says itself, where it has a retailer and an intent in each row."""
    retailer, intent = profile.named("retailer"), profile.named("intent")
    if retailer is None or intent is None or not (len(intent.values) and intent.mostly(_INTENT)):
        return None
    odd = profile.odd_rows(intent, _INTENT)
    findings = [
        _column("link.retailer", retailer, _CARRIED),
        _column(
            "link.intent",
            intent,
            _CARRIED,
            doubt=f"{_have(odd)} none that Incarts knows: {odd}." if odd.rows else None,
        ),
    ]
    fields: tuple[tuple[str, Sequence[str]], ...] = (
        ("link.products.retailer_product_id", words.WALMART_ID),
        ("link.custom_url", (*words.PAGE, "custom_url")),
        ("link.options.instacart.shopping_list", ("shopping_list", "list_json")),
        ("link.options.instacart.recipe", ("recipe", "recipe_json")),
    )
    for field, names in fields:
        if found := profile.worded(names):
            findings.append(_column(field, found[0], "By its name.", found[1:]))
    return Destination(findings=tuple(findings))


def _page_column(profile: Profile, preset: Preset | None) -> ColumnProfile | None:
    """Return the column of whole addresses that each row has."""
    found = _addresses(profile)
    own = page_of(preset.page, None) if preset is not None else None
    if isinstance(own, dict) and (named := profile.named(own["column"])) in found:
        return named
    ranked = [c for c in profile.worded(words.PAGE) if c in found]
    # Of columns that nobody named so, the one with the most different addresses is the product's.
    rest = sorted((c for c in found if c not in ranked), key=lambda c: -c.distinct)
    return next(iter([*ranked, *rest]), None)


def _addresses(profile: Profile) -> list[ColumnProfile]:
    """Return the columns of addresses that nearly each row has, but for pictures."""
    return [
        c
        for c in profile.columns
        if c.is_address and c.filled >= MOSTLY and c.word not in words.IMAGE
    ]


def _to_column(page: ColumnProfile, profile: Profile) -> Destination:
    retailer = next((one for one in RETAILERS if page.mostly(one.address)), None)
    others = tuple({"column": c.name} for c in _addresses(profile) if c is not page)[:3]
    if retailer is not None and page.mostly(retailer.item):
        return _to_items(page, retailer, others, profile)
    why = "The products' addresses, as they are."
    odd = profile.odd_rows(page, r"(?i)^\s*https?://")
    doubt = f"{_have(odd)} no address, and no link: {odd}." if odd.rows else None
    return Destination(
        findings=_custom({"column": page.name}, why, others=others, doubt=doubt),
        target=(page.name, None),
    )


def _to_items(
    page: ColumnProfile, retailer: Retailer, others: tuple[object, ...], profile: Profile
) -> Destination:
    """Link to the items whose ids stand in a retailer's addresses."""
    source = {"column": page.name, "extract": retailer.item}
    found = f"The item's id stands in the addresses of {page.name!r}, which are {retailer.name}'s."
    target = (page.name, retailer.item)
    odd = profile.odd_rows(page, retailer.item)
    doubt = f"{_have(odd)} no item's id there: {odd}." if odd.rows else None
    if retailer.intent is None:
        note = Finding(field="link.metadata.item_id", value=source, why=found, doubt=doubt)
        why = f"Addresses of {retailer.name}, whose items only an address leads to."
        return Destination(
            findings=(*_custom({"column": page.name}, why, others=others), note), target=target
        )
    soon = retailer.intent is Intent.PRODUCT_DETAIL
    return Destination(
        findings=(
            Finding(
                field="link.retailer", value=retailer.name, why="By the host of its addresses."
            ),
            Finding(
                field="link.intent",
                value=retailer.intent.value,
                why=f"What {retailer.name}'s items are linked with.",
                others=(
                    f"custom_url, with retailer: {RETAILER} and custom_url: "
                    f"{flow({'column': page.name})}",
                ),
                doubt="Incarts has announced it as coming soon; until then only custom_url works."
                if soon
                else None,
            ),
            Finding(
                field="link.products.retailer_product_id", value=source, why=found, doubt=doubt
            ),
        ),
        target=target,
    )


def _walmart_ids(profile: Profile, title: str) -> Destination | None:
    """Return Walmart's items where ids stand in a column of their own."""
    # Such a name leaves no doubt of what is meant, so that looks need only not gainsay it.
    sure = [c for c in profile.worded(words.WALMART_ID[:3]) if c.share(WHOLE) > 0.5]
    images = [c for c in profile.columns if c.is_image and c.mostly(_WALMART)]
    if not sure and not images and "walmart" not in title.lower():
        return None
    ids = sure or [c for c in profile.worded(words.WALMART_ID) if c.is_whole and c.filled >= MOSTLY]
    if not ids:
        return None
    odd = profile.odd_rows(ids[0], WHOLE)
    told = "By its name." if sure else "The table is Walmart's by its pictures or its name."
    doubts = []
    if odd.rows:
        doubts.append(f"no numbers, as the others are: {odd}. See that these are items' ids.")
    if any(c.mostly(r"(?i)walmartimages\.ca/") for c in images):
        doubts.append(
            "the pictures are Walmart Canada's, whose ids walmart.com may not know; open one there "
            "and see that it is the product of its row."
        )
    elif not sure:
        doubts.append(
            "open one of these ids on walmart.com and see that it is the product of its row."
        )
    return Destination(
        findings=(
            Finding(field="link.retailer", value="walmart", why=told),
            Finding(
                field="link.intent",
                value=Intent.ADD_TO_CART.value,
                why="What Walmart's items are linked with.",
                others=(f"custom_url, with retailer: {RETAILER} and the page's address",),
            ),
            _column(
                *("link.products.retailer_product_id", ids[0], told, ids[1:]),
                doubt=" ".join(doubts) or None,
            ),
        ),
        target=(ids[0].name, None),
    )


def _to_shop(profile: Profile, preset: Preset | None) -> Destination:
    """Link to the shop's pages, whose address the table lacks."""
    if preset is None or not preset.needs_shop:
        ranked = [*profile.worded(words.KEY), *profile.plain]
        # Signs that mean something in a template can't stand in a column's name there.
        named = next((c.name for c in ranked if not set("{}|:") & set(c.name)), None)
        page = f"{PLACEHOLDER}/{{{named}}}" if named else f"{PLACEHOLDER}/"
        why = "No column has the products' addresses, or ids of a retailer's items."
        return _to_page(page, why, _missing("a product's page"))
    shop = _shop_of(profile, preset)
    why = "Made of the shop's address, which isn't in the table, and the platform's own path."
    if shop is None:
        return _to_page(str(page_of(preset.page, PLACEHOLDER)), why, _missing("your shop"))
    doubt = f"{shop} is a guess, by where the pictures lie; open one of these pages."
    return _to_page(str(page_of(preset.page, shop)), why, doubt)


def _have(odd: OddRows) -> str:
    return "1 row has" if odd.rows == 1 else f"{odd.rows:,} rows have"


def _missing(what: str) -> str:
    return (
        f"put the address of {what} in place of {PLACEHOLDER}, which leads nowhere, or say it "
        "with --url; until then no link is made."
    )


def _shop_of(profile: Profile, preset: Preset) -> str | None:
    """Return the shop's address by where its pictures lie, None where that doesn't tell."""
    if not preset.pictures:
        return None
    pattern = re.compile(rf"\s*(https?://[^\s,]+?){re.escape(preset.pictures)}")
    shops = set()
    for column in profile.columns:
        if column.is_image:
            shops |= {
                found[1] if (found := pattern.match(value)) else None
                for value in column.values.to_pylist()
            }
    if len(shops) != 1 or (shop := shops.pop()) is None or _LOCAL.search(shop):
        return None
    return shop.replace("http://", "https://", 1)  # few shops are left without


def _column(
    field: str,
    column: ColumnProfile,
    why: str,
    others: Sequence[ColumnProfile] = (),
    doubt: str | None = None,
) -> Finding:
    return Finding(
        field=field,
        value={"column": column.name},
        why=why,
        others=tuple({"column": one.name} for one in others[:3]),
        doubt=doubt,
    )
