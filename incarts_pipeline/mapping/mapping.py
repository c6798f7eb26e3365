"""Mapping of catalog columns to a link's fields, as YAML or as Python objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping as Dict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from incarts_pipeline.errors import MappingError, raising_ours
from incarts_pipeline.mapping.accept import parse_accept
from incarts_pipeline.mapping.expressions import (
    Column,
    Node,
    Source,
    ValueKind,
    each,
    names_of,
    parse_node,
    parse_source,
)
from incarts_pipeline.mapping.fit import check_key, check_names, check_source, field_of
from incarts_pipeline.mapping.presets import expanded
from incarts_pipeline.mapping.reading import bounded, mapping_file, read_text, refuse_secrets
from incarts_pipeline.mapping.validation_errors import explain
from incarts_pipeline.mapping.where import Where, parse_where
from incarts_pipeline.mapping.yaml import load_yaml
from incarts_pipeline.models import Limits, Policy
from incarts_pipeline.system import at_home
from incarts_pipeline.text import shortened

_From = Annotated[Source, PlainValidator(parse_source)]
_FromNode = Annotated[Node, PlainValidator(parse_node)]


_MOST_BYTES = Limits().max_mapping_bytes


class TooLong(StrEnum):
    """What happens to a name longer than the API takes."""

    REJECT = "reject"  # the row has a problem
    TRUNCATE = "truncate"  # the name is cut at a character, and the row carries a note


class _Model(BaseModel):
    # A misspelt key that is passed over would make 100,000 links without a tag.
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ProductMapping(_Model):
    """One product per catalog row; `quantity` is 1 when it isn't mapped."""

    retailer_product_id: _From
    quantity: _From | None = None
    backup_product_ids: _From | None = None


class LocationMapping(_Model):
    """Where the shopper is; turns on Walmart's choice of the store."""

    zip_code: _From | None = None
    store_id: _From | None = None


class UtmMapping(_Model):
    """The utm_ parameters."""

    source: _From | None = None
    medium: _From | None = None
    campaign: _From | None = None
    term: _From | None = None
    content: _From | None = None


class TrackingMapping(_Model):
    """How visits are counted."""

    utm: UtmMapping | None = None
    tags: _From | None = None


class InstacartMapping(_Model):
    """Instacart's own objects, passed on as they are: a struct column, JSON text, or in place."""

    shopping_list: _FromNode | None = None
    recipe: _FromNode | None = None


class OptionsMapping(_Model):
    """Options by retailer."""

    instacart: InstacartMapping | None = None


class LinkMapping(_Model):
    """The fields of one link; names are the API's in snake case.

    With `basket`, rows that share the unique key are one link with all their products.
    """

    name: _From
    retailer: _From
    intent: _From
    public_name: _From | None = None
    products: ProductMapping | None = None
    basket: bool = False
    location: LocationMapping | None = None
    custom_url: _From | None = None
    fallback_url: _From | None = None
    tracking: TrackingMapping | None = None
    options: OptionsMapping | None = None
    metadata: _FromNode | None = None

    @model_validator(mode="after")
    def _basket_has_products(self) -> Self:
        if self.basket and self.products is None:
            raise ValueError("basket: needs products, but none are mapped.")
        return self

    def sources(self) -> Iterator[tuple[str, ValueKind, Node]]:
        """Yield each mapped field: its dotted path, what it must be, and where it comes from."""
        # By the table, not by the models' fields, so that each path has its kind in one place.
        for path, kind in KINDS.items():
            value: Any = self
            for name in path.split("."):
                value = getattr(value, name, None)
            if value is not None:
                yield path, kind, value


# Every field that can be mapped. A zip code is an ID because a column of floats would lose its
# zeros.
KINDS = {
    "name": ValueKind.TEXT,
    "retailer": ValueKind.TEXT,
    "intent": ValueKind.TEXT,
    "public_name": ValueKind.TEXT,
    "products.retailer_product_id": ValueKind.ID,
    "products.quantity": ValueKind.COUNT,
    "products.backup_product_ids": ValueKind.LIST,
    "location.zip_code": ValueKind.ID,
    "location.store_id": ValueKind.ID,
    "custom_url": ValueKind.TEXT,
    "fallback_url": ValueKind.TEXT,
    "tracking.utm.source": ValueKind.TEXT,
    "tracking.utm.medium": ValueKind.TEXT,
    "tracking.utm.campaign": ValueKind.TEXT,
    "tracking.utm.term": ValueKind.TEXT,
    "tracking.utm.content": ValueKind.TEXT,
    "tracking.tags": ValueKind.LIST,
    "options.instacart.shopping_list": ValueKind.JSON,
    "options.instacart.recipe": ValueKind.JSON,
    "metadata": ValueKind.JSON,
}


