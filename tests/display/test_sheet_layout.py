"""The layout of a contact sheet: as many codes on a page as asked, as large as they can be."""

from __future__ import annotations

import pytest

from incarts_pipeline.display.html.sheet_layout import SMALLEST, layout_of


@pytest.mark.parametrize("per_page", range(1, 61))
def test_what_is_asked_for_fits(per_page: int) -> None:
    """All cells, with code and caption, are within what A4 and Letter have in common."""
    found = layout_of(per_page, None, 9)
    assert found.columns * found.rows >= per_page > (found.rows - 1) * found.columns
    assert found.columns * (found.width + 4.6) + 3 * (found.columns - 1) <= 188.0 + 1e-9
    assert found.rows * (found.height + 4.6) + 3 * (found.rows - 1) <= 255.0 + 1e-9
    line = 1.3 * found.font * 0.3528
    assert found.size + 1 + (found.lines + 3) * line <= found.height + 1e-6
    assert SMALLEST <= found.size <= found.width
    assert found.letters(found.font) >= 9


def test_fewer_codes_are_not_smaller() -> None:
    """A page with fewer codes has codes that are at least as large, as long as they are read."""
    sizes = [layout_of(n, None, 9).size for n in (1, 2, 4, 6, 12, 24)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 150.0


def test_a_size_of_ones_own() -> None:
    """A size that fits is taken; one that doesn't is refused with the largest that would."""
    assert layout_of(12, 25.0, 9).size == 25.0
    with pytest.raises(ValueError, match="size is at most ") as refused:
        layout_of(12, 100.0, 9)
    most = float(str(refused.value).split()[4])
    assert most >= layout_of(12, None, 9).size
    assert layout_of(12, most, 9).size == most
    with pytest.raises(ValueError, match=f"at most {most} millimetres for 12 codes on a page"):
        layout_of(12, most + 0.1, 9)


def test_too_many() -> None:
    """So many that codes or short links would not fit are refused, with how many would."""
    with pytest.raises(ValueError, match="per_page is at most ") as refused:
        layout_of(1_000, None, 9)
    most = int(str(refused.value).split()[4])
    assert layout_of(most, None, 9).size >= SMALLEST
    with pytest.raises(ValueError, match="per_page is at most "):
        layout_of(most + 1, None, 9)
