"""Presets: what each stands for, and that a mapping's own words win."""

from __future__ import annotations

import pytest

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import PRESETS, Condition, Preset, load_mapping
from incarts_pipeline.mapping.where import Compared, Inverted, parse_where

SHOP = "https://www.oakhollow.example"
NAMES = [preset.name for preset in PRESETS]


def mapping(preset: Preset, **more: object) -> dict[str, object]:
    """Return a mapping that is little more than a preset."""
    shop = {"shop": SHOP} if preset.needs_shop else {}
    return {"link_set": "test", "preset": preset.name, **shop, **more}


def test_presets_have_names_of_their_own() -> None:
    """No two are called the same, and none needs quotes in YAML."""
    assert len(set(NAMES)) == len(NAMES)
    assert all(name.replace("_", "").isalnum() for name in NAMES)


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_a_preset_is_the_mapping_that_it_stands_for(preset: Preset) -> None:
    """A name in place of the fields makes the same mapping as the fields."""
    content = preset.content(SHOP)
    assert load_mapping(mapping(preset)) == load_mapping({"link_set": "test", **content})


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_a_preset_reads_columns_of_its_own_export(preset: Preset) -> None:
    """The key is among the columns that tell the platform, so it isn't missing."""
    read = load_mapping(mapping(preset)).columns()
    assert preset.unique_key in preset.signs
    assert {preset.unique_key, preset.label} <= set(read)


def test_what_the_mapping_says_wins() -> None:
    """Field by field: the rest stays the preset's."""
    [shopify] = [preset for preset in PRESETS if preset.name == "shopify"]
    made = load_mapping(
        mapping(shopify, unique_key=["Variant SKU"], link={"name": "{Vendor} {Title}"})
    )
    assert made.unique_key == ["Variant SKU"]
    assert made.link is not None
    plain = load_mapping(mapping(shopify)).link
    assert plain is not None
    assert made.link.custom_url == plain.custom_url
    assert made.link.name != plain.name


def test_entries_take_the_place_of_the_preset_s_link() -> None:
    """A wide table keeps a preset's key and choice of rows, and its own links."""
    [google] = [preset for preset in PRESETS if preset.name == "google_merchant"]
    entry = {
        "name": {"column": "title"},
        "retailer": "custom",
        "intent": "custom_url",
        "custom_url": {"column": "mobile_link"},
    }
    made = load_mapping(mapping(google, links={"mobile": entry}))
    assert made.link_sets() == ["test/mobile"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"preset": "shopfiy"}, 'Did you mean "shopify"?'),
        ({"preset": ["shopify"]}, "there is no preset"),
        ({"preset": "shopify"}, "shop: the preset shopify needs your shop's address"),
        ({"preset": "shopify", "shop": "oakhollow.example"}, "needs your shop's address"),
        ({"preset": "google_merchant", "shop": SHOP}, "Take it out"),
        ({"shop": SHOP}, "goes with a preset"),
    ],
    ids=str,
)
def test_a_preset_that_can_t_be_meant_is_refused(more: dict[str, object], said: str) -> None:
    """Unknown names, and a shop's address that is missing or superfluous, are told."""
    with pytest.raises(MappingError) as caught:
        load_mapping({"link_set": "test", **more})
    assert said in f"{caught.value.message} {caught.value.fix}"


def test_a_shop_with_a_slash_or_braces_is_taken_as_it_is() -> None:
    """The address ends before the path, and nothing in it is a column."""
    [shopify] = [preset for preset in PRESETS if preset.name == "shopify"]
    fields = shopify.fields("https://a.example/{shop}/")
    assert fields["custom_url"] == "https://a.example/{{shop}}/products/{Handle}"


@pytest.mark.parametrize("column", ["Published", "in", "Item type", 'a"b', 'a`b"c', "Größe", "1st"])
def test_conditions_name_any_column(column: str) -> None:
    """Names and values with quotes, spaces or words of the language stay names and values."""
    where = parse_where(Condition(column=column, values=("it's", "x"), excluded=True).sql())
    compared = Compared(column=column, sign="IN", values=("it's", "x"))
    assert where.condition == Inverted(of=compared)
