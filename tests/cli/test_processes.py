"""The shell's commands as processes: killed, interrupted, asked to stop, and two at once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.processes import NO_MAPPING, start, wait_for_links
from tests.support.runs import products
from tests.support.shell import Shell
from tests.support.sqlite_files import opened

pytestmark = pytest.mark.slow


def test_killed_in_the_middle(box: Sandbox, shell: Shell) -> None:
    """After SIGKILL the next run settles what was in flight: one link for each row."""
    pacsv.write_csv(products(200), "catalog.csv")
    box.reconfigure(latency=0.05)
    process = start(box, "apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    wait_for_links(box, 40)
    process.kill()
    process.communicate()
    assert not Path("links.parquet").exists()
    with opened("incarts-ledger.db") as ledger:
        query = "SELECT COUNT(*) FROM operation WHERE state = 'sent'"
        assert ledger.execute(query).fetchone()[0] > 0
    box.reconfigure(latency=0.0)
    code, out, _ = shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING, "--json")
    assert (code, json.loads(out)["statuses"]["in_doubt"]) == (0, 0)
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (200, 0)
    ids = pq.read_table("links.parquet")["link_id"].to_pylist()
    assert len(set(ids)) == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(box: Sandbox, shell: Shell, number: signal.Signals) -> None:
    """SIGTERM and SIGINT finish what is in flight, publish, and exit 4; nothing is in doubt."""
    pacsv.write_csv(products(300), "catalog.csv")
    box.reconfigure(latency=0.05)
    process = start(box, "apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING, "--json")
    wait_for_links(box, 40)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 4, err
    result = json.loads(out)
    assert result["stopped"] == "stopped"
    assert result["statuses"]["created"] == box.audit().links
    assert result["statuses"]["in_doubt"] == 0
    box.reconfigure(latency=0.0)
    assert shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)[0] == 0
    assert box.audit().links == 300


def test_stop_command(box: Sandbox, shell: Shell) -> None:
    """`incarts stop` asks a running process to end through the ledger."""
    pacsv.write_csv(products(400), "catalog.csv")
    box.reconfigure(latency=0.3)
    process = start(box, "apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    wait_for_links(box, 20)
    code, out, _ = shell("stop")
    assert (code, "asked to stop" in out) == (0, True)
    process.communicate(timeout=300)
    assert process.returncode in (0, 4)
    assert shell("stop")[1].strip() == "nothing is running"
    box.reconfigure(latency=0.0)
    assert shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)[0] == 0
    assert (box.audit().links, box.audit().duplicates) == (400, 0)


def test_two_processes_share_the_work(box: Sandbox) -> None:
    """Two runs of the same catalog at once make each link once, and both publish all of them."""
    pacsv.write_csv(products(150), "catalog.csv")
    box.reconfigure(latency=0.02)
    outputs = ("a.parquet", "b.parquet")
    started = [start(box, "apply", "catalog.csv", "-o", one, *NO_MAPPING) for one in outputs]
    for process in started:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert (box.audit().links, box.audit().duplicates) == (150, 0)
    tables = [pq.read_table(one)["link_id"].to_pylist() for one in outputs]
    assert tables[0] == tables[1]
    assert None not in tables[0]
