"""Pandas accessor: `import incarts_pipeline.pandas` gives every DataFrame `df.incarts`."""

from __future__ import annotations

from typing import Any, Unpack

from incarts_pipeline.dataframes import (
    AnyMapping,
    LinksPlan,
    LinksResult,
    PlanArguments,
    Planning,
    WriteArguments,
    Writing,
    awrite_links,
    plan_links,
    shows,
    write_links,
)
from incarts_pipeline.errors import MissingExtraError
from incarts_pipeline.installation import install_line

try:
    import pandas as pd
except ModuleNotFoundError as missing:
    raise MissingExtraError("df.incarts needs pandas.", fix=install_line("pandas")) from missing


@pd.api.extensions.register_dataframe_accessor("incarts")
class IncartsAccessor:
    """A DataFrame's links; the arguments are those of the functions of the same names."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @shows(Planning)
    def plan(self, mapping: AnyMapping = None, **arguments: Unpack[PlanArguments]) -> LinksPlan:
        """Say what `write` would do, and why; takes what `plan_links` takes."""
        return plan_links(self._frame, mapping, **arguments)

    @shows(Planning, Writing)
    def write(self, mapping: AnyMapping = None, **arguments: Unpack[WriteArguments]) -> LinksResult:
        """Make the links and return them row by row; takes what `write_links` takes."""
        return write_links(self._frame, mapping, **arguments)

    @shows(Planning, Writing)
    async def awrite(
        self, mapping: AnyMapping = None, **arguments: Unpack[WriteArguments]
    ) -> LinksResult:
        """Do what `write` does, without holding up the event loop."""
        return await awrite_links(self._frame, mapping, **arguments)
