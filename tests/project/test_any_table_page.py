"""The page on any table: its presets are those that there are, and its examples run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from incarts_pipeline.mapping import PRESETS, SHOP, load_mapping
from incarts_pipeline.sandbox import Sandbox
from tests.support.pages import blocks_of, codes_in, rows_of, section

PAGE = "any-table.md"


def test_the_table_of_presets_is_that_of_the_program() -> None:
    """Each preset has a row with its title, key and page, and says whether it needs the shop."""
    told = [
        [*codes_in(name), what, *codes_in(key), *codes_in(page), needed]
        for name, what, key, page, needed in rows_of(section(PAGE, "Platforms"))
    ]
    assert told == [
        [
            preset.name,
            preset.title,
            preset.unique_key,
            preset.page.removeprefix(SHOP),
            "needed" if preset.needs_shop else "",
        ]
        for preset in PRESETS
    ]


@pytest.mark.parametrize(
    "text",
    [block.text for block in blocks_of(PAGE) if block.language == "yaml"],
    ids=lambda text: text.splitlines()[0],
)
def test_mappings_of_the_page_are_ones(text: str) -> None:
    """What is shown can be loaded."""
    assert load_mapping(text).unique_key


def test_the_python_example_runs(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame is suggested a mapping, planned with it, and the mapping kept."""
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    frame = pd.DataFrame({"name": ["Oats"], "url": ["https://www.walmart.com/ip/5001"]})
    [code] = [block.text for block in blocks_of(PAGE) if block.language == "python"]
    names: dict[str, Any] = {"frame": frame}
    exec(code, names)
    assert "link_set: summer" in capsys.readouterr().out
    assert names["plan"].figures.calls == 1
    names["plan"].close()
    assert Path("mapping.yaml").exists()
