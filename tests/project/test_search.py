"""The documentation's search: what somebody types in trouble finds the page that helps, first."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

import pytest

from tests.project.test_site import site

__all__ = ["site"]

TITLE = 1000  # how much more than in the text a word counts in a title, as in the theme's search


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of a page, as the index has it."""

    location: str
    title: str
    text: str


@cache
def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)]
    return word


def words(text: str) -> Counter[str]:
    """Return a text's words without markup and endings."""
    return Counter(
        _stem(one) for one in re.findall(r"[a-z0-9]+", re.sub("<[^>]+>", " ", text.lower()))
    )


def first(sections: list[Section], query: str) -> str:
    """Return the location of the best section: BM25 over titles and texts, with all the words."""
    fields = [(words(one.title), words(one.text)) for one in sections]
    wanted = list(words(query))
    mean = [sum(sum(pair[at].values()) for pair in fields) / len(fields) for at in (0, 1)]

    def score(pair: tuple[Counter[str], Counter[str]]) -> float:
        if any(word not in pair[0] and word not in pair[1] for word in wanted):
            return 0.0
        total = 0.0
        for at, boost in ((0, TITLE), (1, 1)):
            long = 1.2 * (0.25 + 0.75 * sum(pair[at].values()) / mean[at])
            for word in wanted:
                having = sum(word in other[at] for other in fields)
                rare = math.log(1 + (len(fields) - having + 0.5) / (having + 0.5))
                count = pair[at][word]
                total += boost * rare * count * 2.2 / (count + long)
        return total

    best = max(range(len(fields)), key=lambda at: score(fields[at]))
    return sections[best].location


@pytest.fixture(scope="module")
def sections(site) -> list[Section]:  # type: ignore[no-untyped-def]
    """All sections of the index that mkdocs built."""
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    return [Section(**{name: one[name] for name in Section.__slots__}) for one in found["docs"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("ledger lost", "troubleshooting.html#ledger-lost"),
        ("lost ledger", "troubleshooting.html#ledger-lost"),
        ("key revoked", "troubleshooting.html#key-revoked"),
        ("api down", "troubleshooting.html#api-down"),
        ("disk full", "troubleshooting.html#disk-full"),
        ("process killed", "troubleshooting.html#process-killed"),
        ("too many requests", "troubleshooting.html#too-many-requests-429"),
        ("wrong links made", "troubleshooting.html#wrong-links-made"),
        ("dagster schedule", "dagster.html"),
        ("quickstart", "notebooks/01_quickstart.html"),
        ("opentelemetry", "observability.html"),
        ("extras", "install.html"),
    ],
)
def test_search_finds_the_right_page_first(sections: list[Section], query: str, page: str) -> None:
    """The words that people type, in whichever order, lead to what to do."""
    assert first(sections, query).startswith(page)
