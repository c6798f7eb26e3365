"""Text of a suggested mapping: what it says is read back as it was meant."""

from __future__ import annotations

from hypothesis import given, strategies as st

from incarts_pipeline.mapping.yaml import load_yaml
from incarts_pipeline.suggest import Finding, flow
from incarts_pipeline.suggest.findings import content_of
from incarts_pipeline.suggest.yaml_text import yaml_text

WHOLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    WHOLE | st.booleans() | st.integers(0, 9999),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WHOLE, inner, max_size=3),
    max_leaves=5,
)


@given(VALUES)
def test_a_value_is_read_back(value: object) -> None:
    """Whatever a column is called, YAML and our reader take it for that."""
    assert load_yaml(f"key: {flow(value)}") == {"key": value}


@given(WHOLE, WHOLE, WHOLE, WHOLE)
def test_comments_stay_comments(head: str, why: str, other: str, name: str) -> None:
    """No name of a file or column ends a comment: what counts is what was found."""
    findings = [
        Finding(field="unique_key", value=[name], why=why, others=(other, [other]), doubt=head),
        Finding(field="link.name", value={"column": name}, why=why),
        Finding(field="link.tracking.utm.campaign", value={"column": name}, why=why),
        Finding(field="link.metadata", value={"brand": name}, why=why, is_offer=True),
    ]
    assert load_yaml(yaml_text([head, why], findings)) == content_of(findings)


def test_an_object_of_offers_alone_is_no_key() -> None:
    """What is only offered adds nothing, also where all of an object is."""
    offer = Finding(field="link.metadata.brand", value={"column": "b"}, why="", is_offer=True)
    name = Finding(field="link_set", value="mugs", why="")
    assert load_yaml(yaml_text([], [name, offer])) == {"link_set": "mugs"}


def test_each_guess_stands_below_its_reason() -> None:
    """The reason, what else it could be and what to look at are above the line they are about."""
    key = Finding(
        field="unique_key", value=["sku"], why="Unique.", others=(["upc"],), doubt="is it lasting?"
    )
    assert yaml_text(["Mapping."], [key]).splitlines() == [
        "# Mapping.",
        "",
        "# Unique.",
        "# It could also be [upc].",
        "# LOOK AT THIS: is it lasting?",
        "unique_key: [sku]",
    ]
