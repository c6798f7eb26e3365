"""Python values as Arrow columns: what Arrow can't take is named, the caller's table untouched."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from incarts_pipeline.catalog.arrow_types import Faults, encodable, name_faults, plain_type
from incarts_pipeline.errors import CatalogError

_SHOWN = 60  # characters of a value in a message
_Columns = list[tuple[object, Any]]  # names as they are, values of any kind
_SETS = (set, frozenset)
# Advice that leaves what is missing missing: of `str(None)` a link would be made.
_PANDAS_TEXT = "df[{0!r}] = df[{0!r}].astype('string')"
_DICT_TEXT = "row[{0!r}] = None if row[{0!r}] is None else str(row[{0!r}])"
_REFUSALS = (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError)


def is_pandas(source: object) -> bool:
    """Say whether an object is a pandas DataFrame, or of a kind that is built on one."""
    return any(
        # By name, so that pandas is loaded only by those who use it; through the bases, because
        # GeoPandas and others derive from it.
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(source).__mro__
    )


def from_pandas(frame: Any) -> tuple[pa.Table, Faults]:
    """Return a pandas DataFrame as a table, and why columns are left out that make none.

    Named index levels are columns.

    Raises:
        CatalogError: its columns, or its index and they, can't be told apart.
    """
    if frame.columns.nlevels > 1:
        raise CatalogError(
            "The DataFrame has columns of several levels.",
            fix="Flatten them: df.columns = ['_'.join(map(str, names)) for names in df.columns].",
        )
    columns: _Columns = list(_index_columns(frame))
    # By position: a name may be there twice.
    columns += [(name, frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    return _table(columns, "the DataFrame", _PANDAS_TEXT)


def from_dicts(rows: list[dict[str, Any]]) -> tuple[pa.Table, Faults]:
    """Return a list of dicts as a table, and why columns are left out whose values make none.

    A key that a row doesn't have is null.

    Raises:
        CatalogError: there are no rows.
    """
    # In the order of their first appearance; later rows may have more.
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        raise CatalogError(
            "The list has no rows, so its columns aren't known.",
            fix="Pass an empty table that has the columns.",
        )
    columns: _Columns = [(name, [row.get(name) for row in rows]) for name in names]
    return _table(columns, "the list", _DICT_TEXT)


def _index_columns(frame: Any) -> Iterator[tuple[object, Any]]:
    for level, name in enumerate(frame.index.names):
        if name is None:
            continue
        values = frame.index.get_level_values(level).to_series()
        if name not in frame.columns:
            yield name, values
        # `set_index(..., drop=False)` leaves the same values in both: no contradiction.
        elif not values.reset_index(drop=True).equals(frame[name].reset_index(drop=True)):
            raise CatalogError(
                f"The DataFrame has {name!r} as its index and as a column, and they differ.",
                fix=f"Drop one: df.reset_index({name!r}, drop=True).",
                column=str(name),
            )


def _table(columns: _Columns, name: str, as_text: str) -> tuple[pa.Table, Faults]:
    # A missing name, which reshaping leaves as NaN, is none.
    names = ["" if column is None or column != column else str(column) for column, _ in columns]
    nameless = name_faults(names, name)
    faults: Faults = {names[place]: fault for place, fault in nameless.items()}
    arrays = {}
    for place, (_, values) in enumerate(columns):
        if place in nameless:
            continue
        try:
            arrays[names[place]] = _column(values, names[place], as_text)
        except CatalogError as fault:
            faults[names[place]] = fault
    return pa.table(arrays), faults


def _column(values: Any, name: str, as_text: str) -> pa.Array | pa.ChunkedArray:
    # Arrow knows no sparse columns.
    if hasattr(values, "sparse"):
        values = values.sparse.to_dense()
    try:
        column = pa.array(values, from_pandas=True)
    except _REFUSALS as error:
        odd = _first_odd(values, error)
    else:
        # Arrow is generous with objects: it makes something of mixtures that the caller didn't
        # mean.
        doubt = _doubt(values, column.type)
        if doubt is None:
            return column
        odd = _first_odd(values, doubt)
    raise CatalogError(
        f"The column {name!r} can't be read; row {odd.row} (the first is 0) has "
        f"{ascii(odd.value)[:_SHOWN]}: {odd.reason}.",
        fix=_fix(odd.value, name, as_text),
        row=odd.row,
        column=name,
    )


def _fix(value: object, name: str, as_text: str) -> str:
    if isinstance(value, bytes):
        return f'Decode it: .decode("utf-8") for each value of {name!r} that is bytes.'
    if isinstance(value, str) and not encodable(value):
        return 'Remove the half characters: value.encode("utf-8", "ignore").decode().'
    if isinstance(value, _SETS):
        return f"Sort it: sorted(value) for each value of {name!r} that is a set."
    return f"Make all its values one type, for ids {as_text.format(name)}."


def _doubt(values: Any, kind: pa.DataType) -> Exception | None:
    """Return why values that Arrow took may not mean what it made of them."""
    try:
        plain_type(kind)
    except TypeError:
        return TypeError(f"{kind} is no plain text, number or date")
    # A column with a type of its own can't mix; only columns of objects need the look.
    if getattr(values, "dtype", "object") != "object":
        return None
    if pt.is_binary(kind):
        return TypeError("bytes are no text")
    if pt.is_temporal(kind) and len({_sort(value) for value in values} - {None}) > 1:
        return TypeError("dates, times, and times without a zone are mixed")
    if pt.is_list(kind) and any(isinstance(value, _SETS) for value in values):
        return TypeError("a set has no order")
    return None


def _sort(value: Any) -> str | None:
    """Return what a date or a time is besides its type; None for a missing one."""
    if value is None or value != value:  # NaT and NaN
        return None
    # A datetime is a date too for Python, so this comes first.
    if isinstance(value, dt.datetime):
        return "time" if value.tzinfo is None else "time with a zone"
    return type(value).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class _Odd:
    """A value that keeps its column from being one, and why."""

    row: int
    value: object
    reason: str


def _first_odd(values: Iterable[Any], error: Exception) -> _Odd:
    """Return the first value that Arrow can't take, that is bytes, or unlike the first one."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    first: Any = None
    # One by one, which is slow, but only for a column that is refused anyway.
    for row, value in enumerate(values):
        try:
            converted = pa.scalar(value, from_pandas=True)
        except _REFUSALS as own:
            return _Odd(row=row, value=value, reason=str(own).splitlines()[0])
        if not converted.is_valid:
            continue
        first = value if first is None else first
        if isinstance(value, (bytes, *_SETS)):
            return _Odd(row=row, value=value, reason=reason)
        if type(value) is not type(first):
            why = f"{type(value).__name__} where the first value is {type(first).__name__}"
            return _Odd(row=row, value=value, reason=why)
        if _sort(value) != _sort(first):
            return _Odd(row=row, value=value, reason=reason)
    return _Odd(row=0, value=next(iter(values), None), reason=reason)
