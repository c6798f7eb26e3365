"""Card of a suggested mapping: what it says, and that nothing in it is markup."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings, strategies as st

from incarts_pipeline.display import suggestion_card
from incarts_pipeline.suggest import Finding, Suggestion
from tests.support.parsed_html import TEXTS, parsed

FINDING = st.builds(
    Finding,
    field=TEXTS,
    value=TEXTS | st.dictionaries(TEXTS, TEXTS, max_size=2) | st.lists(TEXTS, max_size=2),
    why=TEXTS,
    others=st.lists(TEXTS | st.lists(TEXTS, max_size=2), max_size=2).map(tuple),
    doubt=st.none() | TEXTS,
    is_offer=st.booleans(),
)


def suggestion(title: str, *findings: Finding) -> Suggestion:
    return Suggestion(title=title, rows=1200, schema=pa.schema([]), preset=None, findings=findings)


@settings(max_examples=60)
@given(TEXTS, st.lists(FINDING, max_size=3))
def test_card_escapes_everything(title: str, findings: list[Finding]) -> None:
    """Names of files and columns, values and reasons are text."""
    parsed(suggestion_card(suggestion(title, *findings))).check()


def test_doubts_come_first() -> None:
    """What a person has to look at stands above the table, and is counted."""
    key = Finding(field="unique_key", value=["sku"], why="Unique.", doubt="is it lasting?")
    seen = parsed(suggestion_card(suggestion("a.csv", key))).text
    assert seen.index("1 thing to look at first") < seen.index("Unique.")
    assert "1,200" in seen


def test_a_card_without_doubts_says_so() -> None:
    """Also what is offered, and not used, is shown."""
    offer = Finding(
        field="link.metadata", value={"brand": "b"}, why="Also in the table.", is_offer=True
    )
    seen = parsed(suggestion_card(suggestion("a.csv", offer))).text
    assert "Nothing speaks against" in seen
    assert "Also in the table." in seen
