"""Findings: one guess each about what a mapping should say, with the reason and what else fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One guess.

    Attributes:
        field: the mapping's key, dotted, like `link.custom_url`.
        value: what the mapping says there.
        why: what it was told by, a sentence.
        others: what else it could be: values as the mapping would say them, or a text about one.
        doubt: what a person has to look at before links are made; None where nothing speaks
            against the guess.
        is_offer: whether it is only offered, in a comment: nothing needs it.
    """

    field: str
    value: object
    why: str
    others: tuple[object, ...] = ()
    doubt: str | None = None
    is_offer: bool = False

    def is_of(self, path: str) -> bool:
        """Say whether a path of the mapping is the guess's own, above it or inside of it."""
        own, other = f"{self.field}.", f"{path}."
        return own.startswith(other) or other.startswith(own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a person said already, or a caller; each takes the place of a guess.

    Attributes:
        link_set: the name of the family of links.
        unique_key: the columns that say what a row is.
        page: a product's page as a template like `https://www.shop.com/p/{sku}`, or, for the export
            of a platform whose paths are known, the shop's address alone.
    """

    link_set: str | None = None
    unique_key: tuple[str, ...] = ()
    page: str | None = None


def content_of(findings: Iterable[Finding]) -> dict[str, object]:
    """Return the mapping that the findings make up, those that are only offered left out."""
    content: dict[str, object] = {}
    for finding in findings:
        if not finding.is_offer:
            *way, last = finding.field.split(".")
            place = content
            for step in way:
                place = place.setdefault(step, {})  # type: ignore[assignment]
            place[last] = finding.value
    return content


def columns_in(findings: Sequence[Finding], names: Sequence[str]) -> list[str]:
    """Return which of a table's columns the link's fields are made of, but for what is extracted.

    A part of a column, like an item's id, may stay the same where the column differs.
    """
    texts = [_flat(one.value) for one in findings if _is_content(one)]
    return [name for name in names if any(_reads(text, name) for text in texts)]


def _is_content(finding: Finding) -> bool:
    return finding.field.startswith("link.") and not finding.is_offer


def _flat(value: object) -> list[str]:
    """Return what a value names: columns as they are, templates as they are written."""
    if isinstance(value, dict):
        if "extract" in value:
            return []
        return [text for item in value.values() for text in _flat(item)]
    return [value] if isinstance(value, str) else []


def _reads(texts: Sequence[str], name: str) -> bool:
    return any(text == name or f"{{{name}}}" in text or f"{{{name}:raw}}" in text for text in texts)
