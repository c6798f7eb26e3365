"""The ledger's file: what is wrong with it is told, and what it doesn't have isn't published."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from incarts_pipeline.errors import LedgerDamagedError, LedgerLockedError, RefusedError
from incarts_pipeline.maintenance import backup_ledger, check_ledger, restore_ledger
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened


def test_row_without_its_link(run: Run, settings: Settings) -> None:
    """A row that the ledger calls done has its link, or the run fails and the table stays."""
    run(products(3))
    before = Path("links.parquet").read_bytes()
    with opened(settings.ledger) as connection:
        connection.execute("UPDATE link SET link_id = 'lnk_flipped' WHERE op_id = 2")
        connection.execute("DELETE FROM published")
    with pytest.raises((LedgerDamagedError, RefusedError), match=r"damaged|doesn't know"):
        run(products(3))
    with pytest.raises(LedgerDamagedError, match="000001"):
        run(products(3), output="other.parquet")
    assert Path("links.parquet").read_bytes() == before
    [found] = check_ledger(settings)
    assert "000001" in found


def test_body_without_its_hash(run: Run, settings: Settings) -> None:
    """One byte of a body that was changed at rest is found."""
    run(products(2))
    assert check_ledger(settings) == []
    with opened(settings.ledger) as connection:
        connection.execute("UPDATE body SET body = CAST(body || ' ' AS BLOB) WHERE op_id = 1")
    [found] = check_ledger(settings)
    assert "doesn't have its hash" in found


def test_folder_rolled_back_with_its_witness(run: Run, settings: Settings, box: Sandbox) -> None:
    """The published table knows of more runs than the ledger: refused until it is imported."""
    run(products(1))
    copies = {file.name: file.read_bytes() for file in Path().glob("ledger.db*")}
    run(products(3))
    for file in Path().glob("ledger.db*"):
        file.unlink()
    for name, content in copies.items():
        Path(name).write_bytes(content)
    with pytest.raises(RefusedError, match="older copy"):
        run(products(4))
    import_links("links.parquet", settings)
    assert run(products(4)).exit_code() == 0
    assert (box.audit().links, box.audit().repeated_bodies) == (4, 0)


def test_restored_backup_learns_what_was_published(
    run: Run, settings: Settings, box: Sandbox
) -> None:
    """Keys that were sent after the backup are held, unless a published table tells of them."""
    run(products(1))
    backup_ledger("backup.db", settings)
    with pytest.raises(RefusedError, match="exists"):
        backup_ledger("backup.db", settings)
    run(products(3))
    assert restore_ledger("backup.db", settings).held == 2
    import_links("links.parquet", settings)
    assert run(products(4)).exit_code() == 0
    assert (box.audit().links, box.audit().repeated_bodies) == (4, 0)


def test_ledger_that_cannot_be_looked_into_is_not_replaced(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is locked may have a run at work."""
    run(products(1))
    backup_ledger("backup.db", settings)
    run(products(2))
    before = Path("ledger.db").read_bytes()
    monkeypatch.setattr("incarts_pipeline.sqlite.BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect("ledger.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerLockedError):
            restore_ledger("backup.db", settings)
        assert list(Path().glob("ledger.db.before-restore*")) == []
    assert Path("ledger.db").read_bytes() == before


@pytest.mark.parametrize("there", [b"", b"no database at all" * 100], ids=["empty", "damaged"])
def test_what_is_no_ledger_any_more_is_replaced(run: Run, settings: Settings, there: bytes) -> None:
    """That is what a backup is for."""
    run(products(1))
    backup_ledger("backup.db", settings)
    Path("ledger.db").write_bytes(there)
    assert restore_ledger("backup.db", settings).ledger.links == 1


def test_two_restores_in_one_second_lose_no_ledger(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ledger that is moved aside has a name of its own."""
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    run(products(1))
    backup_ledger("backup.db", settings)
    run(products(2))
    newest, older = (restore_ledger("backup.db", settings).moved_aside for _ in range(2))
    assert newest is not None
    assert older is not None
    for file, links in ((newest, 2), (older, 1)):
        with opened(file) as connection:
            assert connection.execute("SELECT COUNT(*) FROM link").fetchone() == (links,)


def only_the_backup(run: Run, settings: Settings) -> None:
    """Leave a backup with two of five links, and nothing that was published."""
    run(products(1))
    run(products(2))
    backup_ledger("backup.db", settings)
    run(products(5))
    for file in Path().glob("links*.parquet"):
        file.unlink()


@pytest.mark.parametrize("left", [None, 0, 1], ids=["gone", "empty", "older"])
def test_restoring_without_the_sent_keys_is_refused(
    run: Run, settings: Settings, left: int | None
) -> None:
    """Nothing would be held, and all that was sent since the backup made again."""
    only_the_backup(run, settings)
    sent, ledger = Path("ledger.db.sent"), Path("ledger.db").read_bytes()
    kept = sent.read_bytes()
    if left is None:
        sent.unlink()
    else:
        sent.write_bytes(kept[: left * len(kept) // 5])
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"ledger\.db\.sent is gone, or is older") as caught:
            restore_ledger("backup.db", settings)
        assert caught.value.guard == "lost_sent"
    assert Path("ledger.db").read_bytes() == ledger
    sent.write_bytes(kept)
    assert restore_ledger("backup.db", settings).held == 3


def test_sent_keys_that_are_lost_for_good(run: Run, settings: Settings) -> None:
    """Whoever deletes the witness, too, goes on with what the backup knows."""
    only_the_backup(run, settings)
    for end in ("sent", "witness"):
        Path(f"ledger.db.{end}").unlink()
    assert restore_ledger("backup.db", settings).held == 0


def test_backup_of_a_ledger_that_sent_nothing(run: Run, settings: Settings) -> None:
    """Where nothing was ever sent, nothing is lost."""
    run(products(1), limit=0)
    backup_ledger("backup.db", settings)
    run(products(1), limit=0)
    assert restore_ledger("backup.db", settings).held == 0


def test_backup_on_another_machine(run: Run, settings: Settings) -> None:
    """Where the whole folder is lost, a backup is put back without more ado."""
    only_the_backup(run, settings)
    for file in Path().glob("ledger.db*"):
        file.unlink()
    assert restore_ledger("backup.db", settings).held == 0
