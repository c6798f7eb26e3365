"""Columns of a batch as text: one spelling for each Arrow type, and sources evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
import rfc8785

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.mapping import (
    Column,
    Constant,
    Name,
    Source,
    Template,
    is_list,
    is_text,
    named,
    named_group,
)
from incarts_pipeline.models import ProblemCode
from incarts_pipeline.prepare.json_columns import data_of, offsets_of
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.url_templates import is_encoded, percent_encoded

# RE2's \s is ASCII, and \p{Z} lacks the control characters; U+0085 is neither.
_BLANK = r"^[\p{Z}\s\x00-\x1f\x{85}]*$"
_SPACE_BYTES = np.zeros(256, np.bool_)
_SPACE_BYTES[:0x21] = True  # ASCII white space and control characters
_SPACE_BYTES[[0xC2, 0xE1, 0xE2, 0xE3]] = True  # first bytes of the other white space


class Columns:
    """One batch's columns, each turned into plain arrays and text once."""

    def __init__(self, batch: pa.RecordBatch, findings: Findings) -> None:
        self.rows = batch.num_rows
        self.findings = findings
        self._batch = batch
        self._texts: dict[str, pa.StringArray] = {}

    def plain(self, name: Name) -> pa.Array:
        """Return a column without dictionaries, run ends, extensions and large or view types.

        Of several columns, it is the text that the first filled one has.
        """
        if not isinstance(name, str):
            return self.text(name)
        return plain_array(self._batch.column(name))

    def text(self, name: Name) -> pa.StringArray:
        """Return a column as text, blank ones null; of several, that of the first filled one.

        Raises:
            CatalogError: it holds bytes that are not UTF-8.
        """
        if not isinstance(name, str):
            return pc.coalesce(*map(self.text, name))
        # A column is mostly read more than once: as key, in the name, in a URL.
        if name not in self._texts:
            # Blanks are nulls from here on, so that a cell with a space in it is as empty as it
            # looks.
            self._texts[name] = without_blanks(valid_utf8(text_of(self.plain(name)), name))
        return self._texts[name]

    def is_given(self, name: Name) -> pa.BooleanArray:
        """Return in which rows a column has a value; a blank text is none."""
        array = self.plain(name)
        return (self.text(name) if array.type == pa.string() else array).is_valid()

    def constant(self, source: Source) -> str | None:
        """Return the text that all rows share, if they do."""
        return constant_text(source.value) if isinstance(source, Constant) else None

    def evaluate(
        self, source: Source, field: str, *, required: bool, is_url: bool = False
    ) -> pa.StringArray | str | None:
        """Return a source's texts: one for all rows, or one per row with nulls; None for nothing.

        Nulls of a template are recorded as problems, those of a column when it is `required`; so
        is a value in which `extract` finds nothing.

        Args:
            source: a constant, a column or a template.
            field: the path of the field, for problems: `products.quantity`.
            required: whether an empty value is a problem.
            is_url: whether a template's values are percent-encoded for where they stand.
        """
        if isinstance(source, Constant):
            text = constant_text(source.value)
            return text if text.strip() else None
        if isinstance(source, Template):
            return self._template(source, field, is_url=is_url)
        texts = self.text(source.column)
        found = texts
        if source.extract is not None:
            found = _extracted(texts, source.extract)
            # Only a value that was there can fail to match. An empty one is `missing`, if it is
            # required.
            if source.default is None and found.null_count > texts.null_count:
                self._unmatched(source, field, texts, found)
        if source.default is not None and found.null_count:
            found = pc.fill_null(found, constant_text(source.default))
        # By `texts`, not `found`: what doesn't match has been told already.
        if required and texts.null_count and source.default is None:
            self.missing(texts.is_null(), source.column, field)
        return found

    def cells(self, source: Source, found: pa.StringArray | str | None) -> list[pa.StringArray]:
        """Return what of the catalog a source was made of: `found`, or a template's columns."""
        if isinstance(source, Template):
            return [self.text(name) for name in dict.fromkeys(source.columns)]
        return [found] if isinstance(found, pa.Array) and isinstance(source, Column) else []

    def _template(self, source: Template, field: str, *, is_url: bool) -> pa.StringArray:
        texts = {name: self.text(name) for name in source.columns}
        parts: list[Any] = [source.literals[0]]
        for at, (name, literal) in enumerate(zip(source.columns, source.literals[1:], strict=True)):
            encoded = is_url and is_encoded(source, at)
            value = percent_encoded(texts[name]) if encoded else texts[name]
            # A null makes the whole text null in this join, which is what a template with a hole
            # is.
            parts.extend((value, literal))
        filled = pc.binary_join_element_wise(*parts, "")
        if not filled.null_count:
            return filled
        if source.default is not None:
            return pc.fill_null(filled, source.default)
        # One problem for each empty column, so that the row is mended in one go.
        for name, column in texts.items():
            message = (
                f'The column "{named(name)}" of the template is empty; fill it or give a default.'
            )
            self.findings.add(column.is_null(), field, ProblemCode.MISSING, message)
        return filled

    def missing(self, where: pa.BooleanArray, column: Name, field: str) -> None:
        """Record that a required column is empty.

        Args:
            where: a mask over the rows.
            column: its name.
            field: the path of the field that it feeds.
        """
        message = f'The column "{named(column)}" is empty; fill it or give a default.'
        self.findings.add(where, field, ProblemCode.MISSING, message)

    def _unmatched(
        self, source: Column, field: str, texts: pa.StringArray, found: pa.StringArray
    ) -> None:
        self.findings.add(
            pc.and_(found.is_null(), texts.is_valid()),
            field,
            ProblemCode.NO_MATCH,
            f'The expression {source.extract} finds nothing in "',
            texts,
            f'" of the column "{named(source.column)}"; correct the value or the expression.',
        )


