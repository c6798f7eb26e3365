"""The ledger's file: durable, of one host, of one version, and named when it is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from incarts_pipeline.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerForeignError,
    LedgerLockedError,
    RefusedError,
)
from incarts_pipeline.kinds import QR_CODES
from incarts_pipeline.ledger.database import once, prepare_file, read_facts
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.ledger.sqlite.ledger_file import file_id, place_of
from incarts_pipeline.ledger.tables import SCHEMA_VERSION
from incarts_pipeline.maintenance.ledger_files import restore_ledger
from incarts_pipeline.models import State
from incarts_pipeline.settings import load_settings
from tests.support.ledgers import FILE, HOST, call, ours, row, send, settle
from tests.support.old_ledgers import VERSION_1, VERSION_5, VERSION_8, schema_of
from tests.support.sqlite_files import opened


@pytest.fixture
def place() -> Path:
    """What is tested here is SQLite's own."""
    return FILE


def test_file_is_durable(engine: sa.Engine) -> None:
    """The ledger is in WAL mode with synchronous=FULL, and knows its host."""
    assert row(engine, "PRAGMA journal_mode") == ("wal",)
    assert row(engine, "PRAGMA synchronous") == (2,)
    assert row(engine, "SELECT value FROM meta WHERE name = 'base_url'") == (HOST,)


def test_a_single_transaction_leaves_no_file_open(engine: sa.Engine) -> None:
    """What was opened for one transaction is closed behind it, and the file's next one is read."""
    file = file_id(FILE)
    engine.dispose()
    assert file is not None
    for read_only in (False, True):
        with once(FILE, read_only=read_only) as connection:
            assert read_facts(connection)["base_url"] == HOST
            assert place_of(file) == str(FILE.resolve())
        assert place_of(file) is None
    for name in (FILE.name, f"{FILE.name}.witness"):
        Path(name).rename(f"old-{name}")
    prepare_file(FILE, "http://127.0.0.1:1").dispose()
    with once(FILE, read_only=True) as connection:
        assert read_facts(connection)["base_url"] == "http://127.0.0.1:1"


def test_another_host_is_refused(engine: sa.Engine) -> None:
    """A ledger is bound to one base URL."""
    with pytest.raises(LedgerForeignError, match="belongs to"):
        prepare_file(FILE, "http://127.0.0.1:1")


def test_newer_version_is_refused(engine: sa.Engine) -> None:
    """A ledger of a newer schema is left alone."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(LedgerForeignError, match="newer"):
        prepare_file(FILE, HOST)


@pytest.mark.parametrize("version", [VERSION_1, VERSION_5, VERSION_8], ids=["1", "5", "8"])
@pytest.mark.parametrize("way", ["for writing", "for reading"])
def test_older_schema_is_lifted(engine: sa.Engine, way: str, version: str) -> None:
    """A ledger of an older version gets this version's schema, once, and keeps its rows."""
    wanted = schema_of(FILE)
    made = ours(engine, call())
    if version is not VERSION_1:
        assert send(engine, made)
        settle(engine, made, State.DONE, "lnk_old")
    engine.dispose()
    with opened(FILE) as connection:
        connection.executescript(version)
    Path(f"{FILE}.witness").unlink()  # which no older version made
    for _ in range(2):
        if way == "for reading":
            view = LedgerReader(FILE)
            assert view.known_links(["lnk_old"]) == {"lnk_old"}
            assert view.facts["schema_version"] == str(SCHEMA_VERSION)
        else:
            prepare_file(FILE, HOST).dispose()
    assert schema_of(FILE) == wanted
    assert row(engine, "SELECT op_id, link_id FROM link") == (1, "lnk_old")
    columns = None if version is VERSION_1 else '["sku"]'
    assert row(engine, "SELECT name, key_columns, kind FROM link_set") == ("s", columns, "links")
    assert row(engine, "SELECT value FROM meta WHERE name = 'schema_version'") == (
        str(SCHEMA_VERSION),
    )


def test_codes_of_a_set_stand_apart_from_its_links(engine: sa.Engine) -> None:
    """A link set's QR codes have a set of their own under the same name."""
    with engine.begin() as connection:
        codes = ensure_sets(connection, "demo", ["s"], [], QR_CODES)
        assert ensure_sets(connection, "demo", ["s"], []) == {"s": 1}
    assert codes != {"s": 1}
    assert LedgerReader(FILE).set_ids("demo", ["s"]) == {"s": 1}
    assert LedgerReader(FILE).set_ids("demo", ["s"], QR_CODES) == codes


def test_damaged_file_is_named() -> None:
    """A file that is no database is called damaged."""
    FILE.write_bytes(b"not a database at all, however long one looks at it" * 50)
    with pytest.raises(LedgerDamagedError):
        prepare_file(FILE, HOST)


def test_locked_file_is_named(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another connection's write lock is recognized."""
    monkeypatch.setattr("incarts_pipeline.sqlite.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(LedgerLockedError):
            prepare_file(FILE, HOST)
    finally:
        other.close()


@pytest.mark.parametrize(
    "end", ["-wal", "-shm", "-journal", "-pace", "-pace-wal", "-pace-shm", ".witness", ".sent"]
)
@pytest.mark.parametrize("way", ["made", "opened", "read", "copied"])
def test_links_beside_the_ledger_are_refused(
    engine: sa.Engine, tmp_path: Path, end: str, way: str
) -> None:
    """Nothing is written to what they lead to, also where there is no ledger yet."""
    engine.dispose()
    ledger = Path("new.db") if way == "made" else FILE
    victim = tmp_path / "victim"
    victim.touch()
    link = ledger.with_name(ledger.name + end)
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    ways: dict[str, Callable[[], object]] = {
        "read": lambda: LedgerReader(FILE),
        "copied": lambda: restore_ledger(FILE, load_settings(ledger="other.db")),
    }
    with pytest.raises(RefusedError, match="beside the ledger, is a symbolic link") as caught:
        ways.get(way, lambda: prepare_file(ledger, HOST))()
    assert caught.value.guard == "unsafe_ledger"
    assert (link.is_symlink(), victim.read_bytes()) == (True, b"")


def test_witness_that_cannot_be_told_is_no_loss(engine: sa.Engine) -> None:
    """The error says that the transaction holds: whoever repeats it would not find it undone."""
    engine.dispose()
    Path(f"{FILE}.witness").unlink()
    Path(f"{FILE}.witness").mkdir()
    with (
        pytest.raises(LedgerError, match="is recorded all the same"),
        once(FILE) as connection,
    ):
        ensure_sets(connection, "demo", ["t"], ["sku"])
    Path(f"{FILE}.witness").rmdir()
    assert set(LedgerReader(FILE).set_ids("demo", ["s", "t"])) == {"s", "t"}
