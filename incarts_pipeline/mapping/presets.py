"""Presets: the product exports of shop platforms, a row each, and what a mapping makes of them.

`preset: shopify` in a mapping is short for a row's key, name, address and choice of rows; whatever
the mapping says itself wins. The columns are those that the platforms write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict, Sequence
from dataclasses import dataclass

from incarts_pipeline.errors import MappingError
from incarts_pipeline.text import suggest

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE", "LIKE", "BETWEEN")

RETAILER = "custom"  # as in `retailers:custom`, the scope of links to an address
SHOP = "{shop}"  # stands for the shop's address in a preset's page


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a column's value must be one of, or mustn't, for its row to count."""

    column: str
    values: tuple[str, ...]
    excluded: bool = False

    def sql(self) -> str:
        """Return it as `where:` spells it."""
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in self.values)
        return f"{_quoted(self.column)} {'NOT IN' if self.excluded else 'IN'} ({listed})"


def _quoted(column: str) -> str:
    """Return a column's name as a condition takes it, with no quotes that YAML would escape."""
    if _WORD.fullmatch(column) and column.upper() not in _RESERVED:
        return column
    return f"`{column}`" if "`" not in column else '"' + column.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One platform's product export.

    Attributes:
        name: what `preset:` calls it.
        title: what people call it.
        signs: columns that only this export has all of.
        unique_key: the column that says what a row is.
        label: the column with a product's name.
        page: a product's page as a template; `{shop}` in it stands for the shop's address. A single
            column is the whole address.
        rows: which rows are products that can be seen; all must hold.
        first_of_key: whether rows share the key, and the first of them is the product.
        pictures: the folder below the shop's address that pictures lie in, which tells the address.
    """

    name: str
    title: str
    signs: tuple[str, ...]
    unique_key: str
    label: str
    page: str
    rows: tuple[Condition, ...] = ()
    first_of_key: bool = False
    pictures: str = ""

    @property
    def needs_shop(self) -> bool:
        """Whether the export lacks the shop's address."""
        return SHOP in self.page

    def content(self, shop: str | None) -> dict[str, object]:
        """Return what the preset stands for, as a mapping says it."""
        content: dict[str, object] = {"unique_key": [self.unique_key]}
        if self.rows:
            content["where"] = where_of(self.rows)
        if self.first_of_key:
            content["first_of_key"] = True
        content["link"] = self.fields(shop)
        return content

    def fields(self, shop: str | None) -> dict[str, object]:
        """Return the link's fields that it stands for."""
        return {
            "name": {"column": self.label},
            "retailer": RETAILER,
            "intent": "custom_url",
            "custom_url": page_of(self.page, shop),
        }


_SEEN = ("true", "TRUE", "True")
_ON = ("1", "1.0")
_VARIATIONS = tuple(
    f"variation{more}" for more in ("", ", downloadable", ", virtual", ", downloadable, virtual")
)

