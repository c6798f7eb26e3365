"""Mappings: read from YAML or dicts, and refused with the place and the fix."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import default_mapping, load_mapping
from incarts_pipeline.mapping.expressions import Column, Constant, Template
from incarts_pipeline.mapping.yaml import load_yaml
from incarts_pipeline.models import Policy

YAML = r"""
link_set: nightly-walmart
unique_key: [sku, Product ID]
link:
  name: "{brand} {Product ID} {{new}}"
  retailer: walmart
  intent: add_to_cart
  products:
    retailer_product_id: {column: item_url, extract: '/(\d+)(?:\?|$)'}
    quantity: {column: qty, default: 1}
    backup_product_ids: {column: alternates, split: ","}
  location: {zip_code: {column: zip}}
  tracking: {utm: {source: newsletter}, tags: [a, b]}
  metadata: {season: 2026-01, chapter: 007, active: yes, column: {column: note}}
priority: {column: margin}
on_change: {label: hold}
"""


def refused(content: object) -> MappingError:
    with pytest.raises(MappingError) as caught:
        load_mapping(content)  # type: ignore[arg-type]
    return caught.value


def minimal(**more: object) -> dict[str, Any]:
    link = {"name": {"column": "name"}, "retailer": "a", "intent": "custom_url"}
    return {
        "link_set": "set",
        "unique_key": ["sku"],
        "link": {**link, "custom_url": {"column": "url"}, **more},
    }


def test_yaml_is_read() -> None:
    """Constants, columns and templates are told apart; plain values stay what was written."""
    mapping = load_mapping(YAML)
    assert mapping.link is not None
    assert mapping.link.name == Template(
        template="{brand} {Product ID} {{new}}",
        columns=("brand", "Product ID"),
        literals=("", " ", " {new}"),
    )
    assert mapping.link.products is not None
    assert mapping.link.products.quantity == Column(column="qty", default=1)
    metadata = dict(mapping.link.metadata.members)  # type: ignore[union-attr]
    assert metadata["season"] == Constant(value="2026-01")
    assert metadata["chapter"] == Constant(value="007")
    assert metadata["active"] == Constant(value="yes")
    assert metadata["column"] == Column(column="note")
    assert mapping.on_change.as_policies() == {
        "destination": Policy.REPLACE,
        "tracking": Policy.REPLACE,
        "label": Policy.HOLD,
    }
    assert mapping.columns()[:4] == ["sku", "Product ID", "brand", "item_url"]


def test_files_dicts_and_mappings_are_read(tmp_path: Path) -> None:
    """A mapping is the same wherever it comes from."""
    path = tmp_path / "mapping.yaml"
    path.write_text(YAML, "utf-8")
    mapping = load_mapping(path)
    assert load_mapping(str(path)) == load_mapping(YAML) == load_mapping(mapping) == mapping


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        (minimal(produkts={}), "link.produkts", 'Did you mean "products"?'),
        (minimal(tracking={"utm": {"sorce": "x"}}), "link.tracking.utm.sorce", '"source"?'),
        (minimal(public_name={"colum": "x"}), "link.public_name", 'Did you mean "column"?'),
        (minimal(public_name={"column": "x", "defalt": 1}), "link.public_name", '"default"?'),
        (minimal(public_name="{a"), "link.public_name", "without a column's name"),
        (minimal(public_name="a}"), "link.public_name", "without {"),
        (minimal(public_name={"column": "a", "extract": "(a)(b)"}), "link.public_name", "2 groups"),
        (minimal(public_name={"column": "a", "extract": "(?=a)"}), "link.public_name", "of RE2"),
        (minimal(basket=True), "link", "basket: needs products"),
        ({**minimal(), "on_change": {"label": "replce"}}, "on_change.label", "'replace', 'hold'"),
        ({**minimal(), "links": {"a": minimal()["link"]}}, None, "either link"),
        ({"link_set": "a", "link": minimal()["link"]}, "unique_key", "is required"),
        ({**minimal(), "unique_key": ["a", "a"]}, None, "twice"),
        ({"link_set": "a", "unique_key": "b", "links": {"x": {"nam": "y"}}}, None, '"name"?'),
    ],
)
def test_mistakes_name_the_place_and_the_fix(
    content: dict[str, Any], path: str | None, message: str
) -> None:
    """Unknown keys, broken templates and expressions say where they are and what was meant."""
    error = refused(content)
    assert message in str(error)
    assert path is None or error.path == path


def test_a_key_given_twice_is_refused() -> None:
    """YAML would silently keep the last one."""
    error = refused("link_set: a\nlink_set: b\n")
    assert "given twice, in lines 1 and 2" in str(error)


def test_text_that_is_no_mapping_is_refused() -> None:
    """Broken YAML and a list each have their message."""
    assert "not valid YAML" in str(refused("a: [\n"))
    assert "Indent with spaces" in str(refused("a:\n\tb: 1\n"))
    assert "object with link_set" in str(refused("- a\n- b\n"))


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    """The message has the whole path, and a file of a similar name if there is one."""
    missing = tmp_path / "maping.yaml"
    assert refused(str(missing)).message == f"There is no mapping file {missing}."
    (tmp_path / "mapping.yaml").touch()
    meant = f'There is no mapping file {missing}. Did you mean "mapping.yaml"?'
    assert refused(str(missing)).message == meant
    assert str(Path.cwd() / "no-such-file.yaml") in str(refused("no-such-file.yaml"))
    assert "no-folder" in str(refused("no-folder/mapping.yaml"))


@pytest.mark.parametrize("name", ["Printed?", "Size [oz]", "Price: net", "%", "*", "Item #"])
def test_yaml_without_quotes_says_how_to_quote(name: str) -> None:
    """Names of a spreadsheet's columns have characters that mean something in YAML."""
    assert 'like {column: "Printed?"}.' in str(refused(f"pinned: {{column: {name}}}\n"))
    assert load_yaml(f'pinned: {{column: "{name}"}}\n') == {"pinned": {"column": name}}


