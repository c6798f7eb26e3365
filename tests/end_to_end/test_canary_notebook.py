"""Canaries in a notebook: what it is stored with says no secret, whatever its cells showed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pyarrow.csv as pacsv
import pytest

from tests.end_to_end.test_canaries import KEY, OTHER, answer, answered, planted
from tests.support.canaries import found_in, leaks_below, server
from tests.support.paths import ROOT

# Each way in shows what it has; some of them fail, with what was behind the error.
CELLS = (
    "import logging\nlogging.basicConfig(level=logging.DEBUG)",
    "import os\nimport pandas as pd\nimport incarts_pipeline as ip\nimport incarts_pipeline.pandas",
    "settings = ip.load_settings()\nsettings",
    "frame = pd.read_csv('catalog.csv', dtype=str, keep_default_na=False)\nlen(frame)",
    "plan = ip.plan_links(frame, link_set='s', unique_key=['sku'])\ndisplay(plan)\nprint(plan)",
    "result = ip.write_links(frame, link_set='s', unique_key=['sku'], output='links.parquet')",
    "display(result)\nprint(result)\nresult.metrics",
    "result.links.head(400).to_dict('records')",
    "result.report('run.html')",
    "frame.incarts.plan(link_set='s', unique_key=['sku'])",
    "ip.suggest_mapping(frame)",
    "ip.write_links(frame, mapping=os.environ['INCARTS_API_KEY'], output='x.parquet')",
    "ip.load_settings(project_id=os.environ['INCARTS_API_KEY'])",
    "ip.load_settings(base_url='https://u:' + os.environ['INCARTS_API_KEY'] + '@h').for_calls()",
    "list(ip.open_catalog('s3://u:' + os.environ['INCARTS_API_KEY'] + '@b/x.csv').batches())",
    "ip.ledger_overview()",
    "ip.open_cases()",
    "1 / len([])",
)


@pytest.mark.slow
@pytest.mark.parametrize("secret", [KEY, OTHER], ids=["shaped", "unshaped"])
def test_a_stored_notebook_has_no_key(tmp_path: Path, secret: str) -> None:
    """Neither cards nor tables, logs, errors and tracebacks bring it into the file."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    pacsv.write_csv(planted(secret), folder / "catalog.csv")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "given.ipynb")
    said = answered(secret)
    with server(lambda number, _: answer(*said[number % len(said)], number)) as base_url:
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "tests.support.execute_notebook"),
                *(str(folder / "given.ipynb"), str(folder / "stored.ipynb")),
            ],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "INCARTS_API_BASE_URL": base_url,
                "INCARTS_API_KEY": secret,
                "INCARTS_PROJECT_ID": "prj_1",
                "INCARTS_RATE": "fixed:none",
            },
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert ran.returncode == 0, ran.stderr
    stored = json.loads((folder / "stored.ipynb").read_text(encoding="utf-8"))
    failed = [
        "".join(cell["source"])
        for cell in stored["cells"]
        if any(output["output_type"] == "error" for output in cell["outputs"])
    ]
    # What fails is meant to; the others showed what they have.
    assert failed == [CELLS[at] for at in (11, 12, 13, 14, 17)]
    assert sum(len(cell["outputs"]) for cell in stored["cells"]) > 12
    assert leaks_below(folder, secret, {"catalog.csv"}) == []
    assert not found_in(ran.stdout + ran.stderr, secret)
