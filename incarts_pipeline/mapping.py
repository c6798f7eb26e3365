"""The mapping: which catalog column fills which link field. YAML, or the same as Python objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from incarts_pipeline.errors import MappingError
from incarts_pipeline.keys import key_field
from incarts_pipeline.models import Policy
from incarts_pipeline.suggest import suggest

_HOLE = re.compile(r"\{([^{}]*)\}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Source(_Strict):
    """Where a field's value comes from: a constant, a column, or a template over columns.

    `default` takes the place of a null; `split` cuts a text into a list; `extract` keeps the first
    group of a regular expression (RE2), null where it doesn't match.
    """

    constant: Any = None
    column: str | None = None
    template: str | None = None
    default: Any = None
    split: str | None = Field(None, min_length=1)
    extract: str | None = None

    @property
    def columns(self) -> list[str]:
        """The catalog columns that the value is made from."""
        if self.column is not None:
            return [self.column]
        if self.template is None:
            return []
        return [name for kind, name in parse_template(self.template) if kind == "column"]


def parse_template(text: str) -> list[tuple[Literal["text", "column"], str]]:
    """Return a template's parts in order; `{{` and `}}` stand for braces.

    Raises:
        ValueError: a brace has no partner, or a hole has no name.
    """
    parts: list[tuple[Literal["text", "column"], str]] = []
    rest = text.replace("{{", "\0").replace("}}", "\1")
    position = 0
    for hole in _HOLE.finditer(rest):
        parts.append(("text", rest[position : hole.start()]))
        if not hole.group(1):
            raise ValueError(f"the template {text!r} has an empty {{}}; name a column")
        parts.append(("column", hole.group(1)))
        position = hole.end()
    parts.append(("text", rest[position:]))
    plain = "".join(value for kind, value in parts if kind == "text")
    if "{" in plain or "}" in plain:
        raise ValueError(f"the template {text!r} has a brace without a partner; write {{{{ for one")
    return [(kind, value.replace("\0", "{").replace("\1", "}")) for kind, value in parts if value]


def _source(value: object) -> object:
    """Turn what YAML says into a Source: a plain value is a constant, braces make a template."""
    if isinstance(value, dict | Source):
        return value
    if isinstance(value, str) and ("{" in value or "}" in value):
        parts = parse_template(value)
        if all(kind == "text" for kind, _ in parts):
            return {"constant": "".join(text for _, text in parts)}
        return {"template": value}
    return {"constant": value}


class _ColumnSource(Source):
    @model_validator(mode="after")
    def _one_kind(self) -> _ColumnSource:
        if self.constant is None and self.column is None and self.template is None:
            raise ValueError("say `column: NAME`, or give a plain value")
        if self.extract is not None:
            _check_pattern(self.extract)
        return self


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"extract {pattern!r} is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"extract {pattern!r} needs exactly one group in ( ), it has {groups}")


Value = Annotated[_ColumnSource, BeforeValidator(_source)]


def _json_source(value: object) -> object:
    """A JSON field is a column, or an object whose members are sources or plain values."""
    if isinstance(value, dict) and "column" not in value:
        return {"members": value}
    return value


class JsonSource(_Strict):
    """The caller's own JSON object: a whole column (struct or JSON text), or built by members."""

    column: str | None = None
    members: dict[str, Value] | None = None


Json = Annotated[JsonSource, BeforeValidator(_json_source)]


class Products(_Strict):
    """The products of a link; each catalog row brings one."""

    retailer_product_id: Value
    quantity: Value | None = None
    backup_product_ids: Value | None = None


class Location(_Strict):
    """Where the shopper is; turns on Walmart smart-select."""

    zip_code: Value
    store_id: Value | None = None


class Utm(_Strict):
    """The UTM parameters."""

    source: Value | None = None
    medium: Value | None = None
    campaign: Value | None = None
    term: Value | None = None
    content: Value | None = None


class Tracking(_Strict):
    """UTM parameters and tags."""

    utm: Utm | None = None
    tags: Value | None = None


