"""Row keys: what identifies a catalog row, as text that never depends on the reader."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.columns import Columns, text_of, valid_utf8
from incarts_pipeline.rules import ProblemCode


def row_keys(columns: Columns, names: list[str]) -> pa.StringArray:
    r"""Return each row's key; null, with a problem, where a column is null, empty or has a NUL.

    One column's text stands as it is. Several are joined by `|`, after `\` and `|` inside them got
    a `\` before them, so that different rows never join to the same text.
    """
    texts = [_key_text(columns, name) for name in names]
    if len(texts) == 1:
        return texts[0]
    return pc.binary_join_element_wise(*map(_separable, texts), "|")


def _key_text(columns: Columns, name: str) -> pa.StringArray:
    texts = valid_utf8(text_of(columns.plain(name)), name)
    empty = pc.fill_null(pc.equal(pc.binary_length(texts), 0), True)
    cut = pc.fill_null(pc.match_substring(texts, "\0"), False)
    if not (empty.true_count or cut.true_count):
        return texts
    the_column = f'The unique key\'s column "{name}"'
    message = f"{the_column} is empty; every row needs its key."
    columns.findings.add(empty, "unique_key", ProblemCode.EMPTY_KEY, message)
    message = f"{the_column} has a NUL character (U+0000), which no key may have."
    columns.findings.add(cut, "unique_key", ProblemCode.NUL_IN_KEY, message)
    return pc.if_else(pc.or_(empty, cut), pa.scalar(None, pa.string()), texts)


def _separable(texts: pa.StringArray) -> pa.StringArray:
    return pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), "|", "\\|")