class OnChange(_Model):
    """What a change does to a row that has a link, by group of fields."""

    destination: Policy = Policy.REPLACE
    tracking: Policy = Policy.REPLACE
    # A name is for people; a new link would mean a new code in print for a corrected typing error.
    label: Policy = Policy.IGNORE

    def as_policies(self) -> dict[str, Policy]:
        """Return the policy of each group by the group's name."""
        return {
            "destination": self.destination,
            "tracking": self.tracking,
            "label": self.label,
        }


class ReadMapping(_Model):
    """How a file is read, where its name and its header don't tell; what a caller says wins."""

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    sheet: str | None = None
    records: str | None = None
    query: str | None = None

    def said(self) -> dict[str, str]:
        """Return what is said at all, as `open_catalog` takes it."""
        return self.model_dump(exclude_none=True)


class Mapping(_Model):
    """Which columns identify a row, and which make up its link.

    `link` makes one link per row; `links` one per entry and row, each entry in a link set of its
    own, `link_set/entry`. `priority` (a number; high goes first) and `pinned` (never replaced by
    itself) are optional columns. `where` says which rows the catalog is about, and with
    `first_of_key` only the first of rows that share a key counts; the others are no rows.
    `allow_unknown` lets retailers and intents through that this version doesn't know. `hold_dead`
    is the path or URI of a table of `incarts check`, whose dead destinations get no link. `accept`
    has suspicions that are meant.
    """

    link_set: str = Field(min_length=1, max_length=128)
    unique_key: Annotated[list[str], Field(min_length=1)]
    link: LinkMapping | None = None
    links: dict[str, LinkMapping] | None = None
    read: ReadMapping = ReadMapping()
    priority: _From | None = None
    pinned: _From | None = None
    on_change: OnChange = OnChange()
    on_too_long: TooLong = TooLong.REJECT
    allow_unknown: bool = False
    # Plans are told apart by what the table says, wherever it is.
    hold_dead: str | None = Field(default=None, min_length=1, repr=False)
    where: Annotated[Where, PlainValidator(parse_where)] | None = None
    first_of_key: bool = False
    accept: Annotated[tuple[str, ...], PlainValidator(parse_accept)] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_key_is_a_list(cls, value: Any) -> Any:
        # A text is a sequence of letters for pydantic, and `unique_key: sku` is what people write.
        if isinstance(value, dict) and isinstance(value.get("unique_key"), str):
            return {**value, "unique_key": [value["unique_key"]]}
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.link is None) == (not self.links):
            raise ValueError("give either link (one per row) or links (one per entry and row).")
        if self.first_of_key and any(link.basket for _, _, link in self.entries()):
            raise ValueError(
                "first_of_key: a basket needs all rows of its key; take one of them out."
            )
        if len(set(self.unique_key)) < len(self.unique_key):
            raise ValueError("unique_key: names a column twice.")
        for name in [self.link_set, *(self.links or {})]:
            # The name is a part of every idempotency key, of file names and of terminal output.
            if not name.strip() or not name.isprintable():
                raise ValueError(f"link_set: {name!r} is no name; use letters, digits and dashes.")
        for name in self.links or {}:
            if "/" in name:
                raise ValueError(f"links: {name!r} has a slash; the entry's name comes after one.")
        return self

    def entries(self) -> list[tuple[str, str, LinkMapping]]:
        """Return the links made of each row: path in the mapping, link set, fields."""
        if self.link is not None:
            return [("link", self.link_set, self.link)]
        return [
            (f"links.{name}", f"{self.link_set}/{name}", link)
            for name, link in (self.links or {}).items()
        ]

    def link_sets(self) -> list[str]:
        """Return the link sets that the mapping makes links in."""
        return [link_set for _, link_set, _ in self.entries()]

    def sources(self) -> Iterator[tuple[str, ValueKind, Node]]:
        """Yield every mapped field of every entry: dotted path, kind, source."""
        for at, _, link in self.entries():
            for path, kind, node in link.sources():
                yield f"{at}.{path}", kind, node
        if self.priority is not None:
            yield "priority", ValueKind.NUMBER, self.priority
        if self.pinned is not None:
            yield "pinned", ValueKind.FLAG, self.pinned

    def columns(self) -> list[str]:
        """Return the catalog columns that are read, the key's first, each once."""
        return list(dict.fromkeys(name for name, _ in self._places()))

    def _places(self) -> list[tuple[str, str]]:
        """Return each column that is read, with the path of what reads it; the key's first."""
        places = [(name, "unique_key") for name in self.unique_key]
        for path, _, node in self.sources():
            places += [(name, path) for names in names_of(node) for name in each(names)]
        filtered = self.where.columns() if self.where else []
        return places + [(name, "where") for name in filtered]

    def key_fields(self, schema: pa.Schema) -> list[pa.Field]:
        """Return the unique key's fields as the catalog has them.

        Raises:
            MappingError: the catalog lacks one.
        """
        return [field_of(schema, name, "unique_key") for name in self.unique_key]

    def check(self, schema: pa.Schema) -> None:
        """Check that the catalog has the columns, and that their types fit.

        Raises:
            MappingError: one doesn't; the message names the column, the field and the fix.
        """
        for error in self.misfits(schema):
            raise error

    def misfits(self, schema: pa.Schema) -> Iterator[MappingError]:
        """Yield what doesn't fit the catalog, each field by itself: what `check` would raise."""
        filtered = self.where.columns() if self.where else []
        sources = [
            *self.sources(),
            *(("where", ValueKind.TEXT, Column(column=name)) for name in filtered),
        ]
        tests: list[Callable[[], None]] = [
            lambda: check_names(schema, self._places()),
            *(partial(check_key, schema, name) for name in self.unique_key),
            *(partial(check_source, schema, *source) for source in sources),
        ]
        for test in tests:
            try:
                test()
            except MappingError as error:
                yield error


