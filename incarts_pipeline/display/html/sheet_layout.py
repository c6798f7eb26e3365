"""Layout of a contact sheet: how codes stand on a page, and how large each is. Pure.

All lengths are millimetres. A page is what A4 and Letter have in common within their margins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

SMALLEST, LARGEST = 10.0, 150.0  # a code's width
_WIDTH, _HEIGHT = 188.0, 255.0
_GAP, _INSET = 3.0, 2.3  # between cells, and a cell's padding and border
_ROOM = 1.0  # between a code and its caption
FONTS = (9.0, 8.0, 7.0, 6.0)  # points
_READABLE = 18.0  # a code that any phone reads: below it, the caption gets smaller first
_POINT = 0.3528
_LINE = 1.3  # times the font's size
_NAME_LINES = 2
_LINES = 5  # of a caption at least: those of the name, two of the link, one of what is small
_LETTER = 0.62  # times the font's size: how wide a letter of a short link is at most, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Cells of one page; `font` is in points, `width` and `height` are those within a cell."""

    per_page: int
    columns: int
    rows: int
    size: float
    font: float
    width: float
    height: float

    @property
    def lines(self) -> int:
        """Lines that a name has, in the layout's font."""
        line = _LINE * self.font * _POINT
        rest = self.height - self.size - _ROOM - (_LINES - _NAME_LINES) * line
        return max(int(rest / line + 1e-6), _NAME_LINES)

    def letters(self, font: float) -> int:
        """Return how many letters of a font go on one line of a cell."""
        return max(int(self.width / (_LETTER * font * _POINT)), 1)


def layout_of(per_page: int, size: float | None, longest: int) -> Layout:
    """Return a layout with codes as large as a readable caption allows, or of a size.

    Args:
        per_page: codes on a page.
        size: a code's width; None for the largest that fits.
        longest: letters of the longest piece of a short link that stays in one line.

    Raises:
        ValueError: so many don't fit, and how many do, or how large they may be.
    """
    best = _best(per_page, longest)
    if best is None:
        fewer = next(n for n in range(per_page, 0, -1) if n == 1 or _best(n, longest))
        raise ValueError(f"per_page is at most {fewer} for these links, not {per_page}")
    if size is None:
        return best
    layouts = list(_layouts(per_page, longest))
    fitting = [one for one in layouts if one.size >= size]
    if not fitting:
        most = max(one.size for one in layouts)
        raise ValueError(
            f"size is at most {most:.1f} millimetres for {per_page} codes on a page, not {size:g}"
        )
    found = max(fitting, key=lambda one: (one.font, one.size))
    return replace(found, size=size)


def _best(per_page: int, longest: int) -> Layout | None:
    found = [one for one in _layouts(per_page, longest) if one.size >= SMALLEST]
    readable = [one for one in found if one.size >= _READABLE]
    if readable:
        return max(readable, key=lambda one: (one.font, one.size))
    return max(found, key=lambda one: one.size, default=None)


def _layouts(per_page: int, longest: int) -> Iterator[Layout]:
    for columns in range(1, per_page + 1):
        rows = -(-per_page // columns)
        width = (_WIDTH - (columns - 1) * _GAP) / columns - 2 * _INSET
        height = (_HEIGHT - (rows - 1) * _GAP) / rows - 2 * _INSET
        for font in FONTS:
            size = min(width, height - _ROOM - _LINES * _LINE * font * _POINT, LARGEST)
            one = Layout(
                per_page=per_page,
                columns=columns,
                rows=rows,
                size=int(size * 10) / 10,
                font=font,
                width=width,
                height=height,
            )
            if one.letters(font) >= longest:
                yield one
