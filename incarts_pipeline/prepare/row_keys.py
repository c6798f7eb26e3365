"""Row keys: what identifies a catalog row, as text that never depends on the reader."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import NoteCode, ProblemCode, Reason
from incarts_pipeline.prepare.characters import Writing, check_characters
from incarts_pipeline.prepare.columns import Columns, text_of, valid_utf8
from incarts_pipeline.prepare.item_ids import is_all_digits
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.stand_ins import ID, KEY_PART, Meaning, check_stand_ins

# What Excel and LibreOffice show, or save as CSV, of 885001234567, 3-4 and true.
_MONTHS = (
    "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Jän|Mär|Mrz|Mai|Okt|Dez|janv|févr|mars|avr|mai"
    "|juin|juil|août|sept|oct|nov|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott"
)
_CONVERTED = (
    r"^(?:[0-9]+[.,][0-9]+[eE][+-]?[0-9]+|[0-9]+[eE]\+[0-9]+|[0-9]+\.0+"
    r"|[0-9]{1,3}(?:,[0-9]{3})+"
    rf"|[0-9]{{1,2}}[-. /]{{1,2}}(?:{_MONTHS})\.?(?:[- /][0-9]{{2,4}})?"
    rf"|(?:{_MONTHS})[-. ][0-9]{{1,4}}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]00:00(?::00(?:\.0+)?)?"
    r"|[0-9]{1,2}(?:/[0-9]{1,2}/(?:[0-9]{2}|[0-9]{4})|\.[0-9]{1,2}\.(?:19|20)[0-9]{2})"
    r"|(?i:true|false)|WAHR|FALSCH|VRAI|FAUX|VERDADERO|FALSO|VERO)$"
)


def row_keys(columns: Columns, names: list[str]) -> pa.StringArray:
    r"""Return each row's key; null, with a problem, where a column is null, empty or has a NUL.

    One column's text stands as it is. Several are joined by `|`, after `\` and `|` inside them got
    a `\` before them, so that different rows never join to the same text.

    Args:
        columns: the batch's columns, which also take the problems.
        names: the unique key's columns, in order.
    """
    # Not `Columns.text`: a key's white space is kept, since without it the row is another one.
    texts = [_key_text(columns, name) for name in names]
    if len(texts) == 1:
        return texts[0]
    # A null in any part makes the whole key null: half a key would be somebody else's.
    return pc.binary_join_element_wise(*map(_separable, texts), "|")


def check_keys(columns: Columns, names: list[str]) -> None:
    """Look for what is no key, or would be spelled in another way by the next export.

    It is for rows that may get a link: what has one is known by its key, whatever that is.

    Args:
        columns: the batch's columns, which also take the problems.
        names: the unique key's columns.
    """
    # A part of a key may say nothing, where the others say which row it is.
    meaning = ID if len(names) == 1 else KEY_PART
    told = columns.findings.mask("unique_key")
    for name in names:
        texts = columns.plain(name)
        # Numbers, dates and flags that have their own type are what they seem to be.
        if texts.type != pa.string() or is_all_digits(texts):
            continue
        if told.any():
            texts = pc.if_else(pa.array(told), pa.scalar(None, pa.string()), texts)
        _check_text(texts, columns.findings, meaning)
        # Without it, the row would count as another one.
        padded = pc.not_equal(pc.utf8_trim_whitespace(texts), texts)
        message = f'The unique key\'s column "{name}" begins or ends with white space.'
        columns.findings.add(padded, "unique_key", NoteCode.KEY_PADDED, message)


def without_nul(texts: pa.StringArray, name: str, field: str, findings: Findings) -> pa.StringArray:
    """Return a column's key texts; null, with a problem, where one has a NUL.

    Args:
        texts: one key column as text.
        name: its name.
        field: the field that a problem is told of.
        findings: takes the problems.
    """
    # SQLite's functions end a text at NUL: two keys could be found under one.
    cut = pc.fill_null(pc.match_substring(texts, "\0"), False)
    if not cut.true_count:
        return texts
    message = f'The column "{name}" has a NUL character (U+0000); remove it, no key may have one.'
    findings.add(cut, field, ProblemCode.NUL_IN_KEY, message)
    return pc.if_else(cut, pa.scalar(None, pa.string()), texts)


def _key_text(columns: Columns, name: str) -> pa.StringArray:
    texts = valid_utf8(text_of(columns.plain(name)), name)
    empty = pc.fill_null(pc.equal(pc.binary_length(texts), 0), True)
    if empty.true_count:
        message = (
            f'The unique key\'s column "{name}" is empty; fill it in, every row needs its key.'
        )
        columns.findings.add(empty, "unique_key", ProblemCode.EMPTY_KEY, message)
        texts = pc.if_else(empty, pa.scalar(None, pa.string()), texts)
    return without_nul(texts, name, "unique_key", columns.findings)


def _check_text(texts: pa.StringArray, findings: Findings, meaning: Meaning) -> None:
    check_characters(texts, "unique_key", findings, Writing.CODE)
    check_stand_ins(texts, "unique_key", findings, meaning)
    findings.add(
        pc.match_substring_regex(texts, _CONVERTED),
        "unique_key",
        Reason.LOOKS_CONVERTED,
        '"',
        texts,
        '" is how a spreadsheet writes a number, a date or a truth value, and the next export may '
        "write it in another way; take the key from its source as text, or accept looks_converted "
        "if it is one.",
    )


def _separable(texts: pa.StringArray) -> pa.StringArray:
    return pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), "|", "\\|")
