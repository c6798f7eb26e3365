"""The mapping reference names every key with its default, and its examples are what it says."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import default
from incarts_pipeline.mapping.mapping import LinkMapping, Mapping, load_mapping
from incarts_pipeline.mapping.yaml import load_yaml
from incarts_pipeline.models import Intent, Limits
from incarts_pipeline.prepare.prepare import prepare
from incarts_pipeline.prepare.rules import NEEDS, RETAILERS
from incarts_pipeline.settings import load_settings
from tests.support.pages import Block, blocks_of, codes_in, rows_of, section

PAGE = "mapping.md"
BASE = {
    "link_set": "test",
    "unique_key": ["sku"],
    "link": {
        "name": "{brand} {title}",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "item_id"}},
    },
}
CATALOG = pa.table(
    {
        "sku": ["0012"],
        "basket": ["B-1"],
        "brand": ["Acme"],
        "title": ["Oats"],
        "item_id": ["500123"],
        "item_url": ["https://www.walmart.com/ip/500123?x=1"],
        "qty": [2],
        "alternates": ["500124,500125"],
        "zip": ["02134"],
        "store": ["7"],
        "aisle": [3],
        "url": ["https://www.oakhollow.example/p/0012"],
        "campaign": ["spring"],
        "tags": ["a|b"],
        "list_json": ['{"title": "Weekend", "line_items": [{"name": "oats"}]}'],
        "items": [[{"name": "oats", "quantity": 1}]],
        "margin": [0.3],
        "price": [1.99],
        "printed": [True],
    }
)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with changes; sections are merged, sources and lists replaced."""
    whole = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(whole.get(name), dict)
        whole[name] = merged(whole[name], value) if both and "column" not in value else value
    return whole


def whole(block: Block) -> dict[str, Any]:
    """Return the mapping that an example is, or is a part of."""
    content: Any = load_yaml(block.text)
    if block.title == "mapping.yaml":
        return dict(content)
    changes = {"link": content} if block.title.endswith("in link") else content
    return merged(BASE, changes)


def examples(*, refused: bool) -> list[Block]:
    """Return the page's YAML, either what works or what is refused."""
    yaml = [block for block in blocks_of(PAGE) if block.language == "yaml"]
    return [block for block in yaml if block.title.startswith("refused") is refused]


def prepared(block: Block) -> list[dict[str, Any]]:
    """Return the link requests that an example makes of the catalog."""
    batches = prepare(
        CATALOG.to_batches(),
        load_mapping(whole(block)),
        schema=CATALOG.schema,
        project_id="demo",
        limits=Limits(),
    )
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("block", examples(refused=False), ids=lambda block: block.text[:30])
def test_examples_make_links(block: Block) -> None:
    """Each example turns a row of the right catalog into a link without a problem."""
    rows = prepared(block)
    assert rows
    assert [row["problems"] for row in rows if row["body"] is None] == []


def refusals() -> Iterator[tuple[Block, str]]:
    """Yield each refused example with the message that the page gives for it."""
    found = blocks_of(PAGE)
    for at, block in enumerate(found):
        if block.title.startswith("refused"):
            assert found[at + 1].language == "text"
            yield block, found[at + 1].text.strip()


@pytest.mark.parametrize(("block", "message"), list(refusals()), ids=lambda value: str(value)[:20])
def test_refusals_are_word_for_word(block: Block, message: str) -> None:
    """Each example of a mistake is refused with the message below it."""
    with pytest.raises(MappingError) as caught:
        prepared(block)
    said = str(caught.value).replace(f" Its columns are {', '.join(CATALOG.schema.names)}.", "")
    assert said == message


def inner(annotation: Any) -> type[BaseModel] | None:
    """Return the model behind an annotation, looking past None."""
    if isinstance(annotation, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def keys_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each leaf key of a model: its dotted path and its field."""
    for name, field in model.model_fields.items():
        below = None if model is Mapping and name == "link" else inner(field.annotation)
        if below is None:
            yield f"{path}{name}", field
        else:
            yield from keys_of(below, f"{path}{name}.")


@pytest.mark.parametrize(
    ("heading", "model"), [("Keys at the top", Mapping), ("Keys of a link", LinkMapping)]
)
def test_every_key_is_there_with_its_default(heading: str, model: type[BaseModel]) -> None:
    """The tables have exactly the model's keys; enums and flags show their own default."""
    text = section(PAGE, heading).split("\n### ")[0]
    shown = {codes_in(key)[0]: default for key, _, default, _ in rows_of(text)}
    fields = dict(keys_of(model))
    assert sorted(shown) == sorted(fields)
    for key, field in fields.items():
        if field.default is PydanticUndefined:
            assert shown[key].startswith("required"), key
        elif isinstance(field.default, bool):
            assert shown[key] == str(field.default).lower(), key
        elif field.default not in (None, ()):
            assert codes_in(shown[key]) == [str(field.default)], key


def test_intents_are_the_rules() -> None:
    """The table of intents says what the rules say."""
    rows = rows_of(section(PAGE, "Intents and what they need"))
    named = {
        codes_in(intent)[0]: (retailer.strip("`"), codes_in(needs)[0])
        for intent, retailer, needs, _ in rows
    }
    assert named == {
        intent.value: (RETAILERS.get(intent, "any"), NEEDS[intent]) for intent in Intent
    }


def test_columns_without_mapping_are_the_known_ones() -> None:
    """The names that need no mapping are all there, and no other."""
    rows = rows_of(section(PAGE, "Without a mapping"))
    named = [name for columns, _ in rows for name in codes_in(columns)]
    assert sorted(named) == sorted(default._OWN_NAMES)


def test_bounds_are_the_limits(tmp_path: Path) -> None:
    """The table of bounds has the defaults, and its example is a settings file."""
    rows = rows_of(section(PAGE, "Bounds"))
    assert {codes_in(name)[0]: int(default) for name, default, _ in rows} == asdict(Limits())
    [example] = [block for block in blocks_of(PAGE) if block.language == "toml"]
    file = tmp_path / example.title
    file.write_text(example.text, encoding="utf-8")
    assert load_settings(file=file).limits == Limits(max_products=50, max_url_characters=4096)


def test_python_example_runs() -> None:
    """The Python example does what it asserts."""
    [example] = [block for block in blocks_of(PAGE) if block.language == "python"]
    exec(example.text, {})
