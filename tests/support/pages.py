"""The documentation's pages as data: fenced blocks with their titles, and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.paths import DOCS

_FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block; `title` is empty when it has none."""

    language: str
    title: str
    text: str


def page(name: str) -> str:
    """Return a page's text."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks_of(name: str) -> list[Block]:
    """Return a page's fenced blocks in their order."""
    return [
        Block(language=language, title=title, text=text)
        for language, title, text in _FENCE.findall(page(name))
    ]


def section(name: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    text = page(name)
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    if found is None:
        raise AssertionError(f"{name} has no heading {heading!r}")
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without their headers."""
    lines = text.splitlines()
    rules = {at for at, line in enumerate(lines) if re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", line)}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        for at, line in enumerate(lines)
        if line.startswith("|") and at not in rules and at + 1 not in rules
    ]


def codes_in(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)
