"""Ledgers that are moved: after any night there was, and killed before any word that is said."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from incarts_pipeline.ledger.database import once, prepare_file
from incarts_pipeline.ledger.integrity import damage
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.ledger.relocation import relocate
from incarts_pipeline.ledger.sqlite.moved import copy_database
from incarts_pipeline.settings import DatabasePlace
from tests.end_to_end.simulation.campaign import play
from tests.end_to_end.simulation.sqlite_ledger import SqliteLedger
from tests.end_to_end.simulation.world import World
from tests.support import postgres
from tests.support.ledgers import HOST
from tests.support.moves import content_of, used, write_content
from tests.support.paths import ROOT

SEEDS = 20


@pytest.mark.parametrize(("killed", "step"), [("client", 7), ("backend", 23)])
def test_killed_before_any_word(
    tmp_path: Path, postgres_server: postgres.Server, killed: str, step: int
) -> None:
    """At most one ledger can be used; once it is moved again, or given up, it is whole."""
    with postgres.server() as own:
        file = tmp_path / "ledger.db"
        sets = [{"set_id": 1, "project_id": "demo", "name": "s", "kind": "links"}]
        write_content(file, {"link_set": sets})
        engine = prepare_file(file, HOST)
        used(engine)
        engine.dispose()
        arguments = [str(file), own.uri(), killed, str(step)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.killed_moves", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5


def test_simulated_ledgers_there_and_back(tmp_path: Path, database: DatabasePlace) -> None:
    """Whatever befell a ledger, it comes back from a database to the bit, and is intact there."""
    file = tmp_path / "simulated.db"
    engine = prepare_file(file, HOST)
    with engine.begin() as connection:
        ensure_sets(connection, "demo", ["s"], ["sku"])
    for seed in range(SEEDS):
        ledger = SqliteLedger(engine, file)
        play(World(seed, ledger))
        ledger.close()
        engine.dispose()
        before = content_of(file)
        between, back = replace(database, name=f"s{seed}"), tmp_path / f"{seed}.db"
        kept = tmp_path / f"kept{seed}.db"
        with once(file, read_only=True) as connection:
            copy_database(connection, kept)
        relocate(kept, between)
        assert content_of(between) == before, f"seed {seed}"
        with once(between, read_only=True) as connection:
            assert list(damage(connection)) == []
        relocate(between, back)
        assert content_of(back) == before, f"seed {seed}"
