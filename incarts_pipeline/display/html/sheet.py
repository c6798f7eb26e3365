"""Contact sheet of QR codes: one self-contained page that prints well on A4 and Letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.display.html.codes import LEVELS, code_element, encoded, module_size
from incarts_pipeline.display.html.html import Element, el, page, said, short_link, whole_piece
from incarts_pipeline.display.html.parts import note
from incarts_pipeline.display.html.sheet_layout import (
    FONTS,
    LARGEST,
    SMALLEST,
    Layout,
    layout_of,
)
from incarts_pipeline.ledger import Label
from incarts_pipeline.text import counted

_SIZE = 30.0  # millimetres, where nobody says
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

    @property
    def shown(self) -> str:
        """The address below the code, so that a person without a camera can type it."""
        return self.short_link or self.content

    @property
    def name(self) -> str:
        """What it is for: the public name, or the name, or the row's key."""
        return (self.label and (self.label.public_name or self.label.name)) or self.row_key


def qr_sheet(
    rows: pa.Table,
    labels: Mapping[str, Label] = _NONE,
    *,
    error: str = "m",
    size: float | None = None,
    per_page: int | None = None,
    title: str = "QR codes",
) -> str:
    """Return a page with the QR code of each link in a table, once per link.

    Args:
        rows: a table with the columns of links.parquet.
        labels: what the links were called when they were sent, by link id.
        error: error correction, `l`, `m`, `q` or `h` (7, 15, 25, 30 % of a code may be lost).
        size: width of a code in millimetres, its white margin included, from 10 to 150; 30, or with
            `per_page` the largest that fits.
        per_page: how many codes go on a printed page, A4 or Letter; as many as fit without it.
        title: the page's heading.

    Raises:
        ValueError: another level or size, or so many codes don't fit on a page.
    """
    if error.lower() not in LEVELS:
        raise ValueError(f"error correction is one of l, m, q and h, not {error!r}")
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {SMALLEST:g} to {LARGEST:g} millimetres, not {size:g}")
    if per_page is not None and per_page < 1:
        raise ValueError(f"per_page is 1 or more, not {per_page}")
    codes, without = _codes(rows, labels)
    longest = max((len(whole_piece(code.shown)) for code in codes), default=0)
    layout = layout_of(per_page, size, longest) if per_page is not None else None
    size = layout.size if layout else size or _SIZE
    how = f"{size:g} mm, error correction {error.upper()} or better"
    cells = [_cell(code, error, size, layout) for code in codes]
    content = el(
        "main",
        el("h1", said(title)),
        el("p", f"{counted(len(codes), 'code')}, {how}", class_="ic-muted"),
        *_notes(codes, without, error, size),
        *_sheets(cells, longest, layout),
        class_="incarts ic-doc ic-paged" if layout else "incarts ic-doc",
    )
    return page(title, content)


def _sheets(cells: Sequence[Element], longest: int, layout: Layout | None) -> Iterator[Element]:
    if layout is None:
        yield el("div", *cells, class_="ic-sheet", style=f"--code:{longest}")
        return
    style = (
        f"--columns:{layout.columns};--rows:{layout.rows};--font:{layout.font:g}pt;"
        f"--lines:{layout.lines};--code:{longest}"
    )
    for start in range(0, len(cells), layout.per_page):
        some = cells[start : start + layout.per_page]
        yield el("div", *some, class_="ic-sheet", style=style)


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


def _cell(code: _Code, error: str, size: float, layout: Layout | None) -> Element:
    label, name = code.label, code.name
    small = [code.row_key if name != code.row_key else None, label.retailer if label else None]
    font = f"font-size:{_name_font(name, layout):g}pt" if layout else None
    return el(
        "figure",
        el("div", code_element(code.content, error=error), class_="ic-code"),
        el(
            "figcaption",
            el("b", said(name), style=font),
            " ",
            el("div", short_link(code.shown)),
            el("small", said(" · ".join(filter(None, small)))),
        ),
        class_="ic-cell",
        style=f"--size:{size:g}mm",
    )


def _name_font(name: str, layout: Layout) -> float:
    """Return the largest font, in points, in which a name most likely fits its lines."""
    fonts = [font for font in FONTS if font <= layout.font]
    fitting = (font for font in fonts if len(name) <= layout.lines * layout.letters(font))
    return next(fitting, fonts[-1])


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