def constant_text(value: object) -> str:
    """Return a constant as text, spelled as a column's value would be."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # `5` in YAML and 5 in a column must be the same text, or the same content has two hashes.
    return value if isinstance(value, str) else _number(value)


def _number(value: Any) -> str:
    return str(value) if isinstance(value, int) else rfc8785.dumps(value).decode()


def plain_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return an array without dictionary, run-end encoding, extension, large or view type."""
    if isinstance(array.type, pa.BaseExtensionType):
        return plain_array(array.storage)
    if pt.is_dictionary(array.type):
        return plain_array(array.cast(array.type.value_type))
    if pt.is_run_end_encoded(array.type):
        return plain_array(pc.run_end_decode(array))
    if is_text(array.type) and array.type != pa.string():
        return array.cast(pa.string())
    if is_list(array.type) and not pt.is_list(array.type):
        return _plain_list(array)
    return array


def _plain_list(array: pa.Array) -> pa.ListArray:
    # Built by hand: Arrow's cast of list views gets their offsets wrong.
    lengths = pc.if_else(array.is_valid(), pc.list_value_length(array), 0).to_numpy()
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), array.flatten(), mask=array.is_null())


def text_of(array: pa.Array) -> pa.StringArray:
    """Return the canonical text of a plain array.

    Strings as they are, whole numbers in decimal, booleans `true` and `false`, dates and times in
    ISO 8601 (with `Z` for zoned ones, in UTC; a fraction only where there is one), other numbers
    as ECMAScript writes them.
    """
    kind = array.type
    if kind == pa.string():
        return array
    # The order matters: float before the general cast, whose spelling is C++'s, not ECMAScript's.
    if pt.is_floating(kind):
        return float_text(array)
    if pt.is_timestamp(kind):
        return _timestamp_text(array)
    if pt.is_time(kind):
        return _without_zero_fraction(array.cast(pa.string()))
    if pt.is_date(kind):
        # date64 would be spelled with a time.
        return array.cast(pa.date32()).cast(pa.string())
    return array.cast(pa.string())


def float_text(array: pa.Array) -> pa.StringArray:
    """Return numbers as ECMAScript writes them (RFC 8785, section 3.2.2.3); NaN is null."""
    # Each different value is spelled once, by the encoder that will write it: prices repeat.
    encoded = array.cast(pa.float64()).dictionary_encode()
    texts = [_finite(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(encoded.indices)


def _finite(value: float | None) -> str | None:
    # NaN is what pandas makes of a missing value.
    if value is None or value != value:
        return None
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return rfc8785.dumps(value).decode()


def _timestamp_text(array: pa.Array) -> pa.StringArray:
    # Arrow keeps zoned times in UTC, so that dropping the zone changes no digit.
    zoned = array.type.tz is not None
    naive = array.cast(pa.timestamp(array.type.unit)) if zoned else array
    texts = _without_zero_fraction(naive.cast(pa.string()))
    texts = pc.replace_substring(texts, " ", "T")
    return pc.binary_join_element_wise(texts, "Z", "") if zoned else texts


def _without_zero_fraction(texts: pa.StringArray) -> pa.StringArray:
    # Whole seconds are the rule, and a look at the bytes is cheaper than two expressions.
    if not _has_dot(texts):
        return texts
    # A column of microseconds spells .000000 where one of seconds spells nothing: the same time has
    # to be the same key.
    texts = pc.replace_substring_regex(texts, r"\.0+$", "")
    return pc.replace_substring_regex(texts, r"(\.\d*[1-9])0+$", r"\1")


def _has_dot(texts: pa.StringArray) -> bool:
    return bool((data_of(texts) == ord(".")).any())


def without_blanks(texts: pa.StringArray) -> pa.StringArray:
    """Return texts with null for those that are empty or only white space."""
    if texts.null_count == len(texts):
        return texts
    # Almost no value begins with white space: a look at each first byte leaves few for the
    # expression, which is many times as slow.
    offsets = offsets_of(texts)
    data = np.frombuffer(texts.buffers()[2] or b"\0", np.uint8)
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    blank = (offsets[1:] == offsets[:-1]) & valid
    # An empty last value begins where the data ends.
    firsts = data[np.minimum(offsets[:-1], max(len(data) - 1, 0))]
    doubtful = np.flatnonzero(_SPACE_BYTES[firsts] & valid & ~blank)
    if len(doubtful):
        spaces = pc.match_substring_regex(texts.take(pa.array(doubtful)), _BLANK)
        blank[doubtful] = spaces.to_numpy(zero_copy_only=False)
    return (
        pc.if_else(pa.array(blank), pa.scalar(None, pa.string()), texts) if blank.any() else texts
    )


def _extracted(texts: pa.StringArray, pattern: str) -> pa.StringArray:
    named, group = named_group(pattern)
    found = pc.struct_field(pc.extract_regex(texts, pattern=named), group)
    return without_blanks(found)


def valid_utf8(texts: pa.StringArray, name: str) -> pa.StringArray:
    """Return the texts when they are UTF-8, as Arrow demands but doesn't check on reading."""
    data = data_of(texts)
    try:
        # Bytes below 0x80 can't be wrong, and the largest one costs next to nothing to know.
        texts.validate(full=len(data) > 0 and bool(data.max() >= 0x80))
    except pa.ArrowInvalid as error:
        raise CatalogError(
            f'The column "{name}" holds bytes that are not UTF-8: {error}',
            fix="Read the file with its own encoding, or write it as UTF-8.",
            column=name,
        ) from error
    return texts
