"""One entry's fields for a batch: checked values, and the pieces of JSON that the body is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline import rules
from incarts_pipeline.columns import STRING, evaluate, id_text, regroup, text, texts
from incarts_pipeline.errors import MappingError
from incarts_pipeline.json_text import (
    Json,
    constant_json,
    json_array,
    json_object,
    members,
    own_json,
    quote,
)
from incarts_pipeline.mapping import (
    JsonSource,
    LinkMapping,
    Location,
    Mapping,
    Products,
    Source,
    Tracking,
)
from incarts_pipeline.models import Limits
from incarts_pipeline.rules import Findings, ProblemCode

NO_TEXT = pa.scalar(None, STRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that preparing depends on beside the batch."""

    mapping: Mapping
    schema: pa.Schema
    project_id: str
    limits: Limits

    @property
    def key_fields(self) -> list[pa.Field]:
        """The key columns, as they are published."""
        return self.mapping.key_fields(self.schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """String columns of JSON: the body is `{prefix,products suffix}`, where `products` brings its own comma.

    `product_json` is the quoted product id, `backups` the backup ids' array; both null when absent.
    """

    retailer: pa.Array
    intent: pa.Array
    prefix: pa.Array
    products: pa.Array
    suffix: pa.Array
    product_json: pa.Array
    quantity: pa.Array
    backups: pa.Array
    has_products: pa.Array
    has_url: pa.Array
    has_list: pa.Array
    has_recipe: pa.Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    id: pa.Array
    quantity: pa.Array
    backups: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What every field needs."""

    batch: pa.RecordBatch
    recipe: Recipe
    found: Findings
    notes: Findings

    @property
    def rows(self) -> int:
        return int(self.batch.num_rows)

    def text(self, source: Source | None, path: str) -> pa.Array | None:
        return text(source, self.batch, path)

    def nothing(self) -> pa.Array:
        return pa.nulls(self.rows, STRING)


def build_fields(
    batch: pa.RecordBatch, link: LinkMapping, recipe: Recipe, found: Findings, notes: Findings
) -> Fields:
    """Evaluate and check every field of an entry."""
    at = _Batch(batch=batch, recipe=recipe, found=found, notes=notes)
    retailer, intent = _kind(at, link)
    name = _name(at, link)
    product = _product(at, link.products)
    urls = {
        field: _url(at, getattr(link, field), field) for field in ("custom_url", "fallback_url")
    }
    lists = _instacart(at, link)
    has = {name: pc.is_valid(value) for name, value in lists.items()}
    rules.check_needs(
        found,
        intent,
        pc.is_valid(product.id),
        pc.is_valid(urls["custom_url"]),
        has["shoppingList"],
        has["recipe"],
    )
    public = at.text(link.public_name, "link.public_name")
    instacart = json_object({name: Json(value) for name, value in lists.items()})
    before = {
        "customUrl": quote(urls["custom_url"]) if link.custom_url else None,
        "fallbackUrl": quote(urls["fallback_url"]) if link.fallback_url else None,
        "intent": quote(intent),
        "location": _location(at, link.location),
        "metadata": _json(at, link.metadata, "metadata"),
        "name": quote(name),
        "options": json_object({"instacart": instacart}) if instacart and link.options else None,
    }
    after = {
        "projectId": Json(pa.repeat(pa.scalar(constant_json(recipe.project_id)), at.rows)),
        "publicName": quote(public) if public is not None else None,
        "retailer": quote(retailer),
        "tracking": _tracking(at, link.tracking),
    }
    return Fields(
        retailer=retailer,
        intent=intent,
        prefix=_members(before),
        products=_products_json(product),
        suffix=_members(after),
        product_json=quote(product.id).text(),
        quantity=product.quantity,
        backups=product.backups.text(),
        has_products=pc.is_valid(product.id),
        has_url=pc.is_valid(urls["custom_url"]),
        has_list=has["shoppingList"],
        has_recipe=has["recipe"],
    )


def _members(values: dict[str, Json | None]) -> pa.Array:
    return members({name: value for name, value in values.items() if value is not None})


def _kind(at: _Batch, link: LinkMapping) -> tuple[pa.Array, pa.Array]:
    retailer = at.text(link.retailer, "link.retailer")
    intent = at.text(link.intent, "link.intent")
    rules.require(at.found, retailer, "retailer", at.rows)
    rules.require(at.found, intent, "intent", at.rows)
    retailer = at.nothing() if retailer is None else retailer
    intent = at.nothing() if intent is None else intent
    rules.check_kind(at.found, retailer, intent, allow_unknown=at.recipe.mapping.allow_unknown)
    return retailer, intent


def _name(at: _Batch, link: LinkMapping) -> pa.Array:
    name = at.text(link.name, "link.name")
    rules.require(at.found, name, "name", at.rows)
    name = at.nothing() if name is None else name
    if at.recipe.mapping.on_too_long == "truncate":
        name = rules.truncate_name(at.notes, name)
    rules.check_name(at.found, name)
    return name


def _url(at: _Batch, source: Source | None, field: str) -> pa.Array:
    url = at.text(source, f"link.{field}")
    if url is None:
        return at.nothing()
    rules.check_url(at.found, url, field, at.recipe.limits)
    return url


def _product(at: _Batch, products: Products | None) -> _Product:
    if products is None:
        none = at.nothing()
        return _Product(id=none, quantity=pa.nulls(at.rows, pa.int64()), backups=Json(none))
    path = "link.products"
    product_id = id_text(products.retailer_product_id, at.batch, f"{path}.retailer_product_id")
    product_id = at.nothing() if product_id is None else product_id
    rules.check_ids(at.found, product_id, "products.retailer_product_id")
    return _Product(
        id=product_id,
        quantity=_quantity(at, products, product_id),
        backups=_backups(at, products, product_id),
    )


def _quantity(at: _Batch, products: Products, product_id: pa.Array) -> pa.Array:
    if products.quantity is None:
        return pa.repeat(pa.scalar(1, pa.int64()), at.rows)
    values = evaluate(products.quantity, at.batch, "link.products.quantity")
    blank = pc.is_null(values)
    if pa.types.is_string(values.type):
        blank = pc.or_(blank, pc.equal(pc.fill_null(pc.utf8_trim_whitespace(values), ""), ""))
        values = pc.if_else(blank, NO_TEXT, values)
    at.found.add(
        pc.and_(blank, pc.is_valid(product_id)),
        "products.quantity",
        ProblemCode.MISSING,
        "quantity is missing; fill it or give a default",
    )
    return rules.whole_quantity(at.found, values, at.recipe.limits)


def _backups(at: _Batch, products: Products, product_id: pa.Array) -> Json:
    path = "products.backup_product_ids"
    lists = texts(products.backup_product_ids, at.batch, f"link.{path}")
    if lists is None:
        return Json(at.nothing())
    parents, values = pc.list_parent_indices(lists), lists.values
    _check_backups(at, lists, path)
    codes = values.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    parent = parents.to_numpy(zero_copy_only=False).astype(np.int64)
    _, first = np.unique(parent * (len(values) + 1) + codes, return_index=True)
    keep = np.zeros(len(values), dtype=bool)
    keep[first] = True
    own = pc.fill_null(pc.equal(values, product_id.take(parents)), False)
    keep &= ~own.to_numpy(zero_copy_only=False)
    dropped = np.zeros(at.rows, dtype=bool)
    dropped[parent[~keep]] = True
    at.notes.add(
        pa.array(dropped),
        path,
        ProblemCode.REPEATED_BACKUP,
        "backups that repeat the product or each other were left out",
    )
    return json_array(regroup(values, parents, pa.array(keep), at.rows))


def _check_backups(at: _Batch, lists: pa.ListArray, path: str) -> None:
    """Name the rows whose backups look like floats; one message a row is enough."""
    bad = rules.like_float(lists.values)
    rows = np.zeros(at.rows, dtype=bool)
    parents = pc.list_parent_indices(lists).filter(pc.fill_null(bad, False))
    rows[parents.to_numpy(zero_copy_only=False)] = True
    message = f"{path} holds a number that was a float once; read the column as text"
    at.found.add(pa.array(rows), path, ProblemCode.ID_LIKE_FLOAT, message)
    many = pc.greater(pc.list_value_length(lists), at.recipe.limits.max_products)
    message = f"{path} has more than {at.recipe.limits.max_products} ids"
    at.found.add(many, path, ProblemCode.TOO_MANY_PRODUCTS, message)


def _products_json(product: _Product) -> pa.Array:
    """Return `"products":[…],` empty where there is no product."""
    one = members(
        {
            "backupProductIds": product.backups,
            "quantity": Json(product.quantity.cast(STRING)),
            "retailerProductId": quote(product.id),
        }
    )
    array = pc.binary_join_element_wise('"products":[{', one, "}],", "")
    return pc.if_else(pc.is_valid(product.id), array, "")


def _location(at: _Batch, location: Location | None) -> Json | None:
    if location is None:
        return None
    zip_code = id_text(location.zip_code, at.batch, "link.location.zip_code")
    store = id_text(location.store_id, at.batch, "link.location.store_id")
    zip_code = at.nothing() if zip_code is None else zip_code
    rules.check_location(at.found, zip_code, store)
    if store is not None:
        rules.check_ids(at.found, store, "location.store_id")
    values = {"zipCode": quote(zip_code)}
    if store is not None:
        values["storeId"] = quote(store)
    return json_object(values)


def _tracking(at: _Batch, tracking: Tracking | None) -> Json | None:
    if tracking is None:
        return None
    parts: dict[str, Json] = {}
    if tracking.utm is not None:
        sources = {name: getattr(tracking.utm, name) for name in type(tracking.utm).model_fields}
        values = {n: at.text(s, f"link.tracking.utm.{n}") for n, s in sources.items()}
        utm = json_object({n: quote(value) for n, value in values.items() if value is not None})
        if utm is not None:
            parts["utm"] = utm
    tags = texts(tracking.tags, at.batch, "link.tracking.tags")
    if tags is not None:
        parts["tags"] = json_array(tags)
    return json_object(parts)


def _instacart(at: _Batch, link: LinkMapping) -> dict[str, pa.Array]:
    options = link.options.instacart if link.options else None
    names = {"recipe": "recipe", "shoppingList": "shopping_list"}
    found = {}
    for name, field in names.items():
        source = getattr(options, field) if options else None
        value = _json(at, source, f"options.instacart.{field}")
        found[name] = at.nothing() if value is None else value.text()
    return found


def _json(at: _Batch, source: JsonSource | None, field: str) -> Json | None:
    """Return the caller's own JSON object, from one column or from members."""
    if source is None:
        return None
    if source.column is not None:
        column = at.batch.column(at.batch.schema.get_field_index(source.column))
        if pa.types.is_null(column.type):
            return Json(at.nothing())
        if pa.types.is_string(column.type):
            column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), NO_TEXT, column)
        return _own(at, column, field, as_object=True)
    values = {
        name: _member(at, value, f"{field}.{name}")
        for name, value in (source.members or {}).items()
    }
    return json_object(values)


def _member(at: _Batch, source: Source, field: str) -> Json:
    """Return one member's JSON: text stays text, numbers stay numbers."""
    if source.column is None and source.template is None:
        try:
            return Json(pa.repeat(pa.scalar(constant_json(source.constant)), at.rows))
        except ValueError as error:
            raise MappingError(f"link.{field}: {error}.", path=f"link.{field}") from None
    if source.split is not None:
        values = texts(source, at.batch, f"link.{field}")
        return Json(at.nothing()) if values is None else json_array(values)
    column = evaluate(source, at.batch, f"link.{field}")
    kind = column.type
    if pa.types.is_string(kind):
        return quote(pc.if_else(pc.equal(column, ""), NO_TEXT, column))
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind.bit_width <= 32):
        return Json(column.cast(STRING))
    return _own(at, column, field, as_object=False)


def _own(at: _Batch, column: pa.Array, field: str, *, as_object: bool) -> Json:
    value, wrong = own_json(column, as_object=as_object)
    at.found.add(pc.is_valid(wrong), field, ProblemCode.BAD_JSON, f"{field} ", wrong)
    return Json(value)
