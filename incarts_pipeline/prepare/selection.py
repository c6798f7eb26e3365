"""Selection of rows: those that the mapping's filter and its first-of-key rule leave.

What is left out is no row: it has no problems, and is in no table.
"""

from __future__ import annotations

import hashlib
import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.mapping import Compared, Filled, Filter, Inverted, Mapping, Value
from incarts_pipeline.prepare.columns import Columns, constant_text
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.row_keys import row_keys
from incarts_pipeline.text import counted

_NUMBER = r"^\s*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?\s*$"
_ORDER = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_DIGEST_BYTES = 16  # so many distinguish more keys than there are


class Selection:
    """Lets the rows through that the mapping is about.

    `left_out` counts, once all is read, the rows that the filter left out, and `repeated` those
    behind the first of their key.
    """

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._seen: set[bytes] = set()
        self.left_out = 0
        self.repeated = 0

    @property
    def is_needed(self) -> bool:
        """Whether any row could be left out."""
        return self._mapping.where is not None or self._mapping.first_of_key

    def told(self) -> list[str]:
        """Say how many rows were left out, and why."""
        lines = []
        if self.left_out:
            lines.append(f"where: leaves out {counted(self.left_out, 'row')}.")
        if self.repeated:
            lines.append(
                f"first_of_key: leaves out {counted(self.repeated, 'row')} behind the first of "
                "their key."
            )
        return lines

    def wanted(self, batch: pa.RecordBatch, first_row: int) -> pa.BooleanArray:
        """Return which rows the filter leaves.

        Args:
            batch: rows of the catalog.
            first_row: the first one's number in the catalog.

        Raises:
            CatalogError: a value can't be compared; names row and column.
        """
        if self._mapping.where is None:
            return pa.repeat(True, batch.num_rows)
        columns = Columns(batch, Findings(batch.num_rows))
        kept = _Evaluated(columns, first_row).rows(self._mapping.where.condition).fill_null(False)
        self.left_out += batch.num_rows - kept.true_count
        return kept

    def firsts(self, batch: pa.RecordBatch, wanted: pa.BooleanArray) -> pa.BooleanArray:
        """Return which of the wanted rows are the first of their key, in this and all batches.

        Args:
            batch: rows of the catalog; each batch once, and in order.
            wanted: a mask over them.
        """
        if not self._mapping.first_of_key:
            return wanted
        keys = row_keys(Columns(batch, Findings(batch.num_rows)), self._mapping.unique_key)
        # A row without a key is nobody's twin, and told by its own problem.
        chosen = []
        for key, counts in zip(keys.to_pylist(), wanted.to_pylist(), strict=True):
            if counts and key is not None:
                digest = hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest()
                counts = digest not in self._seen
                self._seen.add(digest)
            chosen.append(counts)
        first = pa.array(chosen, pa.bool_())
        self.repeated += wanted.true_count - first.true_count
        return first


class _Evaluated:
    """Evaluates conditions on one batch; null is unknown, as in SQL."""

    def __init__(self, columns: Columns, first_row: int) -> None:
        self._columns = columns
        self._first_row = first_row

    def rows(self, condition: Filter) -> pa.BooleanArray:
        if isinstance(condition, Filled):
            return self._columns.is_given(condition.column)
        if isinstance(condition, Inverted):
            return pc.invert(self.rows(condition.of))
        if isinstance(condition, Compared):
            return self._compared(condition)
        join = pc.and_kleene if condition.all_of else pc.or_kleene
        found = self.rows(condition.parts[0])
        for part in condition.parts[1:]:
            found = join(found, self.rows(part))
        return found

    def _compared(self, condition: Compared) -> pa.BooleanArray:
        if condition.sign == "IN":
            found = [self._equal(condition.column, value) for value in condition.values]
            result = found[0]
            for one in found[1:]:
                result = pc.or_kleene(result, one)
            return result
        value = condition.values[0]
        if condition.sign == "LIKE":
            texts = self._columns.text(condition.column)
            return pc.match_substring_regex(texts, _like(str(value)))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _ORDER[condition.sign](self._numbers(condition.column), float(value))
        return _ORDER[condition.sign](self._columns.text(condition.column), constant_text(value))

    def _equal(self, column: str, value: Value) -> pa.BooleanArray:
        return self._compared(Compared(column=column, sign="=", values=(value,)))

    def _numbers(self, column: str) -> pa.DoubleArray:
        """Return a column as numbers; the texts of a CSV are compared as such."""
        plain = self._columns.plain(column)
        if pt.is_integer(plain.type) or pt.is_floating(plain.type) or pt.is_decimal(plain.type):
            return plain.cast(pa.float64(), safe=False)
        texts = self._columns.text(column)
        wrong = pc.invert(pc.match_substring_regex(texts, _NUMBER)).fill_null(False)
        if wrong.true_count:
            at = pc.index(wrong, True).as_py()
            row = self._first_row + at
            raise CatalogError(
                f"Row {row} (the first is 0) has {texts[at].as_py()!r} in the column {column!r}, "
                "which where: compares with a number.",
                fix="Correct the cell, or compare with a text in single quotes.",
                row=row,
                column=column,
            )
        return pc.utf8_trim_whitespace(texts).cast(pa.float64())


def _like(pattern: str) -> str:
    parts = (re.escape(part) for part in re.split("([%_])", pattern))
    return "(?s)^" + "".join({"%": ".*", "_": "."}.get(part, part) for part in parts) + "$"
