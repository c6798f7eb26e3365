"""JSON objects in a link (metadata, Instacart's options), rendered column by column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from incarts_pipeline.mapping import Column, Constant, Members, Node, Template, is_list
from incarts_pipeline.models import ProblemCode
from incarts_pipeline.prepare.columns import Columns, float_text, plain_array, text_of
from incarts_pipeline.prepare.json_columns import (
    Fragment,
    in_order,
    joined,
    object_of,
    text_fragment,
)
from incarts_pipeline.prepare.json_values import OwnJsonError, canonical_object, canonical_value
from incarts_pipeline.prepare.problems import Findings, Rows, true_rows

# From here on a double may stand for several whole numbers, and readers of JSON have doubles.
_INEXACT = 2**53
_Report = Callable[[Rows, ProblemCode, str], None]


def object_fragment(node: Node, columns: Columns, field: str) -> Fragment | None:
    """Return an object field's JSON: of members, a struct column, or JSON text; None when empty.

    Args:
        node: an object of sources, or a column of structs or JSON text.
        columns: the batch's columns, which also take the problems.
        field: the path of the field, for problems.
    """
    if isinstance(node, Members):
        return _members(node, columns, field)
    if not isinstance(node, Column):
        raise TypeError(f"{field} is no object: {node!r}")
    array = columns.plain(node.column)
    # A struct's nulls are absent members; in JSON text `null` is a value, and is kept.
    if pt.is_struct(array.type):
        found = _rendered(array, columns, field)
    else:
        plain = Column(column=node.column, extract=node.extract)
        texts = columns.evaluate(plain, field, required=False)
        found = _parsed(texts, columns.findings, field)
    return _with_default(found, node.default, columns.rows)


def _members(node: Members, columns: Columns, field: str) -> Fragment | None:
    members = dict(node.members)
    return object_of(
        # In canonical order from the start, so that nothing has to be sorted by row.
        [(n, _value(members[n], columns, f"{field}.{n}")) for n in in_order(list(members))],
        columns.rows,
    )


def _value(node: Node, columns: Columns, field: str) -> Fragment | None:
    if isinstance(node, Members):
        return _members(node, columns, field)
    if isinstance(node, Constant):
        return Fragment((canonical_value(node.value),))
    if isinstance(node, Template):
        texts = columns.evaluate(node, field, required=False)
        return None if texts is None else text_fragment(texts)
    array = columns.plain(node.column)
    # Text stays text even where it looks like a number: "0012" is somebody's id.
    if array.type == pa.string():
        plain = Column(column=node.column, extract=node.extract)
        texts = columns.evaluate(plain, field, required=False)
        found = None if texts is None else text_fragment(texts)
    else:
        found = _rendered(array, columns, field)
    return _with_default(found, node.default, columns.rows)


def _with_default(found: Fragment | None, default: object, rows: int) -> Fragment | None:
    if default is None or (found is not None and not found.optional):
        return found
    # The same for every row, so it is written once.
    text = canonical_value(default)
    if found is None:
        return Fragment((text,))
    return Fragment((pc.fill_null(joined(found.parts, rows, optional=True), text),))


def _parsed(texts: Any, findings: Findings, field: str) -> Fragment | None:
    # Parsing is Python's, value by value: each different text once. Metadata repeats by campaign.
    encoded = texts.dictionary_encode()
    canonical: list[str | None] = []
    codes, messages = [], []
    for text in encoded.dictionary.to_pylist():
        # An error isn't raised: other rows, and other broken rules of this row, are to be told too.
        code = message = found = None
        try:
            found = canonical_object(text)
        except OwnJsonError as error:
            code, message = error.code.value, str(error)
        canonical.append(found)
        codes.append(code)
        messages.append(message)
    _report_texts(pa.array(codes, pa.string()), messages, encoded, findings, field)
    array = pa.array(canonical, pa.string()).take(encoded.indices)
    return Fragment((array,), optional=array.null_count > 0)


def _report_texts(
    codes: pa.StringArray,
    messages: list[str | None],
    encoded: pa.DictionaryArray,
    findings: Findings,
    field: str,
) -> None:
    if codes.null_count == len(codes):
        return
    # From the different texts back to the rows that have them.
    by_row = codes.take(encoded.indices)
    texts = pa.array(messages, pa.string()).take(encoded.indices)
    for code in pc.unique(codes.drop_null()).to_pylist():
        rows = true_rows(pc.equal(by_row, code))
        message = pc.binary_join_element_wise("The JSON text: ", texts.take(pa.array(rows)), "")
        findings.add_texts(rows, field, code, message)


def _rendered(array: pa.Array, columns: Columns, field: str) -> Fragment | None:
    def report(rows: Rows, code: ProblemCode, message: str) -> None:
        columns.findings.add(np.unique(rows), field, code, message)

    # Inside lists, an element's number isn't its row's. So the rows travel along, and every problem
    # names the row that people know.
    return _render(array, np.arange(len(array), dtype=np.int64), report)


def _render(array: pa.Array, rows: Rows, report: _Report) -> Fragment | None:
    """Return the JSON of an array whose elements belong to the batch's `rows`."""
    # Again at each level: what a list or a struct holds may be a dictionary.
    array = plain_array(array)
    kind = array.type
    if array.null_count == len(array):
        return None
    if pt.is_struct(kind):
        return _struct(array, rows, report)
    if is_list(kind):
        return _list(array, rows, report)
    # Decimals without a fraction are whole numbers, which databases give to long ids.
    if pt.is_integer(kind) or (pt.is_decimal(kind) and kind.scale == 0):
        texts = _exact(array, rows, report)
    elif pt.is_floating(kind) or pt.is_decimal(kind):
        texts = float_text(array)
        # NaN is null by now, as `float_text` has it; infinity has no JSON at all.
        infinite = true_rows(pc.is_in(texts, pa.array(["Infinity", "-Infinity"])))
        if len(infinite):
            message = "An infinite number can't be sent; leave it out."
            report(rows[infinite], ProblemCode.INEXACT_NUMBER, message)
    elif pt.is_boolean(kind):
        texts = text_of(array)
    else:
        return text_fragment(text_of(array))
    return Fragment((texts,), optional=texts.null_count > 0)