@raising_ours
def load_mapping(
    source: Mapping | Dict[str, object] | str | Path, *, most_bytes: int = _MOST_BYTES
) -> Mapping:
    """Read a mapping: a Mapping, a dict, YAML text (anything with a line break), or a file's path.

    Args:
        source: the mapping.
        most_bytes: how long YAML may be.

    Raises:
        MappingError: it can't be read, has unknown keys or an API key in it, or makes no sense.
    """
    if isinstance(source, Mapping):
        return source
    content = mapping_content(source, most_bytes=most_bytes)
    try:
        refuse_secrets(content)
        return Mapping.model_validate(expanded(content))
    except ValidationError as error:
        raise explain(error, Mapping) from None
    except RecursionError:
        raise MappingError("The mapping is nested too deeply.", fix="Flatten it.") from None


def for_set(mapping: Mapping, link_set: str) -> Mapping:
    """Return a mapping for another link set; raises MappingError when that is no name."""
    try:
        refuse_secrets(link_set, "link_set")
        return Mapping.model_validate({**dict(mapping), "link_set": link_set})
    except ValidationError as error:
        raise explain(error, Mapping) from None


def mapping_content(
    source: Dict[str, object] | str | Path, *, most_bytes: int = _MOST_BYTES
) -> dict[str, object]:
    """Read what a mapping says, without judging it; raises as `load_mapping` does.

    A path in it is absolute then: it was relative to the mapping's file, or to the working
    directory.
    """
    content: object = source
    if (file := mapping_file(source)) is not None:
        content = load_yaml(read_text(file, most_bytes), str(source))
    elif isinstance(source, str):
        content = load_yaml(bounded(source, most_bytes), "")
    if not isinstance(content, dict):
        found = shortened(str(content)) if isinstance(content, str) else type(content).__name__
        raise MappingError(
            f"A mapping is an object with link_set, unique_key and link, not {found!r}."
        )
    folder = Path.cwd() if file is None else file.absolute().parent
    table = content.get("hold_dead")
    if not table or not isinstance(table, str | Path) or "://" in str(table):
        return content
    return {**content, "hold_dead": str(folder / at_home(table))}
