"""Patterns of changes: each form is proposed, said in words, and counted in SQL as it is meant."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.outgoing import keep_secret
from incarts_pipeline.plan.patterns import Form, Pair, Pattern, proposals

TEXT = st.none() | st.text(alphabet="ab1/-. é", max_size=5)


def commonest(pairs: list[Pair]) -> str:
    """Return the pattern that most pairs have, with their number, as a plan chooses it."""
    counts = [(len(fitting(pattern, pairs)), pattern) for pattern in proposals(pairs)]
    n, pattern = max(counts, key=lambda one: one[0])
    return f"{n}: {pattern}"


def fitting(pattern: Pattern, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs that a pattern's condition finds."""
    with duckdb.connect() as db:
        db.execute("CREATE TABLE pair (old VARCHAR, new VARCHAR)")
        db.executemany("INSERT INTO pair VALUES (?, ?)", pairs)
        query = f"SELECT old, new FROM pair WHERE {pattern.form.value}"
        return db.execute(query, pattern.parameters()).fetchall()


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("7", "8"), ("199", "200"), ("x", "y")], "2: +1"),
        ([("1200", "200"), ("9300", "8300"), ("5", "5.5")], "2: -1,000"),
        ([("spring", "summer"), ("spring", "summer"), ("a", "b")], "2: spring → summer"),
        ([("a", "mail"), ("b", "mail")], "2: becomes mail"),
        ([(None, "a"), (None, "b")], "2: added"),
        ([("a", None), ("b", None)], "2: taken away"),
        ([("16554531", "96554531"), ("17", "97")], '2: begins with "9", not "1"'),
        ([("55", "0055"), ("71", "0071")], '2: "00" put before'),
        ([("0055", "55"), ("0071", "71")], '2: "00" taken from the beginning'),
        ([("/p/a", "/p/a.html"), ("/p/b", "/p/b.html")], '2: ".html" put behind'),
        ([("http://a.x", "https://a.x"), ("http://b", "https://b")],
         '2: begins with "https", not "http"'),
        ([("/a?c=spring&x=1", "/a?c=summer&x=1"), ("/b?c=spring&x=2", "/b?c=summer&x=2")],
         '2: "spring" → "summer" inside'),
    ],
)  # fmt: skip
def test_the_commonest_pattern_is_said_in_words(pairs: list[Pair], told: str) -> None:
    """Steps, the same change, prefixes and suffixes, whole words inside of a text."""
    assert commonest(pairs) == told


@pytest.mark.slow
@given(TEXT, TEXT)
def test_each_proposal_holds_for_the_change_that_it_is_made_from(
    old: str | None, new: str | None
) -> None:
    """Whatever is proposed, SQL finds it in the very change; nothing is proposed of one alone."""
    if old == new:
        return
    assert proposals([(old, new)]) == []
    for pattern in proposals([(old, new), (old, new)]):
        assert fitting(pattern, [(old, new)]), pattern


def test_no_pattern_shows_half_of_a_secret() -> None:
    """Of values with a secret, nothing is taken that a screen could not tell is one."""
    keep_secret("hunter2-hunter2-hunter2")
    pairs: list[Pair] = [(f"{n}", f"{n}hunter2-hunter2-hunter2") for n in range(3)]
    assert {pattern.form for pattern in proposals(pairs)} <= {Form.SAME, Form.BECOMES}
