"""Header: rows that repeat it, where files were put one behind the other."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import ProblemCode
from incarts_pipeline.prepare.columns import Columns
from incarts_pipeline.prepare.problems import Rows, true_rows

_MARK = "\ufeff \t"  # a file in the middle may begin with a mark of its encoding


def refuse_headers(columns: Columns, names: Sequence[str]) -> None:
    """Refuse rows whose cells are the names of their columns, and say nothing else of them.

    Args:
        columns: the batch's columns, which also take the problems.
        names: the columns that are mapped.
    """
    rows: Rows | None = None
    # From the last one on, since only the first can have a mark; nearly always, that is the end.
    for name in reversed(names):
        if not pa.types.is_string(columns.plain(name).type):
            return
        texts = columns.text(name)
        if rows is None:
            same = pc.equal(texts, name)
            rows = true_rows(same) if len(names) > 1 else true_rows(_is_named(texts, name))
        else:
            rows = rows[true_rows(_is_named(texts.take(pa.array(rows)), name))]
        if not len(rows):
            return
    if rows is not None:
        columns.findings.replace(
            rows,
            "row",
            ProblemCode.REPEATS_HEADER,
            "The row is the header once more; remove it, or put files together without it.",
        )


def _is_named(texts: pa.StringArray, name: str) -> pa.BooleanArray:
    return pc.equal(pc.utf8_trim(texts, _MARK), name)
