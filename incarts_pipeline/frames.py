"""pandas frames at the door: what Arrow can't take is named, and the frame is never changed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from incarts_pipeline.errors import CatalogError


def from_pandas(frame: Any) -> pa.Table:
    """Return a pandas DataFrame as a table; named index levels become columns.

    Raises:
        CatalogError: column names or values that don't make a table; names the column and row.
    """
    if getattr(frame.columns, "nlevels", 1) > 1:
        raise CatalogError(
            "The DataFrame has columns of several levels.",
            fix="Flatten them: df.columns = ['_'.join(names) for names in df.columns].",
        )
    named = [name for name in frame.index.names if name is not None]
    clash = [name for name in named if name in frame.columns]
    if named and not clash:
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    columns = [_column(frame.iloc[:, i], name) for i, name in enumerate(names)]
    return pa.Table.from_arrays(columns, names=names)


def _column(series: Any, name: str) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
    except (UnicodeError, OverflowError, TypeError, ValueError) as error:
        reason = str(error)
    row, value = _first_odd(series)
    raise CatalogError(
        f"The column {name!r} holds values that don't go together; row {row} has "
        f"{_shown(value)} ({reason}).",
        fix=f"Make all its values one type, for ids df[{name!r}].astype(str).",
        row=row,
        column=name,
    )


def _first_odd(series: Any) -> tuple[int, Any]:
    """Return the first value that Arrow can't take, or that is unlike the first one."""
    first: type | None = None
    for row, value in enumerate(series):
        try:
            converted = pa.scalar(value, from_pandas=True)
        except Exception:  # whatever it is, it is the one to name
            return row, value
        if converted.is_valid:
            first = first or type(value)
            if type(value) is not first:
                return row, value
    return 0, series.iloc[0]


def _shown(value: Any) -> str:
    return ascii(value)[:60]
