"""Row keys: what identifies a catalog row, as text that never depends on the reader."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import NoteCode, ProblemCode
from incarts_pipeline.prepare.columns import Columns, text_of, valid_utf8
from incarts_pipeline.prepare.problems import Findings


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


def note_padding(columns: Columns, names: list[str]) -> None:
    """Note keys with white space around them: without it the row would count as another one."""
    for name in names:
        texts = text_of(columns.plain(name))
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


def _separable(texts: pa.StringArray) -> pa.StringArray:
    return pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), "|", "\\|")
