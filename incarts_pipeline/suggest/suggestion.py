"""Suggestion: a table's mapping, made of what its header and rows show."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from incarts_pipeline.catalog import Catalog
from incarts_pipeline.errors import MappingError
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.mapping import Mapping, Preset, load_mapping, where_of
from incarts_pipeline.suggest.barcodes import accepted_ids
from incarts_pipeline.suggest.destination import Destination, destination_of, page_findings
from incarts_pipeline.suggest.fields import at_the_top, name_of, offers, other_fields, too_long
from incarts_pipeline.suggest.findings import Answers, Finding, columns_in, content_of
from incarts_pipeline.suggest.key_counts import Content, KeyCount
from incarts_pipeline.suggest.keys import LASTING, key_candidates, key_finding
from incarts_pipeline.suggest.look import Look, look_at
from incarts_pipeline.suggest.profile import Profile
from incarts_pipeline.suggest.yaml_text import yaml_text
from incarts_pipeline.text import counted

_ENDINGS = re.compile(
    r"(?:\.(?:csv|tsv|txt|json|jsonl|ndjson|xml|rss|xlsx?|parquet|gz|zst|bz2))+$", re.I
)
_SAID = "Said by you."
_FRAME = "the "  # begins the name of a table without one
_NAMELESS = (
    "every frame gets this name unless you say link_set=; rows of another one with the same keys "
    "would replace these links."
)
SHOP_EXAMPLE = "https://www.your-shop.com"
_GOES_TO = ("link.retailer", "link.intent", "link.custom_url", "link.products", "link.options")
# Without these there is no link.
_NEEDED = (
    *("unique_key", "where", "link.name", "link.retailer", "link.intent", "link.custom_url"),
    "link.products.retailer_product_id",
)
# The order in which a mapping is read.
_ORDER = (
    *("read", "link_set", "unique_key", "where", "first_of_key", "link.name", "link.retailer"),
    *("link.intent", "link.products", "link.custom_url", "link.fallback_url", "link.location"),
    *(
        "link.options",
        "link.tracking",
        "link.metadata",
        "priority",
        "pinned",
        "on_too_long",
        "accept",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A mapping that fits a table, and why.

    Attributes:
        title: what the table is called.
        rows: rows that were looked at, those that don't count among them.
        schema: its columns.
        preset: the platform that wrote it, if that is known.
        findings: each guess with its reason.
    """

    title: str
    rows: int
    schema: pa.Schema
    preset: Preset | None
    findings: tuple[Finding, ...]

    @property
    def yaml(self) -> str:
        """The mapping as YAML, with a comment on each guess."""
        told = f", {self.preset.title}" if self.preset else ""
        head = [
            f"Mapping of {self.title}: {counted(self.rows, 'row')}, "
            f"{counted(len(self.schema), 'column')}{told}.",
            "Each guess has its reason. A link can't be deleted or changed: read them before links "
            "are made.",
        ]
        return yaml_text(head, self.findings)

    @property
    def mapping(self) -> Mapping:
        """The mapping, as `plan_links` takes it."""
        return load_mapping(content_of(self.findings))

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """What a person has to look at before links are made."""
        return tuple(one for one in self.findings if one.doubt)

    def finding(self, field: str) -> Finding | None:
        """Return the guess about a field, None where there is none."""
        return next((one for one in self.findings if one.field == field), None)

    def answered(self, answers: Answers) -> Suggestion:
        """Return the suggestion with what a person said in place of guesses.

        Raises:
            MappingError: that doesn't fit the table.
        """
        findings = list(self.findings)
        if answers.link_set is not None:
            findings = _instead(findings, _link_set(answers.link_set, _SAID))
        if answers.unique_key:
            key = Finding(
                field="unique_key", value=list(answers.unique_key), why=f"{LASTING} {_SAID}"
            )
            findings = _instead(findings, key)
        if answers.page is not None:
            findings = [one for one in findings if not one.field.startswith(_GOES_TO)]
            findings += page_findings(answers.page, self.preset, _SAID)
        made = dataclasses.replace(self, findings=in_order(findings))
        # What was guessed and doesn't fit is a doubt; that it isn't said twice.
        guessed = {str(error) for error in self.mapping.misfits(self.schema)}
        for error in made.mapping.misfits(made.schema):
            if str(error) not in guessed:
                raise error
        return made

    def save(self, path: str | Path) -> None:
        """Write the YAML to a file, over whatever is there.

        Raises:
            PublishError: it can't be written.
        """
        write_file(Path(path), self.yaml)


