"""Frames of pandas: Arrow tables as DataFrames. The one module of frames that loads pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.schemas import LINKS

_WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
_NULLABLE = {pa.type_for_alias(name.lower()): pd.api.types.pandas_dtype(name) for name in _WHOLE}
_TEXT = int(pd.__version__.partition(".")[0]) >= 3  # a type for text, also where all is null
_NULLABLE[pa.bool_()] = pd.BooleanDtype()


def check_index(index: Any) -> None:
    """Make sure that each row has an index value of its own, so that frames can be joined on it.

    Raises:
        CatalogError: two rows share one; names it and them.
    """
    twice = np.flatnonzero(index.duplicated())
    if not len(twice):
        return
    second = int(twice[0])
    [value] = index[second : second + 1].tolist()  # as Python's own, which people know
    values, _ = pd.factorize(index, use_na_sentinel=False)  # where a missing value is one too
    first = int(np.flatnonzero(values == values[second])[0])
    raise CatalogError(
        f"The frame's index has {value!r} twice, in rows {first} and {second} (the first is 0), so "
        "that a join on it would pair rows with other rows' links.",
        fix="Take result.to_pandas(), which has the links beside your rows; or result.table.",
        row=second,
    )


def frame_of(table: pa.Table, index: Any = None) -> pd.DataFrame:
    """Return a table as a DataFrame in which whole numbers stay whole beside nulls.

    Args:
        table: any; the link columns have nullable types.
        index: of the frame; by default its rows are numbered.
    """
    columns = {
        field.name: _series(column, nullable=field.name in LINKS.names)
        for field, column in zip(table.schema, table.columns, strict=True)
    }
    frame = pd.DataFrame(columns, columns=list(columns))
    if index is not None:
        frame.index = index
    return frame


def _series(column: pa.ChunkedArray, *, nullable: bool) -> Any:
    if pa.types.is_nested(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    whole = nullable or column.null_count
    series = column.to_pandas(types_mapper=_NULLABLE.get if whole else None)
    as_text = _TEXT and nullable and pa.types.is_string(column.type)
    return series.astype("str") if as_text else series


def beside(frame: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the columns of another one behind its own; both have one index."""
    return pd.concat([frame, more], axis="columns")


def kept(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that changes to the caller's don't reach."""
    # From pandas 3 on, a frame copies what it shares when it is written to.
    return frame.copy(deep=int(pd.__version__.partition(".")[0]) < 3)
