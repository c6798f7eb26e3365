"""The command `incarts demo`: everything inside, and nothing left but what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.shell import Shell


def test_demo_makes_links_and_leaves_what_it_says(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any setting, and whatever the settings of somebody else's Incarts are."""
    for name in [name for name in os.environ if name.startswith("INCARTS_")]:
        # Set first, so that it comes back: the demo takes them out of its own process.
        monkeypatch.setenv(name, os.environ[name])
    monkeypatch.setenv("INCARTS_LEDGER", "real.db")
    monkeypatch.setenv("INCARTS_RATE", "fixed:1")
    monkeypatch.setenv("INCARTS_REQUIRE_SIGNATURE", "x")
    code, out, err = shell("demo")
    assert code == 0, err
    assert [path.name for path in Path().iterdir()] == ["incarts-demo"]
    assert not Path(os.environ["XDG_STATE_HOME"]).exists()
    left = {path.name for path in Path("incarts-demo").iterdir()}
    assert [name for name in left if f"  {name} " not in out] == []
    statuses = pq.read_table("incarts-demo/links.parquet")["status"].to_pylist()
    assert (statuses.count("unchanged"), statuses.count("rejected")) == (21, 3)
    assert "The local Incarts counted 21 links, 0 made twice" in out
    assert Path("incarts-demo/codes.html").read_text(encoding="utf-8").count("<svg") >= 12


def test_demo_writes_over_nothing(shell: Shell) -> None:
    """A folder that is there is somebody's."""
    Path("mine").mkdir()
    code, _, err = shell("demo", "mine")
    assert code == 1
    assert "mine exists already" in err
    assert list(Path("mine").iterdir()) == []