PRESETS = (
    Preset(
        name="shopify",
        title="Shopify's product export",
        signs=("Handle", "Title", "Variant Price"),
        unique_key="Handle",
        label="Title",
        page="{shop}/products/{Handle}",
        rows=(Condition(column="Published", values=_SEEN),),
        first_of_key=True,  # variants and pictures have rows of their own
    ),
    Preset(
        name="shopify_2025",
        title="Shopify's product export with the column names of 2025",
        signs=("Title", "URL handle", "Product image URL"),
        unique_key="URL handle",
        label="Title",
        page="{shop}/products/{URL handle}",
        rows=(Condition(column="Published on online store", values=_SEEN),),
        first_of_key=True,
    ),
    Preset(
        name="woocommerce",
        title="WooCommerce's product export",
        signs=("ID", "Type", "SKU", "Name", "Regular price"),
        unique_key="ID",
        label="Name",
        page="{shop}/?p={ID}",  # WordPress's own short address of whatever has an ID
        rows=(
            Condition(column="Published", values=_ON),
            Condition(column="Type", values=_VARIATIONS, excluded=True),  # have no page
        ),
        pictures="/wp-content/",
    ),
    Preset(
        name="woocommerce_import",
        title="a table for WooCommerce's import, without IDs",
        signs=("Type", "SKU", "Name", "Regular price"),
        unique_key="SKU",
        label="Name",
        page="{shop}/?post_type=product&s={Name}",  # a search, which opens its only hit
        rows=(
            Condition(column="Published", values=_ON),
            Condition(column="Type", values=_VARIATIONS, excluded=True),
        ),
        pictures="/wp-content/",
    ),
    Preset(
        name="google_merchant",
        title="a Google Merchant feed",
        signs=("id", "title", "link", "availability"),
        unique_key="id",
        label="title",
        page="{link}",
    ),
    Preset(
        name="google_merchant_api",
        title="products of Google's Content API",
        signs=("offerId", "title", "link"),
        unique_key="offerId",
        label="title",
        page="{link}",
    ),
    Preset(
        name="prestashop",
        title="PrestaShop's product table",
        signs=("Product ID", "Active (0/1)", "Name *", "URL rewritten"),
        unique_key="Product ID",
        label="Name *",
        page="{shop}/index.php?controller=product&id_product={Product ID}",
        rows=(Condition(column="Active (0/1)", values=_ON),),
        pictures="/img/p/",
    ),
    Preset(
        name="prestashop_16",
        title="PrestaShop's product table, up to version 1.6",
        signs=("ID", "Active (0/1)", "Name *", "URL rewritten"),
        unique_key="ID",
        label="Name *",
        page="{shop}/index.php?controller=product&id_product={ID}",
        rows=(Condition(column="Active (0/1)", values=_ON),),
        pictures="/img/p/",
    ),
    Preset(
        name="magento",
        title="Magento 2's product export",
        signs=("sku", "attribute_set_code", "product_type", "url_key"),
        unique_key="sku",
        label="name",
        page="{shop}/{url_key}.html",
        rows=(
            Condition(column="product_online", values=_ON),
            Condition(column="visibility", values=("Not Visible Individually",), excluded=True),
        ),
        first_of_key=True,  # each store view has a row of its own behind the default's
        pictures="/media/catalog/",
    ),
    Preset(
        name="magento_1",
        title="Magento 1's product export",
        signs=("sku", "attribute_set", "type", "url_path"),
        unique_key="sku",
        label="name",
        page="{shop}/{url_path:raw}",
        rows=(
            Condition(column="status", values=("Enabled", "1")),
            Condition(column="visibility", values=("Not Visible Individually",), excluded=True),
        ),
        first_of_key=True,
    ),
    Preset(
        name="bigcommerce",
        title="BigCommerce's product export",
        signs=("Item", "ID", "Name", "SKU", "Product URL"),
        unique_key="ID",
        label="Name",
        page="{shop}{Product URL:raw}",
        rows=(Condition(column="Item", values=("Product",)),),
    ),
    Preset(
        name="bigcommerce_v2",
        title="BigCommerce's older product export",
        signs=("Product ID", "Product Name", "Product Code/SKU", "Product URL"),
        unique_key="Product ID",
        label="Product Name",
        page="{shop}{Product URL:raw}",
        rows=(
            Condition(column="Item Type", values=("Product",)),
            Condition(column="Product Visible?", values=("Y",)),
        ),
    ),
)


def preset_named(name: object) -> Preset:
    """Return a preset by its name.

    Raises:
        MappingError: there is none; names the nearest.
    """
    known = {preset.name: preset for preset in PRESETS}
    if not isinstance(name, str) or name not in known:
        raise MappingError(
            f"preset: there is no preset {name!r}.{suggest(str(name), known)}",
            fix=f"Known are {', '.join(known)}.",
            path="preset",
        )
    return known[name]


def where_of(conditions: Sequence[Condition]) -> str:
    """Return conditions that all must hold as `where:` spells them."""
    return " AND ".join(condition.sql() for condition in conditions)


def page_of(page: str, shop: str | None) -> object:
    """Return a preset's page as a source; a column alone is the whole address."""
    inner = page[1:-1]
    if page.startswith("{") and page.endswith("}") and "{" not in inner:
        return {"column": inner}
    return page.replace(SHOP, (shop or "").rstrip("/").replace("{", "{{").replace("}", "}}"))


def expanded(content: Dict[str, object]) -> dict[str, object]:
    """Return a mapping's content with what its `preset` stands for put in.

    What the mapping says itself wins, field by field.

    Raises:
        MappingError: the preset isn't known, or its shop's address is missing or superfluous.
    """
    if "preset" not in content:
        _no_shop(content)
        return dict(content)
    preset = preset_named(content["preset"])
    shop = content.get("shop")
    if not preset.needs_shop:
        _no_shop(content)
    elif not (isinstance(shop, str) and shop.startswith(("https://", "http://"))):
        raise MappingError(
            f"shop: the preset {preset.name} needs your shop's address, which {preset.title} "
            "doesn't hold.",
            fix="Add it to the mapping, like shop: https://www.your-shop.com",
            path="shop",
        )
    own = {key: value for key, value in content.items() if key not in ("preset", "shop")}
    meant = preset.content(str(shop))
    link = own.get("link")
    if isinstance(link, dict):
        return {**meant, **own, "link": {**preset.fields(str(shop)), **link}}
    if "links" in own:  # entries take the place of the one link
        del meant["link"]
    return {**meant, **own}


def _no_shop(content: Dict[str, object]) -> None:
    if "shop" in content:
        raise MappingError(
            "shop: goes with a preset whose export lacks the shop's address.",
            fix="Take it out, or name the preset.",
            path="shop",
        )
