"""Characters that nobody sees: found in cells, and named with their place.

Sources: the general categories Cf and Cc of the Unicode Standard, its variation selectors, and
those letters and symbols that are drawn as nothing.
"""

from __future__ import annotations

import unicodedata
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import NoteCode, ProblemCode, Reason
from incarts_pipeline.prepare.json_columns import data_of, offsets_of
from incarts_pipeline.prepare.problems import Findings, Rows, shown

# White space is left to the rules about white space: it is seen as a gap.
_CONTROLS = r"\x00-\x08\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}"
_DRAWN_AS_NOTHING = (
    r"\x{034f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0f}"
    r"\x{ffa0}\x{e0100}-\x{e01ef}"
)
_GARBLED = r"\x{fffd}"  # what decoders write for bytes that are none of their encoding


class Writing(Enum):
    """What a text is; decides which characters can't be meant in it."""

    CODE = rf"[\p{{Cf}}{_CONTROLS}{_DRAWN_AS_NOTHING}{_GARBLED}]"  # ids, keys, URLs: none of them
    # Joiners, marks of direction and selectors belong to scripts and emoji; overrides of the
    # direction don't, nor what only old software or an interlinear editor reads.
    PROSE = (
        rf"[{_CONTROLS}\x{{202a}}-\x{{202e}}\x{{206a}}-\x{{206f}}\x{{fff9}}-\x{{fffb}}{_GARBLED}]"
    )

    @property
    def code(self) -> ProblemCode | Reason:
        """What such a character is: an error, or a suspicion where it may yet be right."""
        return Reason.ODD_CHARACTER if self is Writing.PROSE else ProblemCode.INVISIBLE_CHARACTER


# First bytes of what is looked for, so that most texts are no more than looked at.
_FIRST_BYTES = np.zeros(256, np.bool_)
_FIRST_BYTES[:0x20] = True
_FIRST_BYTES[[0x7F, 0xC2, 0xCD, 0xD8, 0xDB, 0xDC, *range(0xE0, 0xE4), 0xEF, 0xF0, 0xF3]] = True


def check_characters(
    texts: pa.StringArray, field: str, findings: Findings, writing: Writing
) -> None:
    """Find characters that nobody sees, and can't mean.

    Args:
        texts: a text per row, null for none.
        field: the path of the field.
        findings: takes the problems.
        writing: what the texts are.
    """
    _tell(texts, field, findings, writing.code, writing.value, _WHAT_TO_DO[writing])


def note_breaks(texts: pa.StringArray, field: str, findings: Findings) -> None:
    """Note tabs and line breaks within names, which a label or a page shows as a gap at best."""
    _tell(texts, field, findings, NoteCode.TAB_OR_BREAK, _BREAKS, _KEPT)


def _tell(
    texts: pa.StringArray,
    field: str,
    findings: Findings,
    code: ProblemCode | Reason | NoteCode,
    pattern: str,
    what_to_do: str,
) -> None:
    """Add a problem where a text has a character of a class, with its name and its place."""
    rows = _doubtful(texts)
    if not len(rows):
        return
    doubtful = texts.take(pa.array(rows))
    # `[^…]` of the same class: all before the first of them.
    cut = rf"(?s)^(?P<before>[^{pattern[1:-1]}]*)(?P<found>{pattern})"
    parts = pc.extract_regex(doubtful, pattern=cut)
    hit = parts.is_valid()
    if not hit.true_count:
        return
    rows = rows[hit.to_numpy(zero_copy_only=False)]
    parts, values = parts.filter(hit), doubtful.filter(hit)
    places = pc.add(pc.utf8_length(pc.struct_field(parts, "before")), 1)
    message = pc.binary_join_element_wise(
        '"', shown(values), '" has ', _named(pc.struct_field(parts, "found")), " as its character ",
        places.cast(pa.string()), what_to_do, "",
    )  # fmt: skip
    findings.add_texts(rows, field, code, message)


_BREAKS = r"[\t\n\x0b\x0c\r\x{85}\x{2028}\x{2029}]"
_KEPT = ", which stays in it; write a space if it isn't meant."
_WHAT_TO_DO = {
    Writing.CODE: ", where it can't be meant; remove it.",
    Writing.PROSE: "; remove it, or accept odd_character if it is meant.",
}


def name_of(character: str) -> str:
    """Return a character's code point and name: `U+200B ZERO WIDTH SPACE`."""
    name = unicodedata.name(character, _CONTROL_NAMES.get(character, "control character"))
    return f"U+{ord(character):04X} {name}"


_CONTROL_NAMES = {"\0": "NULL", "\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
_CONTROL_NAMES |= {"\v": "LINE TABULATION", "\f": "FORM FEED", "\x85": "NEXT LINE"}


def _named(characters: pa.StringArray) -> pa.StringArray:
    encoded = characters.dictionary_encode()
    names = [name_of(character) for character in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices)


def _doubtful(texts: pa.StringArray) -> Rows:
    """Return the rows with a byte that such a character may begin with."""
    data = data_of(texts)
    # The least and the largest byte cost next to nothing to know, and are enough for most columns.
    if not len(data) or (data.min() >= ord(" ") and data.max() < 0x7F):
        return np.empty(0, np.int64)
    at = np.flatnonzero(_FIRST_BYTES[data])
    ends = offsets_of(texts)[1:] - offsets_of(texts)[0]
    rows: Rows = np.unique(np.searchsorted(ends, at, side="right")).astype(np.int64)
    return rows
