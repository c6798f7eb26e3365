"""Item ids: what a spreadsheet, a frame or a barcode leaves in place of one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import ProblemCode, Reason
from incarts_pipeline.prepare.json_columns import data_of, offsets_of
from incarts_pipeline.prepare.problems import Findings, Rows, true_rows

# 550098461.0, 5.50E+08: what spreadsheets and float columns make of an id. 12.5 as well.
_NUMBER_LIKE = r"^[+-]?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)$"
_WHITE_SPACE_AROUND = r"^[\p{Z}\p{Cc}]|[\p{Z}\p{Cc}]$"
# An id of eight digits is too common for a check digit, right in one of ten, to say anything.
_GTIN_DIGITS = (12, 13, 14)
# Spreadsheets keep 15 digits of a number; programs that count in floats keep 16 or 17.
_ROUNDED_DIGITS = 16


def check_product_id(ids: pa.StringArray, field: str, findings: Findings) -> None:
    """Check that ids are a retailer's own: no number, no barcode, nothing around them.

    Args:
        ids: an id per row, null for none.
        field: the path of the field.
        findings: takes the problems and suspicions.
    """
    digits = is_all_digits(ids)
    _check_digits(ids, field, findings, digits=digits)
    # Neither of the two can be wrong with digits alone.
    if digits:
        return
    findings.add(
        pc.match_substring_regex(ids, _NUMBER_LIKE),
        field,
        ProblemCode.NUMBER_LIKE_ID,
        '"',
        ids,
        "\" is a number that went through a float, not an id; write the id's own digits, and in a "
        "frame or spreadsheet keep the column as text.",
    )
    findings.add(
        pc.match_substring_regex(ids, _WHITE_SPACE_AROUND),
        field,
        ProblemCode.WHITE_SPACE,
        '"',
        ids,
        '" begins or ends with white space; trim it.',
    )


def _check_digits(ids: pa.StringArray, field: str, findings: Findings, *, digits: bool) -> None:
    """Find barcodes and rounded numbers among ids; `digits` says that all have digits alone."""
    lengths = np.diff(offsets_of(ids))
    long = np.flatnonzero(lengths >= min(_GTIN_DIGITS)).astype(np.int64)
    if not len(long):
        return
    if not digits:
        long = long[true_rows(pc.match_substring_regex(ids.take(pa.array(long)), "^[0-9]+$"))]
    lengths = lengths[long]
    barcodes = long[np.isin(lengths, _GTIN_DIGITS)]
    findings.add(
        barcodes[_checks(ids, barcodes)],
        field,
        Reason.LOOKS_LIKE_GTIN,
        '"',
        ids,
        "\" has a GTIN's length and check digit, and a barcode's number is no item id; map the "
        "retailer's own ids, or accept looks_like_gtin if it is one.",
    )
    rounded = long[lengths >= _ROUNDED_DIGITS]
    findings.add(
        rounded[_last_digits(ids, rounded, 1)[:, 0] == 0],
        field,
        Reason.LOOKS_ROUNDED,
        '"',
        ids,
        f'" has {_ROUNDED_DIGITS} digits or more and ends in a zero, as a number does that went '
        "through a spreadsheet; take the id from its source, or accept looks_rounded if it is one.",
    )


def _checks(ids: pa.StringArray, rows: Rows) -> npt.NDArray[np.bool_]:
    """Return which of some rows' numbers, 12 to 14 digits each, have a right check digit.

    Source of the rule: GS1 General Specifications, section 7.9.
    """
    lengths = np.diff(offsets_of(ids))[rows]
    digits = _last_digits(ids, rows, max(_GTIN_DIGITS))
    # Shorter numbers count as if they had zeros before them.
    digits[np.arange(max(_GTIN_DIGITS)) >= lengths[:, np.newaxis]] = 0
    weights = np.where(np.arange(max(_GTIN_DIGITS)) % 2, 3, 1)
    checks: npt.NDArray[np.bool_] = digits @ weights % 10 == 0
    return checks


def _last_digits(ids: pa.StringArray, rows: Rows, count: int) -> npt.NDArray[np.int64]:
    """Return the last digits of some rows, the last one first."""
    ends = offsets_of(ids)[1:][rows].astype(np.int64)
    at = ends[:, np.newaxis] - 1 - np.arange(count)
    data = np.frombuffer(ids.buffers()[2] or b"0", np.uint8)
    digits: npt.NDArray[np.int64] = data[np.maximum(at, 0)].astype(np.int64) - ord("0")
    return digits


def is_all_digits(texts: pa.StringArray) -> bool:
    """Return whether all texts have digits alone."""
    # Most columns of ids do; a look at their bytes is ten times cheaper than an expression.
    data = data_of(texts)
    return bool(((data >= ord("0")) & (data <= ord("9"))).all())
