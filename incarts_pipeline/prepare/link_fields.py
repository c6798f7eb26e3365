"""Fields of a link, for one entry and one batch: evaluated, checked and put into bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.mapping import (
    Constant,
    LinkMapping,
    LocationMapping,
    Members,
    Node,
    Source,
    Template,
    TrackingMapping,
    names_of,
)
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.characters import Writing, check_characters, note_breaks
from incarts_pipeline.prepare.columns import Columns
from incarts_pipeline.prepare.dead_destinations import DeadDestinations
from incarts_pipeline.prepare.json_columns import Fragment, list_fragment, object_of, text_fragment
from incarts_pipeline.prepare.json_objects import object_fragment
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.products import (
    Products,
    evaluate_products,
    lists_of,
    products_fragment,
    spread,
)
from incarts_pipeline.prepare.rules import (
    Texts,
    check_intent,
    check_location,
    check_name,
    check_needs,
    check_zip_code,
)
from incarts_pipeline.prepare.stand_ins import ID, KEY_PART, NAME, TEXT, Meaning, check_stand_ins
from incarts_pipeline.prepare.urls import check_url

_SHOPPING_LIST = "options.instacart.shopping_list"
_RECIPE = "options.instacart.recipe"
# In canonical order, as all members below.
_UTM = ("campaign", "content", "medium", "source", "term")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the checks depend on beside the rows."""

    limits: Limits
    truncate: bool
    allow_unknown: bool
    dead: DeadDestinations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """An entry's links in a batch: the fields of the body by their API name, and what was found."""

    retailer: pa.StringArray
    intent: pa.StringArray
    fields: dict[str, Fragment | None]
    products: Products | None
    findings: Findings

    def body(self, names: Sequence[str], rows: int) -> Fragment | None:
        """Put the named fields into one object."""
        return object_of([(name, self.fields[name]) for name in names], rows)


def evaluate_link(mapping: LinkMapping, columns: Columns, rules: Rules, project_id: str) -> Links:
    """Evaluate and check one entry's fields; what is wrong is recorded, never raised.

    Args:
        mapping: the entry's fields.
        columns: the batch's columns, which also take the problems.
        rules: limits, and what is let through.
        project_id: the project of every body.
    """
    reader = _Reader(mapping, columns, rules)
    retailer, intent = reader.required("retailer"), reader.required("intent")
    # Constants were checked once for all rows, by `literals`.
    if not (isinstance(mapping.intent, Constant) and isinstance(mapping.retailer, Constant)):
        check_intent(intent, retailer, columns.findings, allow_unknown=rules.allow_unknown)
        reader.look("retailer", mapping.retailer, retailer, ID, Writing.CODE)
    products = None
    if mapping.products is not None:
        products = evaluate_products(mapping.products, columns, rules.limits)
    # By their API names in canonical order: `Links.body` and baskets rely on it.
    fields = {
        "customUrl": reader.url("custom_url"),
        "fallbackUrl": reader.url("fallback_url"),
        "intent": reader.constant_or(mapping.intent, intent),
        "location": reader.location(mapping.location),
        "metadata": reader.object("metadata", mapping.metadata),
        "name": reader.name(),
        "options": reader.options(),
        "products": None if products is None else products_fragment(products),
        "projectId": text_fragment(project_id),
        "publicName": reader.optional("public_name", mapping.public_name, NAME),
        "retailer": reader.constant_or(mapping.retailer, retailer),
        "tracking": reader.tracking(mapping.tracking),
    }
    # What an intent needs may be mapped and still be empty in a row.
    present = {
        "custom_url": _present(fields["customUrl"], columns.rows),
        "products": _present(fields["products"], columns.rows),
        _SHOPPING_LIST: reader.has(_SHOPPING_LIST),
        _RECIPE: reader.has(_RECIPE),
    }
    check_needs(intent, present, columns.findings)
    return Links(
        retailer=retailer,
        intent=intent,
        fields=fields,
        products=products,
        findings=columns.findings,
    )


