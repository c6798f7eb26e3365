"""Options of a row beside its link: how urgent it is, and whether it is pinned."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.mapping import Mapping, Source
from incarts_pipeline.models import NoteCode, ProblemCode
from incarts_pipeline.prepare.columns import Columns
from incarts_pipeline.prepare.products import spread

_NUMBER = r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?$"
# A pin that is misread replaces a link in print, so nothing else is taken for yes or no.
_TRUE = pa.array(["true", "1", "yes", "y"])
_FALSE = pa.array(["false", "0", "no", "n"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Per row: `priority` (float64, null when none is given) and `pinned` (bool)."""

    priority: pa.DoubleArray
    pinned: pa.BooleanArray


def evaluate_order(mapping: Mapping, columns: Columns) -> Order:
    """Read priority and pinned; a priority that is no number is noted, an unclear pin a problem."""
    return Order(
        priority=_priority(mapping.priority, columns),
        pinned=_pinned(mapping.pinned, columns),
    )


def _priority(source: Source | None, columns: Columns) -> pa.DoubleArray:
    if source is None:
        return pa.nulls(columns.rows, pa.float64())
    texts = columns.evaluate(source, "priority", required=False)
    texts = pc.utf8_trim_whitespace(spread(texts, columns.rows))
    numbers = pc.match_substring_regex(texts, _NUMBER)
    # Only the order depends on it, so the row is sent all the same.
    columns.findings.add(
        pc.invert(numbers),
        "priority",
        NoteCode.PRIORITY_IGNORED,
        'The priority "',
        texts,
        '" is not a number and counts as none.',
    )
    return pc.if_else(numbers, texts, None).cast(pa.float64())


def _pinned(source: Source | None, columns: Columns) -> pa.BooleanArray:
    if source is None:
        return pa.repeat(False, columns.rows)
    texts = spread(columns.evaluate(source, "pinned", required=False), columns.rows)
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    pinned = pc.is_in(lower, _TRUE)
    unclear = pc.and_(
        pc.invert(pc.or_(pinned, pc.is_in(lower, _FALSE))),
        texts.is_valid(),
    )
    columns.findings.add(
        unclear,
        "pinned",
        ProblemCode.NOT_A_FLAG,
        '"',
        texts,
        '" is neither true nor false; use true, false, 1, 0, yes or no.',
    )
    return pinned
