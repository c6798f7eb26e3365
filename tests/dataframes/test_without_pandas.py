"""Python without pandas: everything works on other frames, and what needs it names the extra."""

from __future__ import annotations

import subprocess
import sys

from incarts_pipeline.installation import install_line
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings

CODE = """
import sys

class NoPandas:
    def find_spec(self, name, *_):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)

sys.meta_path.insert(0, NoPandas())
import pyarrow as pa
from incarts_pipeline import plan_links, suggest_mapping, write_links
from incarts_pipeline.errors import MissingExtraError

rows = [
    {"sku": f"s{at}", "title": f"Tea {at}", "walmart_item_id": str(50_000 + at)} for at in range(3)
]
mapping = suggest_mapping(rows, link_set="summer").mapping
for frame in (rows, pa.Table.from_pylist(rows)):
    print(plan_links(frame, mapping))
    result = write_links(frame, mapping, output="links.parquet")
    print(len(result.links), len(result.failed), len(result.to_arrow()), result.counts)
    assert result._repr_html_() and result.link(sku="s1")._repr_html_()
    result.qr_sheet("codes.html")
import polars
assert write_links(polars.DataFrame(rows), mapping, output="links.parquet").to_polars().height == 3

def missing(call):
    try:
        call()
    except MissingExtraError as error:
        print(error)

missing(result.to_pandas)
missing(lambda: __import__("incarts_pipeline.pandas"))
assert "pandas" not in sys.modules
"""


def test_frames_of_others_need_no_pandas(near: Settings, shared: Sandbox) -> None:
    """Plans, links, cards and sheets of Arrow or Polars; `to_pandas` says what to install."""
    given = {
        "INCARTS_API_BASE_URL": near.base_url,
        "INCARTS_API_KEY": shared.api_key,
        "INCARTS_PROJECT_ID": near.project_id,
        "INCARTS_RATE": "fixed:none",
    }
    ran = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"PATH": "", **{name: str(value) for name, value in given.items()}},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "3 0 3 {'created': 3}" in ran.stdout
    assert ran.stdout.count(install_line("pandas")) == 2