class InstacartOptions(_Strict):
    """The caller's own shopping list or recipe, passed through unchanged."""

    shopping_list: Json | None = None
    recipe: Json | None = None


class Options(_Strict):
    """Options by retailer."""

    instacart: InstacartOptions


class LinkMapping(_Strict):
    """The fields of one link, named as the API names them, in snake case."""

    name: Value
    retailer: Value
    intent: Value
    public_name: Value | None = None
    products: Products | None = None
    location: Location | None = None
    custom_url: Value | None = None
    fallback_url: Value | None = None
    tracking: Tracking | None = None
    options: Options | None = None
    metadata: Json | None = None


class OnChange(_Strict):
    """What a change in each group of fields does to a row that has a link."""

    destination: Policy = Policy.REPLACE
    tracking: Policy = Policy.REPLACE
    label: Policy = Policy.IGNORE

    def as_policies(self) -> dict[str, Policy]:
        """Return the policies by the group's name."""
        return {
            "destination": self.destination,
            "tracking": self.tracking,
            "label": self.label,
        }


def _names(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Mapping(_Strict):
    """A whole mapping; read one with `load_mapping`."""

    link_set: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s/]+$")]
    unique_key: Annotated[list[str], BeforeValidator(_names), Field(min_length=1)]
    link: LinkMapping | None = None
    links: dict[str, LinkMapping] | None = None
    basket: bool = False
    priority: Value | None = None
    pinned: Value | None = None
    on_change: OnChange = OnChange()
    on_too_long: Literal["reject", "truncate"] = "reject"
    allow_unknown: bool = False

    @model_validator(mode="after")
    def _one_shape(self) -> Mapping:
        if (self.link is None) == (not self.links):
            raise ValueError("give either `link:` or `links:`")
        for entry in self.links or {}:
            if not re.fullmatch(r"[^\s/]+", entry):
                raise ValueError(f"the entry name {entry!r} must have no spaces or slashes")
        if self.basket:
            for name, entry_mapping in self.entries().items():
                if entry_mapping.products is None:
                    raise ValueError(f"basket: true needs products in {name}")
        return self

    def entries(self) -> dict[str, LinkMapping]:
        """Return each link set's fields: one for `link:`, one per entry for `links:`."""
        if self.link is not None:
            return {self.link_set: self.link}
        return {f"{self.link_set}/{name}": link for name, link in (self.links or {}).items()}

    def link_sets(self) -> list[str]:
        """Return the names of the link sets that the mapping fills."""
        return list(self.entries())

    def sources(self) -> Iterator[tuple[str, Source | JsonSource]]:
        """Yield every field's path and source."""
        for name in ("priority", "pinned"):
            value = getattr(self, name)
            if value is not None:
                yield name, value
        if self.link is not None:
            yield from _walk("link", self.link)
        for name, link in (self.links or {}).items():
            yield from _walk(f"links.{name}", link)

    def key_fields(self, schema: pa.Schema) -> list[pa.Field]:
        """Return the key columns as they are published.

        Raises:
            MappingError: a key column is missing or of a type that can't be a key.
        """
        return [key_field(schema, name) for name in self.unique_key]

    def check(self, schema: pa.Schema) -> None:
        """Make sure that the catalog has every column that the mapping names.

        Raises:
            MappingError: one is missing; the nearest name is offered.
        """
        self.key_fields(schema)
        for path, source in self.sources():
            columns = source.columns if isinstance(source, Source) else [source.column]
            for name in columns:
                if name is not None:
                    require_column(schema, name, path)


def require_column(schema: pa.Schema, name: str, path: str) -> None:
    """Raise a MappingError when the catalog has no such column."""
    if name not in schema.names:
        listed = ", ".join(schema.names[:12]) + (", …" if len(schema.names) > 12 else "")
        raise MappingError(
            f"{path} names the column {name!r}, which the catalog doesn't have."
            f"{suggest(name, schema.names)}",
            fix=f"Its columns are: {listed}.",
            path=path,
        )


