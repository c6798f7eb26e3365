"""Card of one link, with its QR code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from incarts_pipeline.display.answer_remedies import of_row
from incarts_pipeline.display.html.codes import code_element, encoded
from incarts_pipeline.display.html.html import Child, Element, el, fragment, link, said
from incarts_pipeline.display.html.parts import badge, note
from incarts_pipeline.ledger import Label
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.text import Surface, spelled


def link_card(row: Mapping[str, Any], label: Label | None = None, *, error: str = "m") -> str:
    """Return one row of links.parquet as HTML: the link, where it goes, its QR code.

    Args:
        row: the row's columns by name.
        label: what the link was called when it was sent.
        error: the code's error correction, `l`, `m`, `q` or `h`.
    """
    # What shoppers see, else what the caller calls it, else what identifies the row.
    title = (label and (label.public_name or label.name)) or row["row_key"] or "no key"
    return fragment(
        el(
            "section",
            el("p", said(title), badge(Status(row["status"])), class_="ic-title"),
            *_stale(row),
            el("div", _code(row, error), el("dl", *_facts(row, label, title)), class_="ic-link"),
            class_="incarts ic-card",
            aria_label="Link",
        )
    )


def _stale(row: Mapping[str, Any]) -> Iterator[Element]:
    # A row may be rejected today and still have the link of yesterday: both are told.
    if row["link_id"] is None or Status(row["status"]) in (Status.HELD, Status.REJECTED):
        why = of_row(
            Reason(row["reason"]), http_status=row["http_status"], error_code=row["error_code"]
        )
        yield note("ic-warn", el("b", f"{why.meaning}. "), spelled(why.fix, Surface.PYTHON))
    elif row["is_stale"]:
        yield note("ic-warn", "The link is of older content than the catalog's.")
    for problem in row["problems"] or ():
        yield note("ic-warn", said(f"{problem['field']}: {problem['message']}"))


def _code(row: Mapping[str, Any], error: str) -> Element | None:
    content, from_short_link = encoded(row)
    if content is None:
        return None
    drawn = code_element(content, error=error)
    why = "Incarts named nothing to encode: this is the short link." if from_short_link else None
    shown = el("span", drawn, class_="ic-code")
    return el("div", shown, el("small", why)) if why else shown


def _facts(row: Mapping[str, Any], label: Label | None, title: str) -> Iterator[Element]:
    own = row["qr_encoded_url"]
    retailer = f"{label.retailer} · {label.intent}" if label and label.retailer else None
    # Only what adds something: a code that encodes the short link needs no second line.
    given: list[tuple[str, Child]] = [
        ("short link", link(row["short_link"]) if row["short_link"] else None),
        ("goes to", link(row["target_url"]) if row["target_url"] else None),
        ("code encodes", said(own) if own and own != row["short_link"] else None),
        ("name", said(label.name) if label and label.name not in (None, title) else None),
        ("retailer", said(retailer) if retailer else None),
        ("row", said(row["row_key"] or "")),
        ("link id", el("code", row["link_id"]) if row["link_id"] else None),
        (
            "made",
            f"{row['link_created_at']:%Y-%m-%d %H:%M} UTC" if row["link_created_at"] else None,
        ),
        ("replaces", el("code", row["replaces_link_id"]) if row["replaces_link_id"] else None),
    ]
    for name, value in given:
        if value is not None:
            yield el("dt", name)
            yield el("dd", value)
