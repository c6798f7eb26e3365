"""Frames to send, and what a row of them is."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.support.runs import products

KEY: dict[str, Any] = {"link_set": "test", "unique_key": "sku"}


def goods(n: int = 4, **columns: object) -> pd.DataFrame:
    """Return products as a DataFrame."""
    return products(n).to_pandas().assign(**columns)
