"""A ledger that isn't the newest, with real processes: refused, or what may exist is held."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.maintenance import (
    backup_ledger,
    check_ledger,
    ledger_overview,
    open_cases,
    restore_ledger,
)
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.chaos import Damage, befall, review
from tests.support.processes import (
    NO_MAPPING,
    result_of,
    start,
    wait_for_links,
    wait_until_answered,
)
from tests.support.runs import products

LEDGER, BACKUP = Path("ledger.db"), Path("backup.db")
_FIRST, _ALL = 40, 240
_APPLY = ("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING, "--max-in-flight", "4")


def incarts(box: Sandbox, *arguments: str) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code and what it said."""
    process = start(box, *arguments, "--ledger", str(LEDGER))
    out, err = process.communicate(timeout=300)
    return process.returncode, out, " ".join(err.split())


def apply(box: Sandbox, rows: int, code: int = 0) -> str:
    """Apply a catalog of some rows; return what went wrong."""
    pacsv.write_csv(products(rows), "catalog.csv")
    ended, _, err = incarts(box, *_APPLY)
    assert ended == code, err
    return err


def everything_is_there_once(box: Sandbox) -> None:
    """Check what the server made: each product has a body of its own."""
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.repeated_bodies, audit.second_bodies) == (
        _ALL,
        0,
        0,
        0,
    )


def killed_night(settings: Settings, box: Sandbox) -> int:
    """Make the first links, back the ledger up, and kill a run over all; return the links made."""
    apply(box, _FIRST)
    backup_ledger("backup.db", settings)
    pacsv.write_csv(products(_ALL), "catalog.csv")
    box.reconfigure(latency=0.02)
    night = start(box, *_APPLY, "--ledger", str(LEDGER))
    wait_for_links(box, _FIRST + 60)
    night.kill()
    night.communicate()
    wait_until_answered(box)
    box.reconfigure(latency=0.0)
    made = box.audit().links
    assert _FIRST < made < _ALL
    return made


@pytest.mark.parametrize(
    "damage", [Damage.COPIED_OVER, Damage.LOG_LOST, Damage.DELETED, Damage.REPLACED]
)
def test_nothing_is_sent_for_a_ledger_that_is_not_the_newest(
    settings: Settings, box: Sandbox, damage: Damage
) -> None:
    """All that would count on it refuse it; a restored backup goes on, without duplicates."""
    made = killed_night(settings, box)
    befall(damage, LEDGER, BACKUP)
    assert "incarts ledger restore" in apply(box, _ALL, code=1)
    for look in (ledger_overview, open_cases, check_ledger):
        with pytest.raises(RefusedError, match="incarts ledger restore"):
            look(settings)
    assert incarts(box, "doctor")[0] == 1
    assert box.audit().links == made
    code, out, err = incarts(box, "ledger", "restore", "backup.db", "--yes", "--json")
    assert code == 0, err
    held = result_of(out)["held"]
    assert isinstance(held, int)
    assert made - _FIRST <= held <= made - _FIRST + 16
    apply(box, _ALL, code=3)
    assert box.audit().links == _ALL - held + made - _FIRST
    assert set(review(settings, box)) == {"ledger_restored"}
    apply(box, _ALL)
    everything_is_there_once(box)
    assert None not in pq.read_table("links.parquet")["link_id"].to_pylist()


def test_backup_under_a_running_run(settings: Settings, box: Sandbox) -> None:
    """What is backed up while a run writes is whole; putting it back needs the run to end."""
    apply(box, _FIRST)
    pacsv.write_csv(products(_ALL), "catalog.csv")
    box.reconfigure(latency=0.5)
    night = start(box, *_APPLY, "--ledger", str(LEDGER))
    wait_for_links(box, _FIRST + 4)
    assert incarts(box, "ledger", "backup", "backup.db")[0] == 0
    code, _, err = incarts(box, "ledger", "restore", "backup.db", "--yes")
    assert (code, "at work" in err) == (1, True)
    box.reconfigure(latency=0.0)
    assert night.communicate(timeout=300) is not None
    assert night.returncode == 0
    assert check_ledger(settings) == []
    everything_is_there_once(box)


@pytest.mark.parametrize("damage", [Damage.RENAMED, Damage.REPLACED, Damage.DELETED])
def test_ledger_that_goes_under_a_run(settings: Settings, box: Sandbox, damage: Damage) -> None:
    """The run ends and rescues what it knows; nothing new is made in the place."""
    apply(box, _FIRST)
    backup_ledger(BACKUP, settings)
    pacsv.write_csv(products(_ALL), "catalog.csv")
    box.reconfigure(latency=0.02)
    night = start(box, *_APPLY, "--ledger", str(LEDGER))
    wait_for_links(box, _FIRST + 30)
    befall(damage, LEDGER, BACKUP)
    _, err = night.communicate(timeout=300)
    assert night.returncode == 1, err
    assert LEDGER.exists() == (damage is Damage.REPLACED)
    made = box.audit().links
    assert _FIRST < made < _ALL
    assert pq.read_table("links.parquet").num_rows == _FIRST, "nothing was published"
    [rescued] = [file for file in Path().glob("ledger.db.rescued-*") if ".log-" not in file.name]
    assert rescued.name in "".join(err.split())
    apply(box, _ALL, code=1)
    assert restore_ledger(rescued, settings).held == 0
    box.reconfigure(latency=0.0)
    apply(box, _ALL)
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (_ALL, 0)


def test_hard_link(box: Sandbox) -> None:
    """A second name would have a log of its own: neither name is used."""
    apply(box, _FIRST)
    Path("second.db").hardlink_to(LEDGER)
    assert "hard links" in apply(box, _ALL, code=1)
    assert box.audit().links == _FIRST


def test_file_mounted_by_itself(box: Sandbox) -> None:
    """Its log would stay in the container: nothing is sent."""
    apply(box, _FIRST)
    LEDGER.rename("outside.db")
    LEDGER.touch()
    command = ["mount", "--bind", "outside.db", str(LEDGER)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert "mounted by itself" in apply(box, _ALL, code=1)
    finally:
        subprocess.run(["umount", str(LEDGER)], check=True)
    assert box.audit().links == _FIRST