def _exact(array: pa.Array, rows: Rows, report: _Report) -> pa.StringArray:
    if _is_wide(array):
        # From 2^53 on doubles are at least 2^53, so rounding can't hide one.
        inexact = true_rows(
            pc.greater_equal(pc.abs(array.cast(pa.float64(), safe=False)), float(_INEXACT))
        )
        if len(inexact):
            message = "A whole number of 2^53 or more would lose digits; make the column text."
            report(rows[inexact], ProblemCode.INEXACT_NUMBER, message)
    return text_of(array)


def _is_wide(array: pa.Array) -> bool:
    # Narrower ones can't reach 2^53, so their values needn't be looked at.
    return bool(pt.is_decimal(array.type) or array.type.bit_width == 64)


def _struct(array: pa.StructArray, rows: Rows, report: _Report) -> Fragment | None:
    # `flatten` gives children the struct's own nulls; `field(i)` would show what is behind them.
    names = [field.name for field in array.type.fields]
    children = dict(zip(names, array.flatten(), strict=True))
    return object_of(
        [(name, _render(children[name], rows, report)) for name in in_order(names)], len(array)
    )


def _list(array: pa.ListArray, rows: Rows, report: _Report) -> Fragment:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    # All elements of all rows at once, as one column, then cut into rows again by their lengths.
    values = plain_array(array.flatten())
    found = _render(values, np.repeat(rows, lengths), report)
    # An object whose members are all absent has no text as a member, where it is left out. As an
    # element it can't be left out: the others would move up.
    empty = pa.repeat("{}", len(values)) if pt.is_struct(values.type) else None
    if found is None:
        texts = pa.nulls(len(values), pa.string())
    else:
        texts = joined(found.parts, len(values), optional=found.optional)
    if empty is not None:
        texts = pc.if_else(values.is_valid(), pc.coalesce(texts, empty), None)
    # New ones, because those of a slice may not begin with 0.
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(
        pa.array(offsets), pc.fill_null(texts, "null"), mask=array.is_null()
    )
    return Fragment(("[", pc.binary_join(lists, ","), "]"), optional=array.null_count > 0)
