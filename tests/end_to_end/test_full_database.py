"""A database whose disk is full: its tables can't grow, or its log can't."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace
from tests.support import mounts, postgres
from tests.support.ledgers import said
from tests.support.processes import NO_MAPPING, start, wait_for_links, wait_until_answered
from tests.support.runs import products

ROWS = 400
_MUCH = "SELECT pg_logical_emit_message(false, 'other', repeat('x', 500000))"
_APPLY = ("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING, "--max-in-flight", "4")


@pytest.fixture(autouse=True)
def _installed() -> None:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL isn't installed")


@pytest.fixture
def small() -> Iterator[Path]:
    """A file system with some room beside a server's own data."""
    with tempfile.TemporaryDirectory(prefix="incarts-full-") as folder:
        Path(folder).chmod(0o755)  # the server is another user's
        with mounts.mounted(Path(folder) / "small", "96m") as place:
            yield place


def begun(box: Sandbox, server: postgres.Server) -> tuple[str, ...]:
    """Make a ledger with one link; return the arguments of a run that has all others to make."""
    pacsv.write_csv(products(1), "catalog.csv")
    arguments = (*_APPLY, "--yes", "--ledger", server.uri())
    first = start(box, *arguments)
    _, complaints = first.communicate(timeout=300)
    assert first.returncode == 0, complaints
    pacsv.write_csv(products(ROWS), "catalog.csv")
    return arguments


def everything_is_there_once(box: Sandbox) -> None:
    """Check what the server of links made."""
    wait_until_answered(box)
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (ROWS, 0, 0)


def test_tables_that_cannot_grow(box: Sandbox, small: Path) -> None:
    """The run ends with exit 4 and says why; with room, the next one settles and makes the rest."""
    with postgres.server(within=small) as server:
        arguments = begun(box, server)
        mounts.fill(small, 600_000)
        full = start(box, *arguments)
        _, complaints = full.communicate(timeout=300)
        assert full.returncode in (1, 4), complaints
        told = " ".join(complaints.split())
        assert "No space left on device" in told
        assert "Free some space on its disk" in told
        wait_until_answered(box)
        assert 1 <= box.audit().links < ROWS
        mounts.make_room(small)
        again = start(box, *arguments)
        _, complaints = again.communicate(timeout=300)
        assert again.returncode == 0, complaints
        states = said(DatabasePlace(uri=server.uri()), "SELECT DISTINCT state FROM operation")
        assert states == [("done",)]
    everything_is_there_once(box)


def test_log_that_cannot_grow(box: Sandbox, small: Path) -> None:
    """The server ends; the run waits for it, and goes on once there is room: no doubt is left."""
    box.reconfigure(latency=0.03)
    with postgres.server(log=small / "log", restart_after_crash="off") as server:
        arguments = begun(box, server)
        place = DatabasePlace(uri=server.uri())
        mounts.fill(small, 0)
        run = start(box, *arguments)
        wait_for_links(box, 40)
        with suppress(psycopg.OperationalError):
            while run.poll() is None:  # another program uses up what the log has left
                postgres.ask(server, _MUCH)
        assert run.poll() is None, run.communicate()
        assert "No space left on device" in (server.folder / "log").read_text()
        postgres.wait_for(lambda: not (server.folder / "data" / "postmaster.pid").exists())
        mounts.make_room(small)
        server.start()
        _, complaints = run.communicate(timeout=300)
        assert run.returncode == 0, complaints
        assert "The run waits for its ledger" in complaints
        taken = "SELECT count(*) FROM attempt WHERE kind IS DISTINCT FROM 'not_sent'"
        assert said(place, taken) == [(box.audit().requests,)]
        assert said(place, "SELECT DISTINCT state FROM operation") == [("done",)]
    everything_is_there_once(box)
