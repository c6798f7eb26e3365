"""Suggestion for a frame: the mapping that fits it, to look at, keep, and plan with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from incarts_pipeline.display import suggestion_card
from incarts_pipeline.errors import MappingError, told_in
from incarts_pipeline.mapping import Mapping, preset_named
from incarts_pipeline.suggest import Answers, Finding, Suggestion, suggestion_of
from incarts_pipeline.text import Surface


class SuggestedMapping:
    """A mapping that fits a frame; shows itself as a card in a notebook.

    Attributes:
        suggestion: what was found, with each reason.
    """

    def __init__(self, suggestion: Suggestion) -> None:
        self.suggestion = suggestion

    @property
    def mapping(self) -> Mapping:
        """The mapping, as `plan_links` and `write_links` take it."""
        return self.suggestion.mapping

    @property
    def yaml(self) -> str:
        """The mapping as YAML, with a comment on each guess and what else it could be."""
        return self.suggestion.yaml

    @property
    def findings(self) -> Sequence[Finding]:
        """Each guess: its `field`, `value`, `why`, `others` and `doubt`."""
        return self.suggestion.findings

    @property
    def doubts(self) -> Sequence[Finding]:
        """The guesses that a person has to look at before links are made."""
        return self.suggestion.doubts

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the YAML to a file.

        Args:
            path: where it goes.
            overwrite: whether a file that is there may go.

        Raises:
            MappingError: there is a file, and nothing was said of it.
        """
        if Path(path).exists() and not overwrite:
            raise MappingError(
                f"{path} exists, and stays as it is.",
                fix="Choose another name, or say overwrite=True.",
            )
        self.suggestion.save(path)

    def __repr__(self) -> str:
        return self.yaml

    def _repr_html_(self) -> str:
        return suggestion_card(self.suggestion)


def suggest_mapping(
    frame: Any,
    *,
    link_set: str | None = None,
    unique_key: str | Sequence[str] = (),
    url: str | None = None,
    preset: str | None = None,
    sheet: str | None = None,
    records: str | None = None,
) -> SuggestedMapping:
    """Look at a frame and return the mapping that most likely fits it. Sends nothing.

    What columns look like is told from the first 20,000 rows; that each row has the key, and which
    rows share it, is counted over all of them.

    Args:
        frame: what `plan_links` takes: a pandas or Polars frame, a DuckDB relation, an Arrow table
            or reader, a list of dicts, or the path of a file. A reader is used up by it.
        link_set: the name of this family of links, which the frame can't tell.
        unique_key: the column or columns that say what a row is, if you know better.
        url: a product's page as a template of columns, like `https://www.shop.com/p/{sku}`; for a
            platform's export, whose paths are known, the shop's address alone.
        preset: the platform that wrote the table, like `shopify`; by default told from the columns.
        sheet: of a workbook with several, by its name or its number from 1.
        records: where the products are in a JSON or XML file with several lists, like
            `shop.products`.

    Raises:
        CatalogError: the frame holds what no table can, or nothing.
        MappingError: there is no such preset, or what was said doesn't fit the frame.
    """
    with told_in(Surface.PYTHON):
        platform = None if preset is None else preset_named(preset)
        keys = (unique_key,) if isinstance(unique_key, str) else tuple(unique_key)
        answers = Answers(link_set=link_set, unique_key=keys, page=url)
        reading = {"sheet": sheet, "records": records}
        return SuggestedMapping(suggestion_of(frame, reading, platform).answered(answers))
