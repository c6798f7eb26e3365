"""Stand-ins: what spreadsheets and exports write into a cell in place of a value.

Sources: the error values of Excel, LibreOffice and Google Sheets in their languages, and how
pandas, NumPy, SQL databases, R and JavaScript print a value that isn't there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import ProblemCode, Reason
from incarts_pipeline.prepare.json_columns import offsets_of
from incarts_pipeline.prepare.problems import Findings, Rows, placed

_NOTHING = frozenset([
    "nan", "-nan", "null", "none", "n/a", "n.a.", "undefined", "nil", "nat", r"\n", "<na>",
    "<null>", "<none>", "<nan>", "(null)", "(none)", "(blank)", "(empty)", "[null]",
    "[object object]", "no value", "not available", "not applicable", "1.#qnan", "1.#ind",
    "-1.#ind",
])  # fmt: skip
_PERHAPS = frozenset([
    "na", "-", "--", "---", "–", "—", "?", "??", "???", ".", "..", "...", "_", "*", "tbd", "tba",
    "tbc", "todo", "unknown",
])  # fmt: skip
_INFINITE = frozenset(["inf", "-inf", "+inf", "infinity", "-infinity"])
_NAN_NAMES = ("NAN", "Nan", "NIL", "Nil")  # brands and people, which no program writes for nothing

# In whatever language the spreadsheet has: #VALUE!, #BEZUG!, #¿NOMBRE?, #ДЕЛ/0!.
_ERROR = (
    r"^(?:#[¡¿]?\p{Lu}[\p{Lu}\p{M}_/0-9]*[!?]|#(?:N/A|N/D|N/B|N/V|NV|I/T|YOK|Н/Д)!?|#N/A N/A"
    r"|#GETTING_DATA|##+|#ERR[0-9]{3}!?|Loading\.\.\."
    r"|(?:Err|Error|Errore|Erreur ?|Fehler|Erro|Fout|Fel|Chyba):[0-9]{3})$"
)
_LONGEST = 32  # bytes of a word or an error, with what is trimmed away
_WORD, _SIGN = 1, 2  # what the first byte of a cell may begin
# What begins like this is a formula, or text as a spreadsheet marks it, where a code should be.
_MARKED = r"^['’‘`=\"]"
_FORMULA = r"^=(?:\".*\"|[A-Z]+\(.*\)|\$?[A-Z]{1,3}\$?[0-9]+.*)$"
_MEANT = r"^(?:['’‘`]|=?\"|=T\(\")(?P<meant>[0-9A-Za-z][0-9A-Za-z._/-]*)[\"'’)]*$"
_MARKS = b"'\"`=\xe2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a column's cells mean, and so what can't be, or mostly isn't, a value.

    Words are in small letters. `is_code` cells begin with no quote; `is_name` ones may be brands.
    """

    nothing: frozenset[str] = frozenset()
    perhaps: frozenset[str] = frozenset()
    is_code: bool = False
    is_name: bool = False


ID = Meaning(nothing=_NOTHING | _PERHAPS | _INFINITE, is_code=True)
# Beside other columns, NA may be Namibia's, and - the size of what has none.
KEY_PART = Meaning(nothing=_NOTHING | _INFINITE, perhaps=_PERHAPS, is_code=True)
NAME = Meaning(nothing=_NOTHING, perhaps=_PERHAPS, is_name=True)
TEXT = Meaning()  # only a spreadsheet's errors are none