def preset_text(preset: Preset) -> str:
    """Return what `preset: NAME` in a mapping stands for, as YAML."""
    link = {f"link.{name}": value for name, value in preset.fields(SHOP_EXAMPLE).items()}
    fields = preset.content(SHOP_EXAMPLE) | link
    del fields["link"]
    shop = [f"with shop: {SHOP_EXAMPLE}"] if preset.needs_shop else []
    head = [" ".join(["preset:", preset.name, *shop, "stands for this,", f"for {preset.title}."])]
    head.append("What a mapping says beside it wins.")
    findings = [Finding(field=field, value=value, why="") for field, value in fields.items()]
    return yaml_text(head, findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order in which a mapping is read."""
    return tuple(sorted(findings, key=_place))


def _instead(findings: Sequence[Finding], one: Finding) -> list[Finding]:
    return [*(other for other in findings if other.field != one.field), one]


def suggestion_for(
    catalog: Catalog, preset: Preset | None = None, extra: Sequence[Finding] = ()
) -> Suggestion:
    """Look at a table and return the mapping that fits it.

    The looks of columns are told from the first 20,000 rows; that a key is in every row, and what
    rows share it, is counted over all of them.

    Args:
        catalog: any table.
        preset: the platform that wrote it; by default told from the header.
        extra: findings about the table's form, which go into the mapping too.

    Raises:
        CatalogError: the table can't be read, or has no rows or columns to look at.
    """
    look = look_at(catalog, preset)
    title = PurePosixPath(catalog.name).name or catalog.name
    to = destination_of(look.profile, look.preset, title)
    fields = list(_fields(look.profile, look.preset, to))
    key, rows = _key(look, to, fields)
    nameless = _NAMELESS if title.startswith(_FRAME) else None
    named = _link_set(_slug(title), doubt=nameless)
    guesses = [*extra, named, *key, *_rows(look), *fields]
    findings = _with_misfits(guesses, catalog.schema)
    return Suggestion(
        title=title,
        rows=rows,
        schema=catalog.schema,
        preset=look.preset,
        findings=in_order(findings),
    )


def _with_misfits(findings: Sequence[Finding], schema: pa.Schema) -> list[Finding]:
    """Tell of guesses at columns whose type doesn't fit; only what a link needs stays a guess."""
    wrong = list(load_mapping(content_of(findings)).misfits(schema))
    return [_with_misfit(one, wrong) for one in findings]


def _with_misfit(one: Finding, wrong: Sequence[MappingError]) -> Finding:
    told = next((error for error in wrong if error.path and one.is_of(error.path)), None)
    if told is None or one.is_offer:
        return one
    said = told.message.removeprefix(f"{told.path}: ")
    doubt = " ".join(filter(None, [said, told.fix, one.doubt]))
    return dataclasses.replace(one, doubt=doubt, is_offer=not one.field.startswith(_NEEDED))


def _fields(profile: Profile, preset: Preset | None, to: Destination) -> Iterator[Finding]:
    name = name_of(profile, preset)
    intent = next(one.value for one in to.findings if one.field == "link.intent")
    found = [name, *to.findings, *other_fields(profile, intent)]
    yield from found
    yield from at_the_top(profile)
    yield from too_long(profile, name)
    for one in to.findings:
        if one.field == "link.products.retailer_product_id":
            yield from accepted_ids(profile, one)
    if not any(one.field.startswith("link.metadata") for one in found):
        yield from offers(profile, columns_in(found, [c.name for c in profile.columns]))


def _rows(look: Look) -> Iterator[Finding]:
    if look.conditions:
        yield Finding(
            field="where",
            value=where_of(look.conditions),
            why="Rows that are a product which shoppers can see; the others get no link.",
        )


def _key(look: Look, to: Destination, fields: Sequence[Finding]) -> tuple[list[Finding], int]:
    """Return the findings about the key, and the number of all rows."""
    names = [column.name for column in look.profile.columns]
    page = _address_column(fields)
    label = next(one.value for one in fields if one.field == "link.name")
    name = str(label["column"]) if isinstance(label, dict) else None
    target, item = to.target or (None, None)
    content = Content(columns=tuple(columns_in(fields, names)), target=target, item=item)
    candidates = key_candidates(look.profile, look.preset, page, name)
    counts, rows = look.counts(candidates, content)
    key = key_finding(look.profile, counts, page, name, first_counts=look.first_counts)
    shared = [one for one in counts.keys if list(one.columns) == key.value and _is_shared(one)]
    if not (shared and look.first_counts):
        return [key], rows
    first = Finding(
        field="first_of_key",
        value=True,
        why="Variants and pictures have rows of their own; a product is the first of its rows.",
    )
    return [key, first], rows


def _is_shared(key: KeyCount) -> bool:
    return key.distinct < key.filled


def _address_column(findings: Sequence[Finding]) -> str | None:
    """Return the column that a link's address or its item's id is read from as a whole."""
    for field in ("link.custom_url", "link.products.retailer_product_id"):
        source = next((one.value for one in findings if one.field == field), None)
        if isinstance(source, dict) and (field == "link.custom_url" or "extract" in source):
            return str(source["column"])
    return None


def _slug(title: str) -> str:
    stem = _ENDINGS.sub("", title).removeprefix(_FRAME)
    return re.sub(r"[^0-9a-z]+", "-", stem.lower()).strip("-") or "products"


def _link_set(name: str, more: str = "", doubt: str | None = None) -> Finding:
    why = f"Names this family of links. Renaming it makes every link anew. {more}"
    return Finding(field="link_set", value=name, why=why, doubt=doubt)


def _place(finding: Finding) -> tuple[int, int]:
    places = [
        (place, len(name))
        for place, name in enumerate(_ORDER)
        if finding.field == name or finding.field.startswith(f"{name}.")
    ]
    return (places[0][0] if places else len(_ORDER), int(finding.is_offer))
