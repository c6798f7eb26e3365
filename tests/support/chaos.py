"""What befalls a ledger's files, and how a person gets out of it: for tests and for `make soak`."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from incarts_pipeline.maintenance import adopt, open_cases, recreate
from incarts_pipeline.sandbox.app import Logged
from incarts_pipeline.sandbox.audit import Audit
from incarts_pipeline.settings import Settings
from tests.support.sqlite_files import opened

_LOGS = ("-wal", "-shm")
_PAGE = 4096  # bytes


class Damage(StrEnum):
    """What befalls the files of a ledger that has a backup from before its last night."""

    COPIED_OVER = "copied_over"  # the backup over the ledger, as one shouldn't
    COPIED_UNDER_LOG = "copied_under_log"  # the same, while the ledger's log stays beside it
    LOG_LOST = "log_lost"  # as in a container into which the ledger alone was mounted
    DELETED = "deleted"
    REPLACED = "replaced"  # by another ledger
    RENAMED = "renamed"
    LINKED = "linked"  # it has a second name, under which it would have a second log
    ZEROED = "zeroed"  # one page, as by a bad disk


def befall(damage: Damage, ledger: Path, backup: Path, dice: random.Random | None = None) -> None:
    """Do it; the dice choose the page."""
    _DAMAGES[damage](ledger, backup, dice or random.Random(0))


def _copied_over(ledger: Path, backup: Path, _: random.Random) -> None:
    shutil.copy(backup, ledger)
    lose_log(ledger)


def _copied_under_log(ledger: Path, backup: Path, _: random.Random) -> None:
    shutil.copy(backup, ledger)


def lose_log(ledger: Path) -> None:
    """Lose the log, with whatever is in it alone."""
    for suffix in _LOGS:
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)


def _log_lost(ledger: Path, _: Path, __: random.Random) -> None:
    lose_log(ledger)


def _deleted(ledger: Path, _: Path, __: random.Random) -> None:
    lose_log(ledger)
    ledger.unlink()


def _replaced(ledger: Path, backup: Path, _: random.Random) -> None:
    other = ledger.with_name("another.db")
    shutil.copy(backup, other)
    with opened(other) as connection:
        connection.execute("UPDATE meta SET value = 'another' WHERE name = 'ledger_id'")
    lose_log(ledger)
    other.rename(ledger)


def _renamed(ledger: Path, _: Path, __: random.Random) -> None:
    ledger.rename(ledger.with_name("elsewhere.db"))


def _linked(ledger: Path, _: Path, __: random.Random) -> None:
    ledger.with_name("second.db").hardlink_to(ledger)


def _zeroed(ledger: Path, _: Path, dice: random.Random) -> None:
    with opened(ledger) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    at = dice.randrange(ledger.stat().st_size // _PAGE)
    with ledger.open("r+b") as file:
        file.seek(at * _PAGE)
        file.write(bytes(_PAGE))


_DAMAGES: dict[Damage, Callable[[Path, Path, random.Random], None]] = {
    Damage.COPIED_OVER: _copied_over,
    Damage.COPIED_UNDER_LOG: _copied_under_log,
    Damage.LOG_LOST: _log_lost,
    Damage.DELETED: _deleted,
    Damage.REPLACED: _replaced,
    Damage.RENAMED: _renamed,
    Damage.LINKED: _linked,
    Damage.ZEROED: _zeroed,
}


class Incarts(Protocol):
    """A sandbox that can be asked what it has made."""

    def audit(self) -> Audit: ...
    def requests(self) -> list[Logged]: ...


def made_links(box: Incarts) -> dict[str, str]:
    """Return the link that was made under each idempotency key."""
    return {one.idempotency_key: one.link_id for one in box.requests() if one.link_id}


def review(settings: Settings, box: Incarts) -> list[str]:
    """Do with each held row what Incarts says: adopt the link that exists, else recreate.

    Returns:
        Why each was held.
    """
    made = made_links(box)
    found = open_cases(settings)
    for case in found:
        link_id = made.get(case.idempotency_key)
        if link_id is None:
            recreate([case.idempotency_key], settings)
        else:
            adopt(case.idempotency_key, link_id, settings)
    return [case.reason for case in found]
