"""QR codes, made on this machine from what Incarts says that they encode.

Symbols are ISO/IEC 18004 Model 2 with the quiet zone of four modules that it asks for; the modules
are black on white in every theme, because scanners need it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Any

from incarts_pipeline.display.html.html import Element, el, is_web_url, render

if TYPE_CHECKING:
    from segno import QRCode

LEVELS = ("l", "m", "q", "h")  # of error correction: 7, 15, 25 and 30 % may be lost
QUIET = 4  # modules around a code
_MM_PER_INCH = 25.4


def encoded(row: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return what the code of a links.parquet row encodes, and whether that is its short link.

    Where Incarts named nothing to encode, the short link stands in; None when neither is a URL.
    """
    # What Incarts names is what its own image encodes; a code that says something else would be
    # counted otherwise, or not at all.
    own, short = row["qr_encoded_url"], row["short_link"]
    if is_web_url(own):
        return own, False
    return (short, True) if is_web_url(short) else (None, False)


def code_svg(content: str, *, error: str = "m", size: float = 30.0) -> str:
    """Return a QR code as an SVG document, `size` millimetres wide with its white margin.

    Args:
        content: what the code encodes.
        error: error correction, `l`, `m`, `q` or `h`; more is used where it costs no space.
        size: width and height in millimetres.

    Raises:
        ValueError: another level, or more content than a code can hold.
    """
    drawn = code_element(content, error=error, width=f"{size:g}mm", height=f"{size:g}mm")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{render(drawn)}\n'


def code_png(content: str, *, error: str = "m", size: float = 30.0, dpi: int = 300) -> bytes:
    """Return a QR code as a PNG of at least `dpi` that prints `size` millimetres wide.

    Args:
        content: what the code encodes.
        error: error correction, `l`, `m`, `q` or `h`.
        size: width and height in millimetres, with the white margin.
        dpi: pixels per inch, at least.

    Raises:
        ValueError: another level, or more content than a code can hold.
    """
    code = _code(content, error)
    modules = len(code.matrix) + 2 * QUIET
    inches = size / _MM_PER_INCH
    # Whole pixels for each module, since a scanner reads edges; the stated dpi follows from that.
    scale = max(1, ceil(inches * dpi / modules))
    image = io.BytesIO()
    code.save(image, kind="png", scale=scale, border=QUIET, dpi=round(scale * modules / inches))
    return image.getvalue()


def code_element(content: str, *, error: str = "m", **attributes: str) -> Element:
    """Return a QR code as an SVG element: a white square, and one path of all dark modules."""
    matrix = _code(content, error).matrix
    side = len(matrix) + 2 * QUIET
    # One path of runs rather than a square for each module: a sheet may have hundreds of codes.
    path = "".join(
        f"M{start + QUIET} {y + QUIET}h{length}v1h-{length}z"
        for y, line in enumerate(matrix)
        for start, length in _runs(line)
    )
    return el(
        "svg",
        el("title", f"QR code of {content}"),
        el("rect", width=side, height=side, fill="#fff"),
        el("path", d=path, fill="#000"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {side} {side}",
        shape_rendering="crispEdges",
        role="img",
        **attributes,
    )


def module_size(content: str, *, error: str, size: float) -> float:
    """Return the side of one module in millimetres when the whole code is `size` wide."""
    return size / (len(_code(content, error).matrix) + 2 * QUIET)


def _runs(line: bytearray) -> list[tuple[int, int]]:
    """Return (start, length) of each stretch of dark modules in a line."""
    runs: list[tuple[int, int]] = []
    for at, dark in enumerate(line):
        if dark and runs and sum(runs[-1]) == at:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        elif dark:
            runs.append((at, 1))
    return runs


@lru_cache(maxsize=64)
def _code(content: str, error: str) -> QRCode:
    if error.lower() not in LEVELS:
        raise ValueError(f"error correction is one of l, m, q and h, not {error!r}")
    import segno  # here, because most runs draw no code

    return segno.make_qr(content, error=error.lower())
