"""Contact sheet of QR codes: one self-contained page that prints well on A4 and Letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.display.html.codes import LEVELS, code_element, encoded, module_size
from incarts_pipeline.display.html.html import Element, el, page, said, short_link
from incarts_pipeline.display.html.parts import note
from incarts_pipeline.ledger import Label
from incarts_pipeline.text import counted

SMALLEST, LARGEST = 10.0, 150.0  # millimetres; a code must fit on a page
_FINE_MODULE = 0.4  # millimetres; below it, office printers and phones begin to fail
_COLUMNS = ["row_key", "link_id", "short_link", "qr_encoded_url"]
_NONE: Mapping[str, Label] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """One code to print; `is_short_link` when Incarts named nothing else to encode."""

    content: str
    is_short_link: bool
    row_key: str
    short_link: str | None
    label: Label | None


def qr_sheet(
    rows: pa.Table,
    labels: Mapping[str, Label] = _NONE,
    *,
    error: str = "m",
    size: float = 30.0,
    title: str = "QR codes",
) -> str:
    """Return a page with the QR code of each link in a table, once per link.

    Args:
        rows: a table with the columns of links.parquet.
        labels: what the links were called when they were sent, by link id.
        error: error correction, `l`, `m`, `q` or `h` (7, 15, 25, 30 % of a code may be lost).
        size: width of a code in millimetres, its white margin included, from 10 to 150.
        title: the page's heading.

    Raises:
        MissingExtraError: segno isn't installed.
        ValueError: another level or size.
    """
    if error.lower() not in LEVELS:
        raise ValueError(f"error correction is one of l, m, q and h, not {error!r}")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {SMALLEST:g} to {LARGEST:g} millimetres, not {size:g}")
    codes, without = _codes(rows, labels)
    how = f"{size:g} mm, error correction {error.upper()} or better"
    cells = (_cell(code, error, size) for code in codes)
    content = el(
        "main",
        el("h1", said(title)),
        el("p", f"{counted(len(codes), 'code')}, {how}", class_="ic-muted"),
        *_notes(codes, without, error, size),
        el("div", *cells, class_="ic-sheet"),
        class_="incarts ic-doc",
    )
    return page(title, content)


def _codes(rows: pa.Table, labels: Mapping[str, Label]) -> tuple[list[_Code], int]:
    """Return a code for each link, and for how many links there is nothing to encode."""
    linked = rows.filter(pc.is_valid(rows["link_id"])).select(_COLUMNS).to_pylist()
    codes: list[_Code] = []
    without = 0
    # Rows may share a link. Reversed twice, so that the first of them names it, in the table's
    # order.
    for row in {row["link_id"]: row for row in reversed(linked)}.values():
        content, is_short_link = encoded(row)
        if content is None:
            without += 1
            continue
        codes.append(
            _Code(
                content=content,
                is_short_link=is_short_link,
                row_key=row["row_key"] or "",
                short_link=row["short_link"],
                label=labels.get(row["link_id"]),
            )
        )
    return codes[::-1], without


def _cell(code: _Code, error: str, size: float) -> Element:
    label = code.label
    name = (label and (label.public_name or label.name)) or code.row_key
    # Below the code, so that a person without a camera can type it.
    short = code.short_link or code.content
    small = [code.row_key if name != code.row_key else None, label.retailer if label else None]
    return el(
        "figure",
        el("div", code_element(code.content, error=error), class_="ic-code"),
        el(
            "figcaption",
            el("b", said(name)),
            " ",
            el("div", short_link(short)),
            el("small", said(" · ".join(filter(None, small)))),
        ),
        class_="ic-cell",
        style=f"--size:{size:g}mm",
    )


def _notes(codes: Sequence[_Code], without: int, error: str, size: float) -> Iterator[Element]:
    short = sum(code.is_short_link for code in codes)
    if short:
        yield note(
            "ic-calm",
            f"{counted(short, 'code encodes its', 'codes encode their')} short link: Incarts named "
            "nothing else to encode.",
        )
    if without:
        yield note("ic-warn", f"{counted(without, 'link has', 'links have')} no URL to encode.")
    # More text, finer modules: if the longest can be read, all can.
    longest = max((code.content for code in codes), key=len, default=None)
    fine = longest is not None and module_size(longest, error=error, size=size) < _FINE_MODULE
    if fine:
        yield note(
            "ic-warn",
            f"The finest codes have squares under {_FINE_MODULE} mm, which phones may not read "
            "from paper: print larger, or with less error correction.",
        )
