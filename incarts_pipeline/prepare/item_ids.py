"""Item ids: what a spreadsheet, a frame or a barcode leaves in place of one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import ProblemCode, Reason
from incarts_pipeline.prepare.characters import Writing, check_characters
from incarts_pipeline.prepare.json_columns import data_of, offsets_of
from incarts_pipeline.prepare.problems import Findings, Rows, placed, true_rows
from incarts_pipeline.prepare.stand_ins import ID, check_stand_ins

_GROUPING = r"[.,'’ \x{a0}\x{2009}\x{202f}]"
# 550098461.0, 5.50E+08, 5,50E+08, 550.098.461: what spreadsheets and floats make of an id.
_NUMBER_LIKE = (
    r"^[+-]?[0-9]+(?:[.,][0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)$"
    rf"|^[0-9]{{1,3}}(?:{_GROUPING}[0-9]{{3}})+$"
)
_TRUTH = "^(?i:true|false)$"
_DIGITS = r"^\p{Nd}+$"  # of any script
_WITH_FRACTION = r"^(?P<meant>[0-9]+)[.,]0+$"
_GROUPED = rf"^[0-9]{{1,3}}(?:{_GROUPING}[0-9]{{3}}){{2,}}$"
_SCIENTIFIC = r"^(?P<first>[0-9])[.,](?P<rest>[0-9]+)[eE]\+?0*(?P<exponent>[0-9]+)$"
# Of an address, or between several ids; in the URL of a cart they would mean something else.
_NOT_ONE = r"(?i)://|^www\.|^/|^\w.*[?&=;|,]"
_WHITE_SPACE = r"[\p{Z}\t-\r\x{85}]"
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
    # All others can't be wrong with digits alone.
    if digits:
        return
    check_characters(ids, field, findings, Writing.CODE)
    check_stand_ins(ids, field, findings, ID)
    numbers = pc.match_substring_regex(ids, _NUMBER_LIKE)
    _tell_numbers(ids, true_rows(numbers), field, findings)
    _tell_foreign(ids, field, findings)
    findings.add(
        pc.and_not(pc.match_substring_regex(ids, _NOT_ONE), numbers),
        field,
        Reason.NOT_ONE_ID,
        '"',
        ids,
        '" looks like an address, or like several ids; take the one id out of it (extract, split), '
        "or accept not_one_id if it is one.",
    )
    findings.add(
        pc.and_not(pc.match_substring_regex(ids, _WHITE_SPACE), numbers),
        field,
        ProblemCode.WHITE_SPACE,
        '"',
        ids,
        '" has white space in it, which is no part of an id; trim it, or take it out.',
    )


def _tell_foreign(ids: pa.StringArray, field: str, findings: Findings) -> None:
    """Tell what a cell of another type, or a keyboard of another script, makes of an id."""
    code = ProblemCode.NUMBER_LIKE_ID
    truth = pc.match_substring_regex(ids, _TRUTH)
    findings.add(truth, field, code, '"', ids, '" is a truth value, not an id; write the id.')
    says = '" has digits of another script, which no retailer knows; write them as 0 to 9.'
    other = pc.and_not(pc.match_substring_regex(ids, _DIGITS), pc.string_is_ascii(ids))
    findings.add(other, field, code, '"', ids, says)


def _tell_numbers(ids: pa.StringArray, rows: Rows, field: str, findings: Findings) -> None:
    if not len(rows):
        return
    meant = _meant(ids.take(pa.array(rows)))
    known = meant.is_valid().to_numpy(zero_copy_only=False)
    says = '" is a number as a float or a spreadsheet writes it, not an id; write '
    as_text = "in a frame or spreadsheet, keep the column as text."
    add, code = findings.add, ProblemCode.NUMBER_LIKE_ID
    named = placed(meant, rows, len(ids))
    add(rows[known], field, code, '"', ids, says, named, f", and {as_text}")
    add(rows[~known], field, code, '"', ids, says, f"the id's own digits, and {as_text}")


def _meant(numbers: pa.StringArray) -> pa.StringArray:
    """Return the ids that numbers stand for, null where their digits are lost."""
    whole = pc.struct_field(pc.extract_regex(numbers, pattern=_WITH_FRACTION), "meant")
    digits = pc.replace_substring_regex(numbers, "[^0-9]", "")
    grouped = pc.match_substring_regex(numbers, _GROUPED)
    parts = pc.extract_regex(numbers, pattern=_SCIENTIFIC)
    first, rest, exponent = (pc.struct_field(parts, n) for n in ("first", "rest", "exponent"))
    complete = pc.equal(pc.utf8_length(rest).cast(pa.string()), exponent)
    scientific = pc.if_else(complete, pc.binary_join_element_wise(first, rest, ""), None)
    return pc.coalesce(whole, pc.if_else(grouped, digits, None), scientific)


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
    # Most columns of ids do; the least and the largest byte cost next to nothing to know.
    data = data_of(texts)
    return not len(data) or bool(data.min() >= ord("0") and data.max() <= ord("9"))