def _walk(path: str, model: BaseModel) -> Iterator[tuple[str, Source | JsonSource]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, JsonSource):
            yield f"{path}.{name}", value
            for member, source in (value.members or {}).items():
                yield f"{path}.{name}.{member}", source
        elif isinstance(value, Source):
            yield f"{path}.{name}", value
        elif isinstance(value, BaseModel):
            yield from _walk(f"{path}.{name}", value)


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key written twice, instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping, each key once."""
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                line = key.start_mark.line + 1
                raise MappingError(
                    f"Line {line} of the mapping repeats {name!r}.", fix="Keep one of them."
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def load_mapping(source: Mapping | dict[str, Any] | str | Path) -> Mapping:
    """Read a mapping from a file, from YAML text (of more than one line), or from a dict.

    Raises:
        MappingError: it can't be read, or a key or value is wrong; the nearest name is offered.
    """
    if isinstance(source, Mapping):
        return source
    if isinstance(source, Path) or (isinstance(source, str) and "\n" not in source):
        try:
            source = Path(source).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise MappingError(f"The mapping {source} can't be read: {error}.") from error
    if isinstance(source, str):
        try:
            source = yaml.load(source, _UniqueKeys)  # noqa: S506 (a SafeLoader)
        except yaml.YAMLError as error:
            raise MappingError(f"The mapping is not YAML: {error}") from error
    if not isinstance(source, dict):
        raise MappingError("The mapping must be an object with link_set, unique_key and link.")
    try:
        return Mapping.model_validate(source)
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> MappingError:
    lines = []
    path = ""
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            *_, name = problem["loc"]
            known = _known_fields(problem["loc"][:-1])
            lines.append(f"{path}: there is no such key.{suggest(str(name), known)}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: is missing.")
        else:
            lines.append(f"{path}: {problem['msg'].removeprefix('Value error, ')}.")
    return MappingError("The mapping is wrong. " + " ".join(lines), path=path)


def _known_fields(location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand at a place in the mapping."""
    model: Any = Mapping
    for part in location:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = _model_in(fields[part].annotation) or _ColumnSource
        elif model is not LinkMapping and part not in fields:
            model = LinkMapping if model in (Mapping, None) else model
    names = getattr(model, "model_fields", None)
    return list(names) if names else list(LinkMapping.model_fields)


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in reversed(getattr(annotation, "__args__", ())):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def default_mapping(schema: pa.Schema, *, unique_key: list[str], link_set: str) -> Mapping:
    """Return the mapping of a catalog whose columns carry the fields' own names.

    They are `name, public_name, retailer, intent, retailer_product_id, quantity,
    backup_product_ids, zip_code, store_id, custom_url, fallback_url, utm_source, utm_medium,
    utm_campaign, utm_term, utm_content, tags, shopping_list, recipe, metadata, priority, pinned`;
    lists may be text: ids separated by commas, tags by bars.

    Raises:
        MappingError: a required column is missing.
    """

    def columns(*names: str, prefix: str = "") -> dict[str, Any]:
        return {name: {"column": prefix + name} for name in names if prefix + name in schema.names}

    def listed(name: str, separator: str) -> dict[str, Any]:
        if name not in schema.names:
            return {}
        is_list = pa.types.is_list(schema.field(name).type)
        return {name: {"column": name} | ({} if is_list else {"split": separator})}

    for name in ("name", "retailer", "intent"):
        require_column(schema, name, f"without a mapping, link.{name}")
    link: dict[str, Any] = columns(
        "name", "retailer", "intent", "public_name", "custom_url", "fallback_url", "metadata"
    )
    products = columns("retailer_product_id", "quantity") | listed("backup_product_ids", ",")
    location = columns("zip_code", "store_id")
    utm = columns("source", "medium", "campaign", "term", "content", prefix="utm_")
    tracking = ({"utm": utm} if utm else {}) | listed("tags", "|")
    instacart = columns("shopping_list", "recipe")
    parts = {"products": products, "location": location, "tracking": tracking}
    link |= {name: part for name, part in parts.items() if part}
    if instacart:
        link["options"] = {"instacart": instacart}
    return load_mapping(
        {"link_set": link_set, "unique_key": unique_key, "link": link}
        | columns("priority", "pinned")
    )
