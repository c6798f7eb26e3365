"""`import incarts_pipeline.pandas` gives every DataFrame `df.incarts.plan()` and `.write()`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from incarts_pipeline.dataframes import (
    AnyMapping,
    LinksPlan,
    LinksResult,
    awrite_links,
    plan_links,
    write_links,
)


@pd.api.extensions.register_dataframe_accessor("incarts")
class IncartsAccessor:
    """A DataFrame's links; the arguments are those of the functions of the same names."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def plan(self, mapping: AnyMapping = None, **arguments: Any) -> LinksPlan:
        """Say what `write` would do, and why; takes what `plan_links` takes."""
        return plan_links(self._frame, mapping, **arguments)

    def write(self, mapping: AnyMapping = None, **arguments: Any) -> LinksResult:
        """Make the links and return them row by row; takes what `write_links` takes."""
        return write_links(self._frame, mapping, **arguments)

    async def awrite(self, mapping: AnyMapping = None, **arguments: Any) -> LinksResult:
        """Do what `write` does, without holding up the event loop."""
        return await awrite_links(self._frame, mapping, **arguments)
