"""Item ids: what is none, and what looks like something else."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.prepare.item_ids import check_product_id
from incarts_pipeline.prepare.problems import Findings


def codes(*ids: str | None) -> list[list[str]]:
    """Return the codes that each id gets, checked together."""
    findings = Findings(len(ids))
    check_product_id(pa.array(ids, pa.string()), "id", findings)
    return [[one["code"] for one in row] for row in findings.lists().to_pylist()]


@pytest.mark.parametrize(
    "gtin",
    ["012345678905", "885909950805", "4006381333931", "9780306406157", "10012345678902"],
)
def test_barcodes_are_suspicions(gtin: str) -> None:
    """A UPC, EAN, ISBN or GTIN-14 with its check digit; another last digit makes it an id."""
    wrong = gtin[:-1] + str((int(gtin[-1]) + 1) % 10)
    assert codes(gtin, wrong, None, "550098461") == [["looks_like_gtin"], [], [], []]
    assert codes(gtin, "x", wrong) == [["looks_like_gtin"], [], []]


def test_short_ids_are_no_barcodes() -> None:
    """Retailers' ids have eight digits, and every tenth of them a right check digit."""
    assert codes("96385074", "10450114", "0") == [[], [], []]


@pytest.mark.parametrize("rounded", ["1234567890123450", "12345678901234500", "1" * 17 + "0"])
def test_rounded_ids_are_suspicions(rounded: str) -> None:
    """Spreadsheets write zeros from the sixteenth digit on."""
    assert codes(rounded, rounded[:-1] + "7", "500") == [["looks_rounded"], [], []]


@given(st.lists(st.from_regex(r"[0-9]{0,18}", fullmatch=True) | st.none(), max_size=20))
def test_check_digits_are_those_of_gs1(ids: list[str | None]) -> None:
    """As one counts them by hand, whatever stands beside them, also in a slice."""
    table = pa.array(["999", *ids, "x"], pa.string())
    findings = Findings(len(ids))
    check_product_id(table.slice(1, len(ids)), "id", findings)
    found = [[one["code"] for one in row] for row in findings.lists().to_pylist()]
    for text, told in zip(ids, found, strict=True):
        digits = [int(digit) for digit in reversed(text or "")]
        total = sum(digits[0::2]) + 3 * sum(digits[1::2])
        is_gtin = len(digits) in (12, 13, 14) and total % 10 == 0
        assert ("looks_like_gtin" in told) == is_gtin
        assert ("looks_rounded" in told) == (len(digits) >= 16 and digits[0] == 0)


@pytest.mark.parametrize(
    "cell",
    [
        "https://www.walmart.com/ip/Tuna/12345678?x=1",
        "www.walmart.com/ip/12345678",
        "/ip/12345678",
        "12345678?selected=true",
        "550098461;550098462",
        "550098461|550098462",
        "A-1,A-2",
    ],
)
def test_addresses_and_lists_are_no_ids(cell: str) -> None:
    """They would be put into the address of a cart as they are."""
    assert codes(cell, "550A", "AB/12-3.e_4:5") == [["not_one_id"], [], []]


@pytest.mark.parametrize("cell", ["TRUE", "false", "５５０", "٥٥٠", "5５0"])
def test_truth_and_digits_of_other_scripts_are_no_ids(cell: str) -> None:
    """What a cell of another type, or a keyboard of another script, makes of an id is refused."""
    assert codes(cell, "550A") == [["number_like_id"], []]
