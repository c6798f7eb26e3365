"""Runs of one asset as processes of their own: two at once, and one that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox import Limit, Sandbox
from tests.end_to_end.dagster.project import DG, PROJECT
from tests.support.processes import wait_for_links, wait_until_stopped
from tests.support.runs import products

RATE = 20
ROWS = 120
SHOPS = ("north", "south")
_DEFINITIONS = """
import dagster as dg
from incarts_pipeline.dagster import build_incarts_links_asset

links = build_incarts_links_asset(
    catalog="catalog.parquet",
    output="links.parquet",
    link_set="shop",
    unique_key=["sku"],
    spec=dg.AssetSpec("links", partitions_def=dg.StaticPartitionsDefinition(["north", "south"])),
    partition_column="shop",
)
defs = dg.Definitions(
    assets=[links],
    jobs=[dg.define_asset_job("one_process", [links], executor_def=dg.in_process_executor)],
)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A code location with one asset, and a catalog whose rows alternate between two shops."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "definitions.py").write_text(_DEFINITIONS)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    shops: list[object] = [SHOPS[i % 2] for i in range(ROWS)]
    pq.write_table(products(ROWS, shop=shops), tmp_path / "catalog.parquet")
    return tmp_path


def launch(project: Path, box: Sandbox, shop: str, failpoint: str = "") -> subprocess.Popen[str]:
    """Start the run of one partition, with an instance of its own."""
    home = project / f"home-{shop}"
    home.mkdir(exist_ok=True)
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "VIRTUAL_ENV": sys.prefix,
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_LEDGER": str(project / "ledger.db"),
        "INCARTS_RATE": f"fixed:{RATE}",
        "INCARTS_FAILPOINT": failpoint,
    }
    return subprocess.Popen(
        [DG, "launch", "--job", "one_process", "--partition", shop],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Started from a script in the background, a process would be deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_two_partitions_at_once_share_one_rate(project: Path, box: Sandbox) -> None:
    """Together they send no more than one run would, so a limit between that and twice it holds."""
    # Over 3 s, as a machine that is busy lets what it held up go at once.
    between = 1.5 * RATE
    box.reconfigure(limits=[Limit(kind="sliding_log", requests=int(between * 3), seconds=3.0)])
    started = [launch(project, box, shop, f"{Place.BEFORE_INTENT}:1:stop") for shop in SHOPS]
    try:
        # Each waits for the other before its first call.
        wait_until_stopped(project / "ledger.db", *started)
        for process in started:
            process.send_signal(signal.SIGCONT)
        for process in started:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0, out
    finally:
        for process in started:
            process.kill()
            process.communicate()
    log = box.requests()
    assert {one.status for one in log} == {201}
    assert (box.audit().links, box.audit().duplicates) == (ROWS, 0)
    times: dict[str, list[float]] = {}
    for shop in SHOPS:
        ours = set(pq.read_table(project / shop / "links.parquet")["correlation_id"].to_pylist())
        times[shop] = [one.at for one in log if one.correlation_id in ours]
    assert [len(found) for found in times.values()] == [ROWS // 2] * 2
    began, ended = max(map(min, times.values())), min(map(max, times.values()))
    together = [at for found in times.values() for at in found if began <= at <= ended]
    assert ended - began > 2.0, "they were not at work at the same time"
    # All that was held up before they were both at work may go at first.
    assert len(together) <= 1.15 * RATE * (ended - began) + RATE / 4
    both = [sum(began <= at <= ended for at in found) for found in times.values()]
    assert min(both) > len(together) / 4, "one of them went short"


def test_ctrl_c_stops_a_launched_run(project: Path, box: Sandbox) -> None:
    """SIGINT: no more is sent, what was made is published and recorded, and the next goes on."""
    process = launch(project, box, "north")
    wait_for_links(box, 15)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    assert process.returncode != 0, out
    made = box.audit().links
    assert 15 <= made < ROWS // 2
    statuses = pq.read_table(project / "north" / "links.parquet")["status"].to_pylist()
    assert statuses.count("created") == made
    assert statuses.count("pending") == ROWS // 2 - made
    assert "ASSET_MATERIALIZATION" in out
    assert f": {made} links made with " in out
    assert "run again to go on" in out
    again = launch(project, box, "north")
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, out
    assert (box.audit().links, box.audit().duplicates) == (ROWS // 2, 0)
