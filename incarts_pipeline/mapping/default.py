"""Default mapping: that of a catalog whose columns carry the fields' own names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping.fit import field_of
from incarts_pipeline.mapping.mapping import KINDS, Mapping, load_mapping
from incarts_pipeline.mapping.type_rules import is_list, plain_type
from incarts_pipeline.text import Option, OptionText, suggest

_REQUIRED = ("name", "retailer", "intent")


def default_mapping(schema: pa.Schema, *, unique_key: list[str], link_set: str) -> Mapping:
    """Return the mapping of a catalog whose columns carry the fields' own names.

    Read are `name`, `retailer` and `intent` (required), `public_name`, `retailer_product_id`,
    `quantity`, `backup_product_ids` and `tags` (lists, or text split at commas), `zip_code`,
    `store_id`, `custom_url`, `fallback_url`, `utm_source` and its like, `shopping_list`, `recipe`
    and `metadata` (structs, or JSON text), `priority` and `pinned`; other columns are left alone.

    Args:
        schema: the catalog's columns.
        unique_key: the columns that name a row.
        link_set: the set that the links belong to.

    Raises:
        MappingError: a required column or a key column is missing.
    """
    content: dict[str, Any] = {"link_set": link_set, "unique_key": unique_key}
    for name in schema.names:
        if name not in _OWN_NAMES:
            continue
        *way, last = _OWN_NAMES[name]
        place = content
        for step in way:
            place = place.setdefault(step, {})
        # A CSV has no lists; a comma is what people put between ids.
        splits = last in ("backup_product_ids", "tags") and not is_list(_type(schema, name))
        place[last] = {"column": name, "split": ","} if splits else {"column": name}
    link = content.setdefault("link", {})
    # Told in terms of columns, before pydantic would tell it in terms of the mapping.
    for name in _REQUIRED:
        if name not in link:
            field_of(schema, name, f"link.{name}")
    if "retailer_product_id" not in link.get("products", {"retailer_product_id": None}):
        field_of(schema, "retailer_product_id", "link.products.retailer_product_id")
    mapping = load_mapping(content)
    mapping.check(schema)
    return mapping


def check_told(columns: Sequence[str], *, unique_key: Sequence[str], link_set: str | None) -> None:
    """Make sure that a catalog without a mapping is told all that one would say.

    Args:
        columns: the catalog's columns.
        unique_key: the columns that name a row, none where it wasn't said.
        link_set: the set that the links belong to, None where it wasn't said.

    Raises:
        MappingError: names all that is missing, at once.
    """
    missing: list[str | Option] = []
    if not unique_key:
        key = Option(name="unique_key", value=["..."], stand_in="COLUMN")
        missing += ["\n  ", key, ": what a row is, today and next year"]
    if link_set is None:
        name = Option(name="link_set", value="...", stand_in="NAME")
        missing += ["\n  ", name, ": what this family of links is called"]
    for column in _REQUIRED:
        if column not in columns:
            near = suggest(column, columns)
            missing.append(f'\n  the catalog has no column "{column}".{near}')
    if missing:
        raise MappingError(
            OptionText("Without a mapping, this is missing:", *missing),
            fix=OptionText(
                "Let `incarts init` look at the table and write a mapping (in Python "
                "`suggest_mapping`), or give ",
                *(Option(name="mapping", value="...", stand_in="FILE"), "."),
            ),
        )


def own_columns() -> tuple[str, ...]:
    """Return the names of the columns that `default_mapping` reads."""
    return tuple(_OWN_NAMES)


def _own_names() -> dict[str, tuple[str, ...]]:
    names = {path.rpartition(".")[2]: ("link", *path.split(".")) for path in KINDS}
    for utm in ("source", "medium", "campaign", "term", "content"):
        # `source` and `content` are columns of many catalogs, and mean something else there.
        names[f"utm_{utm}"] = names.pop(utm)
    return {**names, "priority": ("priority",), "pinned": ("pinned",)}


_OWN_NAMES = _own_names()


def _type(schema: pa.Schema, name: str) -> pa.DataType:
    return plain_type(schema.field(schema.get_all_field_indices(name)[0]).type)
