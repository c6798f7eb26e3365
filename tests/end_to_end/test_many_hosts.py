"""Hosts that share a ledger in PostgreSQL: their clocks are wrong, and one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.failpoints import Place
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace
from tests.support.hosts import command
from tests.support.ledgers import said
from tests.support.runs import products

ROWS = 60


def host(
    name: str, shift: float, box: Sandbox, place: DatabasePlace, failpoint: str = ""
) -> subprocess.Popen[str]:
    """Start a run on a host whose clock is `shift` seconds ahead."""
    folder = Path(name)
    folder.mkdir()
    pacsv.write_csv(products(ROWS), folder / "catalog.csv")
    environment = {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_LEDGER": place.uri,
        "INCARTS_RATE": "fixed:200",
        "INCARTS_FAILPOINT": failpoint,
    }
    arguments = ["catalog.csv", "-o", "links.parquet", "--unique-key", "sku", "--link-set", "test"]
    return subprocess.Popen(
        command(name, shift, "apply", *arguments, "--yes"),
        env=os.environ | environment,
        cwd=folder,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("failpoint", [Place.MARKED, Place.IN_FLIGHT, Place.ANSWERED])
def test_clocks_twenty_minutes_apart_and_one_host_killed(
    box: Sandbox, database: DatabasePlace, failpoint: Place
) -> None:
    """Each link is made once: the others wait for the dead one's lease, and settle what it left."""
    box.reconfigure(latency=0.05)
    killed = host("killed", 1_200, box, database, f"{failpoint.value}:5")
    _, said_by_killed = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, said_by_killed
    running = [host("behind", -1_200, box, database), host("ahead", 1_200, box, database)]
    for one in running:
        _, complaints = one.communicate(timeout=300)
        assert one.returncode == 0, complaints
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (ROWS, 0)
    assert said(database, "SELECT DISTINCT state FROM operation") == [("done",)]
    tables = [pq.read_table(f"{name}/links.parquet") for name in ("behind", "ahead")]
    ids = [dict(zip(*(t[c].to_pylist() for c in ("sku", "link_id")), strict=True)) for t in tables]
    assert ids[0] == ids[1]
    assert None not in ids[0].values()