def check_stand_ins(
    texts: pa.StringArray, field: str, findings: Findings, meaning: Meaning
) -> None:
    """Find cells that hold a spreadsheet's error, a word for nothing, or a formula.

    Args:
        texts: a cell per row, null for none.
        field: the path of the field.
        findings: takes the problems and suspicions.
        meaning: what the cells mean.
    """
    rows = _doubtful(texts, meaning)
    if not len(rows):
        return
    cells = pc.utf8_trim_whitespace(texts.take(pa.array(rows)))

    def add(found: pa.BooleanArray, code: str, *said: str | pa.Array) -> None:
        at = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        # Messages are made of texts by row of the batch, and these are only the doubtful ones.
        parts = [part if isinstance(part, str) else placed(part, rows, len(texts)) for part in said]
        findings.add(rows[at], field, code, '"', texts, *parts)

    error = pc.match_substring_regex(cells, _ERROR)
    small = pc.utf8_lower(cells)
    nothing, perhaps = (_among(small, words) for words in (meaning.nothing, meaning.perhaps))
    if meaning.is_name:
        named = _among(cells, frozenset(_NAN_NAMES))
        nothing, perhaps = pc.and_not(nothing, named), pc.or_(perhaps, named)
    add(
        error,
        ProblemCode.SPREADSHEET_ERROR,
        "\" is a spreadsheet's error, and no value; correct the cell, or leave it empty.",
    )
    add(
        nothing,
        ProblemCode.NO_VALUE,
        '" stands for an empty cell, and is no value; fill the cell in, or leave it empty.',
    )
    add(
        perhaps,
        Reason.LOOKS_EMPTY,
        '" may stand for an empty cell; fill it in or leave it empty, or accept looks_empty if it '
        "is meant.",
    )
    marked = pc.match_substring_regex(cells, _MARKED if meaning.is_code else _FORMULA)
    marked = pc.and_not(marked, pc.or_(error, nothing))
    meant = pc.struct_field(pc.extract_regex(cells, pattern=_MEANT), "meant")
    says = '" is a formula, or text as a spreadsheet marks it; write '
    add(pc.and_(marked, meant.is_valid()), ProblemCode.SPREADSHEET_TEXT, says, meant, ".")
    add(pc.and_(marked, meant.is_null()), ProblemCode.SPREADSHEET_TEXT, says, "its plain value.")


def _among(texts: pa.StringArray, words: frozenset[str]) -> pa.BooleanArray:
    return pc.is_in(texts, pa.array(sorted(words), pa.string()))


def _doubtful(texts: pa.StringArray, meaning: Meaning) -> Rows:
    """Return the rows that begin and end like what is looked for: in most columns very few."""
    offsets = offsets_of(texts).astype(np.int64)
    if not len(texts) or offsets[0] == offsets[-1]:
        return np.empty(0, np.int64)
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    starts, ends = offsets[:-1], offsets[1:]
    begins = _bytes_of(meaning)[0][data[np.minimum(starts, len(data) - 1)]]
    rows = np.flatnonzero(begins)
    # Few begin so; the rest of what there is to know is looked up for these alone.
    starts, ends, begins = starts[rows], ends[rows], begins[rows]
    is_word = (begins == _WORD) & _bytes_of(meaning)[1][data[np.maximum(ends - 1, 0)]]
    is_error = (begins == _WORD) & (data[np.maximum(ends - 4, 0)] == ord(":"))  # Err:502
    short = ends - starts <= _LONGEST
    found = (begins == _SIGN) | short & (is_word | is_error)
    kept: Rows = rows[found & (ends > starts)].astype(np.int64)
    return kept


@cache
def _bytes_of(meaning: Meaning) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return what each byte is at the beginning of a cell, and which bytes a word ends with."""
    words = [*meaning.nothing, *meaning.perhaps, "loading...", "err", "fehler", "chyba"]
    forms = [form.encode() for word in words for form in (word, word.upper())]
    spaces = b"\t\n\r \xc2"  # which are trimmed away
    begins, ends = np.zeros(256, np.uint8), np.zeros(256, np.bool_)
    begins[[form[0] for form in forms]] = _WORD
    begins[list(b"#=" + spaces + (_MARKS if meaning.is_code else b""))] = _SIGN
    ends[[*(form[-1] for form in forms), *spaces, 0xA0]] = True
    return begins, ends