class _Reader:
    """Evaluates the fields of one entry."""

    def __init__(self, mapping: LinkMapping, columns: Columns, rules: Rules) -> None:
        self._mapping, self._columns, self._rules = mapping, columns, rules
        # Evaluated once; whether an intent's object is there is asked again below.
        self._objects: dict[str, Fragment | None] = {}

    def required(self, name: str) -> pa.StringArray:
        source: Source = getattr(self._mapping, name)
        texts = self._columns.evaluate(source, name, required=True)
        return spread(texts, self._columns.rows)

    def constant_or(self, source: Source, texts: pa.StringArray) -> Fragment:
        fixed = self._columns.constant(source)
        return text_fragment(_filled(texts) if fixed is None else fixed)

    def look(
        self, field: str, source: Source, found: Texts, meaning: Meaning, writing: Writing
    ) -> None:
        """Look for cells that hold no value, and for characters that nobody sees."""
        findings = self._columns.findings
        for cells in self._columns.cells(source, found):
            check_stand_ins(cells, field, findings, meaning)
            check_characters(cells, field, findings, writing)

    def name(self) -> Fragment:
        names = self.required("name")
        self.look("name", self._mapping.name, names, NAME, Writing.PROSE)
        note_breaks(names, "name", self._columns.findings)
        checked = check_name(names, "name", self._columns.findings, truncate=self._rules.truncate)
        return self.constant_or(self._mapping.name, checked)

    def optional(self, field: str, source: Source | None, meaning: Meaning) -> Fragment | None:
        texts = self._text(field, source)
        if source is not None:
            self.look(field, source, texts, meaning, Writing.PROSE)
            if meaning is NAME and isinstance(texts, pa.Array):
                note_breaks(texts, field, self._columns.findings)
        return _fragment(texts)

    def _text(self, field: str, source: Source | None) -> Texts:
        if source is None:
            return None
        return self._columns.evaluate(source, field, required=False)

    def url(self, field: str) -> Fragment | None:
        source: Source | None = getattr(self._mapping, field)
        if source is None:
            return None
        urls = self._columns.evaluate(source, field, required=False, is_url=True)
        # A constant was checked with the mapping.
        if isinstance(urls, pa.Array):
            # Where several columns make it up, one may well say nothing.
            several = isinstance(source, Template) and len(source.columns) > 1
            self.look(field, source, urls, KEY_PART if several else ID, Writing.CODE)
            check_url(urls, field, self._columns.findings, self._rules.limits)
        if self._rules.dead is not None and urls is not None:
            self._rules.dead.check(spread(urls, self._columns.rows), field, self._columns.findings)
        return _fragment(urls)

    def location(self, mapping: LocationMapping | None) -> Fragment | None:
        if mapping is None:
            return None
        findings, rows = self._columns.findings, self._columns.rows
        zip_codes = self._text("location.zip_code", mapping.zip_code)
        stores = self._text("location.store_id", mapping.store_id)
        if mapping.store_id is not None:
            self.look("location.store_id", mapping.store_id, stores, ID, Writing.CODE)
        if isinstance(zip_codes, pa.Array):
            check_zip_code(zip_codes, "location.zip_code", findings)
        check_location(zip_codes, spread(stores, rows).is_valid(), findings)
        members = [("storeId", _fragment(stores)), ("zipCode", _fragment(zip_codes))]
        return object_of(members, rows)

    def object(self, field: str, node: Node | None) -> Fragment | None:
        if node is None:
            return None
        self._objects[field] = object_fragment(node, self._columns, field)
        return self._objects[field]

    def has(self, field: str) -> pa.BooleanArray:
        return _present(self._objects.get(field), self._columns.rows)

    def options(self) -> Fragment | None:
        options = self._mapping.options
        if options is None or options.instacart is None:
            return None
        rows = self._columns.rows
        instacart = object_of(
            [
                ("recipe", self.object(_RECIPE, options.instacart.recipe)),
                ("shoppingList", self.object(_SHOPPING_LIST, options.instacart.shopping_list)),
            ],
            rows,
        )
        return object_of([("instacart", instacart)], rows)

    def tracking(self, mapping: TrackingMapping | None) -> Fragment | None:
        if mapping is None:
            return None
        rows, tags, utm = self._columns.rows, None, None
        if mapping.tags is not None:
            tags = list_fragment(lists_of(mapping.tags, self._columns, "tracking.tags"))
        if mapping.utm is not None:
            given = [(name, getattr(mapping.utm, name)) for name in _UTM]
            utm = object_of(
                [(n, self.optional(f"tracking.utm.{n}", one, TEXT)) for n, one in given], rows
            )
        return object_of([("tags", tags), ("utm", utm)], rows)


def wanted(mapping: LinkMapping, columns: Columns) -> pa.BooleanArray:
    """Return in which rows an entry of a wide table has what its link is about.

    That is any of products, custom URL and options that is mapped; an entry that maps none of them
    is wanted in every row.
    """
    nodes = [
        node
        for path, _, node in mapping.sources()
        if path in ("products.retailer_product_id", "custom_url", _SHOPPING_LIST, _RECIPE)
    ]
    if not nodes:
        return pa.repeat(True, columns.rows)
    found = pa.repeat(False, columns.rows)
    for node in nodes:
        found = pc.or_(found, _given(node, columns))
    return found


def _given(node: Node, columns: Columns) -> pa.BooleanArray:
    """Return where a source has a value: a template needs all its columns, an object one."""
    names = list(names_of(node))
    if not names or getattr(node, "default", None) is not None:
        return pa.repeat(True, columns.rows)
    # An object is about something as soon as one of its columns is filled.
    combine = pc.or_ if isinstance(node, Members) else pc.and_
    given = columns.is_given(names[0])
    for name in names[1:]:
        given = combine(given, columns.is_given(name))
    return given


def _fragment(texts: Texts) -> Fragment | None:
    if texts is None or (isinstance(texts, pa.Array) and texts.null_count == len(texts)):
        return None
    return text_fragment(texts)


def _filled(texts: pa.StringArray) -> pa.StringArray:
    # Rows that lack a required text have no body in the end; until then commas rely on it.
    return pc.fill_null(texts, "") if texts.null_count else texts


def _present(fragment: Fragment | None, rows: int) -> pa.BooleanArray:
    if fragment is None or not fragment.optional:
        return pa.repeat(fragment is not None, rows)
    # Fixed texts are in every row: whether a fragment is there, its arrays say.
    arrays = [part.is_valid() for part in fragment.parts if not isinstance(part, str)]
    found = arrays[0]
    for array in arrays[1:]:
        found = pc.and_(found, array)
    return found
