"""The shell's `check`: what it prints, and its exit code."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from typer.testing import CliRunner

from incarts_pipeline.cli.app import app

MAPPING = """
link_set: s
unique_key: sku
link: {name: {column: sku}, retailer: shop, intent: custom_url, custom_url: {column: url}}
"""


def test_private_addresses_are_told(tmp_path: Path) -> None:
    """As a table and as JSON; nothing was asked for, and the exit code says that not all are ok."""
    (tmp_path / "a.csv").write_text("sku,url\n1,http://127.0.0.1:9/p\n2,http://127.0.0.1:9/p\n")
    (tmp_path / "m.yaml").write_text(MAPPING)
    command = ["check", str(tmp_path / "a.csv"), "-m", str(tmp_path / "m.yaml")]
    ran = CliRunner().invoke(app, [*command, "--json"])
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["exit_code"], told["requests"]) == (3, 3, 0)
    assert told["verdicts"] == {"ok": 0, "dead": 0, "unclear": 0, "private": 1}
    [row] = told["not_ok"]
    assert (row["links"], dt.datetime.fromisoformat(row["checked_at"]).tzinfo) == (2, dt.UTC)
    ran = CliRunner().invoke(app, command)
    assert "private http://127.0.0.1:9/p: a private address" in ran.stdout
    assert "(2 links, first in row 0)" in ran.stdout
