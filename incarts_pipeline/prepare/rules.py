"""Rules of the API as checks over whole columns; each broken one is named with its fix.

Source of the rules: the public Incarts documentation of `POST /v1/links`. What it leaves open
(the longest URL, the most products, …) is bounded by `models.Limits`.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import Intent, Limits, NoteCode, ProblemCode
from incarts_pipeline.prepare.item_ids import is_all_digits
from incarts_pipeline.prepare.json_columns import offsets_of
from incarts_pipeline.prepare.problems import Findings

NAME_CHARACTERS = 160
PROJECT_ID_CHARACTERS = 128
_ZIP_CODE_DIGITS = 5
_FIRST_FIVE = r"extract: '^(\d{5})'"

Texts: TypeAlias = "pa.StringArray | str | None"


RETAILERS: Dict[Intent, str] = {
    Intent.ADD_TO_CART: "walmart",
    Intent.PRODUCT_DETAIL: "target",
    Intent.SHOPPING_LIST: "instacart",
    Intent.RECIPE: "instacart",
}
NEEDS: Dict[Intent, str] = {
    Intent.CUSTOM_URL: "custom_url",
    Intent.ADD_TO_CART: "products",
    Intent.PRODUCT_DETAIL: "products",
    Intent.SHOPPING_LIST: "options.instacart.shopping_list",
    Intent.RECIPE: "options.instacart.recipe",
}

# Combining marks and skin tones belong to the character before them; U+200D joins two emoji.
_EXTENDS = r"\p{M}\x{1F3FB}-\x{1F3FF}"
_LAST_CLUSTER = (
    rf"[^{_EXTENDS}\x{{200D}}][{_EXTENDS}]*"
    rf"(?:\x{{200D}}[^{_EXTENDS}\x{{200D}}][{_EXTENDS}]*)*\x{{200D}}?$"
)


def check_name(
    names: pa.StringArray, field: str, findings: Findings, *, truncate: bool
) -> pa.StringArray:
    """Check that names have at most 160 characters (code points), or cut them.

    Args:
        names: a text per row.
        field: the path of the field.
        findings: takes names that are too long, or were cut.
        truncate: whether to cut.

    Returns:
        The names to send.
    """
    # Bytes are at least as many as characters, and their number costs nothing to know.
    doubtful = np.flatnonzero(np.diff(offsets_of(names)) > NAME_CHARACTERS)
    if not len(doubtful):
        return names
    lengths = pc.fill_null(pc.utf8_length(names), 0)
    long = pc.greater(lengths, NAME_CHARACTERS)
    if not truncate:
        findings.add(
            long,
            field,
            ProblemCode.TOO_LONG,
            f"At most {NAME_CHARACTERS} characters, but it has ",
            lengths,
            ': "',
            names,
            '"; shorten it, or set on_too_long: truncate.',
        )
        return names
    findings.add(
        long,
        field,
        NoteCode.TRUNCATED,
        f"Cut to {NAME_CHARACTERS} characters; it has ",
        lengths,
        ': "',
        names,
        '".',
    )
    return pc.if_else(long, _cut(names), names)


def _cut(names: pa.StringArray) -> pa.StringArray:
    """Cut after the last whole character: combining marks and joined emoji stay together."""
    kept = pc.utf8_slice_codeunits(names, 0, NAME_CHARACTERS)
    follower = pc.utf8_slice_codeunits(names, NAME_CHARACTERS, NAME_CHARACTERS + 1)
    # Cut in the middle when what follows belongs to the last character, or that one waits for more.
    split = pc.or_(
        pc.match_substring_regex(follower, rf"[{_EXTENDS}\x{{200D}}]"),
        pc.match_substring_regex(kept, r"\x{200D}$"),
    )
    without = pc.replace_substring_regex(kept, _LAST_CLUSTER, "")
    whole = pc.if_else(pc.and_(split, pc.greater(pc.utf8_length(without), 0)), without, kept)
    return pc.utf8_rtrim_whitespace(whole)


def check_quantity(
    quantities: pa.Array, field: str, findings: Findings, limits: Limits
) -> pa.Array:
    """Return quantities as int64, null where they are none; "2" and 2.0 count as 2.

    Args:
        quantities: a text per row, null for none.
        field: the path of the field.
        findings: takes the problems.
        limits: the largest quantity.
    """
    # A hundred thousand rows have a dozen different quantities.
    encoded = quantities.dictionary_encode()
    texts = pc.utf8_trim_whitespace(encoded.dictionary)
    # At most nine digits, so that the cast can't overflow; 2.0 because frames make floats of
    # columns with a gap.
    counts = pc.match_substring_regex(texts, r"^0*[1-9][0-9]{0,8}(?:\.0*)?$")
    wrong = pc.take(pc.invert(counts), encoded.indices)
    findings.add(
        wrong,
        field,
        ProblemCode.NOT_A_COUNT,
        'The quantity "',
        quantities,
        '" is not a whole number from 1 on; correct it.',
    )
    whole = pc.replace_substring_regex(texts, r"\.0*$", "")
    numbers = pc.if_else(counts, whole, None).cast(pa.int64()).take(encoded.indices)
    findings.add(
        pc.greater(numbers, limits.max_quantity),
        field,
        ProblemCode.OVER_LIMIT,
        "The quantity ",
        numbers,
        f" is over the limit of {limits.max_quantity}; lower it, or raise max_quantity.",
    )
    return numbers


def check_zip_code(zip_codes: pa.StringArray, field: str, findings: Findings) -> None:
    """Check that ZIP codes have five digits."""
    # The usual column; the three expressions below are for the others.
    if is_all_digits(zip_codes) and _has_length(zip_codes, _ZIP_CODE_DIGITS):
        return
    encoded = zip_codes.dictionary_encode()

    def matching(pattern: str) -> pa.BooleanArray:
        return pc.match_substring_regex(encoded.dictionary, pattern).take(encoded.indices)

    short, plus_4 = matching(r"^[0-9]{3,4}$"), matching(r"^[0-9]{5}-?[0-9]{4}$")
    add, code = findings.add, ProblemCode.NOT_A_ZIP_CODE
    add(
        short,
        field,
        code,
        '"',
        zip_codes,
        '" has fewer than five digits. Did it lose its leading zero? Write ',
        pc.utf8_lpad(zip_codes, _ZIP_CODE_DIGITS, "0"),
        "; in a frame or spreadsheet, keep the column as text.",
    )
    message = f'" is a ZIP+4; keep its first five digits, in the mapping with {_FIRST_FIVE}.'
    add(plus_4, field, code, '"', zip_codes, message)
    other = pc.invert(pc.or_(pc.or_(short, plus_4), matching(r"^[0-9]{5}$")))
    add(other, field, code, '"', zip_codes, '" is not a ZIP code of five digits; correct it.')


def check_intent(
    intents: pa.StringArray,
    retailers: pa.StringArray,
    findings: Findings,
    *,
    allow_unknown: bool,
) -> None:
    """Check that the intent exists and goes with the retailer.

    Args:
        intents: a text per row.
        retailers: a text per row.
        findings: takes the problems.
        allow_unknown: whether names that this version doesn't know are let through.
    """
    known = ", ".join(Intent)
    # `Walmart` is told as a matter of case, whose fix is certain, not as unknown as well.
    wrong = _unlisted(intents, list(Intent))
    trimmed = pc.equal(intents, pc.utf8_trim_whitespace(intents))
    is_certain = pc.and_(wrong, trimmed) if allow_unknown else wrong
    _wrong_case(intents, is_certain, list(Intent), "intent", findings)
    wrong = pc.and_(wrong, pc.invert(_is_meant(intents, list(Intent))))
    if not allow_unknown:
        findings.add(
            wrong,
            "intent",
            ProblemCode.UNKNOWN_INTENT,
            'The intent "',
            intents,
            f'" is unknown; known are {known}.',
        )
    names = sorted(set(RETAILERS.values()))
    strange = _unlisted(retailers, names)
    # A custom URL goes with any retailer, also with one that nobody has heard of.
    bound = pc.not_equal(intents, Intent.CUSTOM_URL.value)
    # Where any name goes, white space may be a part of it.
    trimmed = pc.equal(retailers, pc.utf8_trim_whitespace(retailers))
    is_certain = trimmed if allow_unknown else pc.or_(bound, trimmed)
    _wrong_case(retailers, pc.and_(strange, is_certain), names, "retailer", findings)
    strange = pc.and_(strange, pc.invert(_is_meant(retailers, names)))
    if not allow_unknown:
        findings.add(
            pc.and_(pc.and_(strange, bound), pc.invert(wrong)),
            "retailer",
            ProblemCode.UNKNOWN_RETAILER,
            'The retailer "',
            retailers,
            f'" is unknown; known are {", ".join(names)}. Others go with the intent custom_url.',
        )
    for intent, retailer in RETAILERS.items():
        other = pc.and_(pc.equal(intents, intent.value), pc.is_in(retailers, pa.array(names)))
        findings.add(
            pc.and_(other, pc.not_equal(retailers, retailer)),
            "retailer",
            ProblemCode.WRONG_RETAILER,
            f'The intent {intent} goes with the retailer {retailer}, not with "',
            retailers,
            '"; change one of them.',
        )


def _unlisted(texts: pa.StringArray, names: list[str]) -> pa.BooleanArray:
    listed = pc.is_in(texts, pa.array(names, pa.string()))
    return pc.and_(texts.is_valid(), pc.invert(listed))


def _spelled(texts: pa.StringArray) -> pa.StringArray:
    """Return texts as the API spells its names: in lower case, without white space around them."""
    return pc.utf8_lower(pc.utf8_trim_whitespace(texts))


def _is_meant(texts: pa.StringArray, names: list[str]) -> pa.BooleanArray:
    return pc.is_in(_spelled(texts), pa.array(names, pa.string()))


def _wrong_case(
    texts: pa.StringArray, wrong: pa.BooleanArray, names: list[str], field: str, findings: Findings
) -> None:
    findings.add(
        pc.and_(wrong, _is_meant(texts, names)),
        field,
        ProblemCode.WRONG_CASE,
        '"',
        texts,
        '" must be in lower case, without white space around it: "',
        _spelled(texts),
        f'". Correct the column; where it is the same in all rows, write {field}: ',
        _spelled(texts),
        " in the mapping.",
    )


def check_needs(
    intents: pa.StringArray, present: Dict[str, pa.BooleanArray], findings: Findings
) -> None:
    """Check that each intent has what it can't do without.

    Args:
        intents: a text per row.
        present: by field, which rows have it.
        findings: takes the problems.
    """
    for intent, field in NEEDS.items():
        lacking = pc.and_(pc.equal(intents, intent.value), pc.invert(present[field]))
        if not lacking.true_count:
            continue
        named = findings.mask(field, ProblemCode.NO_MATCH)  # says the same, and why
        lacking = pc.and_(lacking, pa.array(~named))
        message = f"The intent {intent} needs {field}, but it is empty; fill it in, or map it."
        findings.add(lacking, field, ProblemCode.NEEDED, message)


def _has_length(texts: pa.StringArray, length: int) -> bool:
    lengths = np.diff(offsets_of(texts))
    return bool(((lengths == length) | texts.is_null().to_numpy(zero_copy_only=False)).all())


def check_location(zip_codes: Texts, stores: pa.BooleanArray, findings: Findings) -> None:
    """Check that a store comes with a ZIP code.

    Args:
        zip_codes: a text per row, one for all rows, or None.
        stores: which rows have a store.
        findings: takes the problems.
    """
    # A constant ZIP code is there in every row.
    if isinstance(zip_codes, str):
        return
    lacking = stores if zip_codes is None else pc.and_(stores, zip_codes.is_null())
    message = "A store id is given without a ZIP code; map zip_code too, or leave store_id out."
    findings.add(lacking, "location.store_id", ProblemCode.STORE_WITHOUT_ZIP_CODE, message)


def check_body_size(bodies: pa.StringArray, findings: Findings, limits: Limits) -> None:
    """Check that no body is larger than the limit."""
    sizes = pc.binary_length(bodies)
    findings.add(
        pc.greater(sizes, limits.max_body_bytes),
        "body",
        ProblemCode.OVER_LIMIT,
        "The request has ",
        sizes,
        f" bytes, over the limit of {limits.max_body_bytes}; "
        "shorten options or metadata, or raise max_body_bytes.",
    )
