"""Parts that several cards are made of: badges, bars, notes, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from incarts_pipeline.display.html.html import Child, Element, el, said
from incarts_pipeline.display.tones import TONES
from incarts_pipeline.models import Action, Status
from incarts_pipeline.text import Surface, spelled

_COLUMNS = {
    "rows": "ic-num",
    "times": "ic-num",
    "": "ic-bars",
    "status": "ic-fit",
    "action": "ic-fit",
}


def badge(name: Action | Status) -> Element:
    """Show an action or a status in its colour."""
    return el("span", name.value.replace("_", " "), class_=f"ic-badge {tone(name)}")


def tone(name: Action | Status) -> str:
    """Return the class that has the colour of an action or a status."""
    return f"ic-{TONES[name].name.lower()}"


def bar(n: int, most: int, name: Action | Status) -> Element:
    """Show a count as a bar beside its number; a reader without styles loses nothing."""
    width = f"width:{100 * n / max(most, 1):.1f}%"
    inner = el("span", style=width) if n else None
    return el("span", inner, class_=f"ic-bar {tone(name)}", aria_hidden="true")


def note(colour: str, *children: Child) -> Element:
    """Show something to take notice of."""
    return el("div", *children, class_=f"ic-note {colour}", role="note")


def warned(warnings: Iterable[str]) -> Iterator[Element]:
    """Show a plan's warnings."""
    for warning in warnings:
        yield note("ic-warn", el("b", "Warning: "), said(spelled(warning, Surface.PYTHON)))


def versioned(version: str | None) -> Iterator[Element]:
    """Show which version of a lake table was read."""
    if version is not None:
        yield note("ic-calm", f"The catalog is {version}.")


def facts(*pairs: tuple[str, str]) -> Element:
    """Show figures large, their names small."""
    shown = (el("div", el("dt", name), el("dd", value)) for name, value in pairs)
    return el("dl", *shown, class_="ic-facts")


def table(heads: Sequence[str], rows: Iterable[Sequence[Child]], *, label: str) -> Element:
    """Show a table; some columns are known by their heads: `` holds bars."""
    # By the head, so that a table needs no second list that has to keep in step.
    classes = [_COLUMNS.get(head) for head in heads]
    top = [el("th", h, scope="col", class_=c) for h, c in zip(heads, classes, strict=True)]
    body = (
        el("tr", *(el("td", cell, class_=c) for cell, c in zip(row, classes, strict=True)))
        for row in rows
    )
    return el("table", el("thead", el("tr", *top)), el("tbody", *body), aria_label=label)


def number(n: int) -> str:
    """Return a count with separators."""
    return f"{n:,}"