def test_broken_yaml_names_its_file(tmp_path: Path) -> None:
    """The place in the message is the file's, by its name."""
    file = tmp_path / "broken.yaml"
    file.write_text("a: [\n", encoding="utf-8")
    said = str(refused(str(file)))
    assert f'in "{file}", line' in said
    assert "<unicode string>" not in said + str(refused("a: [\n"))


def test_all_columns_that_are_missing_are_named() -> None:
    """Whoever corrects a mapping wants to know all that is wrong with it."""
    schema = pa.schema({"sku": pa.string(), "nmae": pa.string()})
    with pytest.raises(MappingError) as caught:
        load_mapping(minimal()).check(schema)
    said = str(caught.value)
    assert 'link.name: the catalog has no column "name". Did you mean "nmae"?' in said
    assert 'no column "url"' in said
    assert caught.value.path == "link.name"


def test_the_catalog_must_have_the_columns() -> None:
    """An unknown column is named with its field and the nearest one."""
    schema = pa.schema({"sku": pa.string(), "nmae": pa.string(), "url": pa.string()})
    with pytest.raises(MappingError, match=r'no column "name".*Did you mean "nmae"') as caught:
        load_mapping(minimal()).check(schema)
    assert caught.value.path == "link.name"


def test_a_column_that_is_there_twice_is_refused() -> None:
    """Which of the two was meant can't be known."""
    schema = pa.schema([("sku", pa.string())] * 2 + [("name", pa.string()), ("url", pa.string())])
    with pytest.raises(MappingError, match='2 columns named "sku"'):
        load_mapping(minimal()).check(schema)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"products": {"retailer_product_id": {"column": "x"}}}, pa.float64(), "dtype=str"),
        ({"location": {"zip_code": {"column": "x"}}}, pa.float64(), "dtype=str"),
        ({"public_name": {"column": "x"}}, pa.binary(), "no text form"),
        ({"public_name": {"column": "x", "split": ","}}, pa.string(), "split:"),
        ({"public_name": {"column": "x", "extract": "a"}}, pa.int64(), "reads text only"),
        ({"metadata": {"column": "x"}}, pa.int64(), "an object is needed"),
        ({"metadata": {"m": {"column": "x"}}}, pa.struct({"a": pa.binary()}), "no text form"),
        (
            {"tracking": {"tags": {"column": "x", "split": ","}}},
            pa.list_(pa.string()),
            "list already",
        ),
    ],
)
def test_the_columns_types_must_fit(
    fields: dict[str, Any], kind: pa.DataType, message: str
) -> None:
    """A type that would spoil the field is refused before the first row, with the fix."""
    schema = pa.schema({"sku": pa.string(), "name": pa.string(), "url": pa.string(), "x": kind})
    with pytest.raises(MappingError, match=message):
        load_mapping(minimal(**fields)).check(schema)


def test_wide_tables_have_a_link_set_per_entry() -> None:
    """Each entry of links is a set of its own under the base."""
    link = minimal()["link"]
    mapping = load_mapping({"link_set": "n", "unique_key": "sku", "links": {"a": link, "b": link}})
    assert mapping.link_sets() == ["n/a", "n/b"]


def test_own_names_need_no_mapping() -> None:
    """Columns called as the fields are mapped by themselves, others are left alone."""
    text, names = pa.string(), ["sku", "name", "retailer", "intent", "retailer_product_id", "color"]
    kinds = {"backup_product_ids": pa.list_(text), "tags": text, "utm_term": text, "zip_code": text}
    schema = pa.schema({**dict.fromkeys(names, text), **kinds, "metadata": text, "priority": text})
    mapping = default_mapping(schema, unique_key=["sku"], link_set="set")
    found = {path: node for path, _, node in mapping.sources()}
    assert "color" not in mapping.columns()
    assert found["link.products.backup_product_ids"] == Column(column="backup_product_ids")
    assert found["link.tracking.tags"] == Column(column="tags", split=",")
    assert found["link.tracking.utm.term"] == Column(column="utm_term")
    assert found["link.metadata"] == Column(column="metadata")
    assert found["priority"] == Column(column="priority")


def test_own_names_need_the_required_ones() -> None:
    """Without a required column the catalog isn't one that needs no mapping."""
    schema = pa.schema({"sku": pa.string(), "name": pa.string(), "retailer": pa.string()})
    with pytest.raises(MappingError, match='no column "intent"'):
        default_mapping(schema, unique_key=["sku"], link_set="set")
