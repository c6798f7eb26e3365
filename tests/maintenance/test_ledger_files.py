"""The ledger's file: what is wrong with it is told, and what it doesn't have isn't published."""

from __future__ import annotations

from pathlib import Path

import pytest

from incarts_pipeline.errors import LedgerDamagedError, RefusedError
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
