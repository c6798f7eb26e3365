"""Ledger as files: backups that test themselves, putting one back, and a check of what is there."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerDamagedError, LedgerError, RefusedError
from incarts_pipeline.file_writer import check_link, make_empty, put_in_place, take_after
from incarts_pipeline.ledger import (
    Process,
    check_beside,
    check_facts,
    check_file,
    check_moved,
    copy_database,
    counts_of,
    damage,
    existing_ledger,
    hold_lost,
    is_there,
    living_runs,
    mark_of,
    migrate,
    once,
    open_engine,
    read_facts,
    transaction,
    write_mark,
)
from incarts_pipeline.settings import LedgerPlace, Settings, load_settings
from incarts_pipeline.sqlite import explain

_LOGS = ("-wal", "-shm", "-journal")  # what SQLite has beside a database


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFile:
    """A ledger's file in numbers: its `rows` by table."""

    file: Path
    rows: Mapping[str, int]

    @property
    def links(self) -> int:
        """The links in it."""
        return self.rows["link"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredLedger:
    """A ledger that was put in place.

    `held` counts the keys that were sent and that it doesn't know: their rows are not sent.
    `moved_aside` is where the ledger that was there is now.
    """

    ledger: LedgerFile
    held: int
    moved_aside: Path | None


def backup_ledger(destination: str | Path, settings: Settings | None = None) -> LedgerFile:
    """Copy the ledger to a new file, also while runs write to it, and check the copy.

    Raises:
        RefusedError: the file exists, or the ledger isn't the newest.
        PublishError: the file is a symbolic link.
        LedgerError: there is no ledger, or it can't be read or copied.
    """
    target = Path(destination)
    ledger = existing_ledger(settings or load_settings())
    check_link(target)
    if target.exists():
        raise RefusedError(
            f"{target} exists; a backup is a new file.",
            fix="Choose another name, like one with the date.",
            guard="backup_exists",
        )
    part = target.with_name(f"{target.name}.part")
    rows = _copied(_file_of(ledger.file), part)
    put_in_place(part, target)
    return LedgerFile(file=target, rows=rows)


def restore_ledger(backup: str | Path, settings: Settings | None = None) -> RestoredLedger:
    """Put a backup in the ledger's place, and hold what was sent since it was made.

    Raises:
        RefusedError: a run is at work on the ledger, it can't be kept where it is, or what was sent
            since the backup is lost.
        LedgerMovedError: the ledger, or what is to be put in its place, was moved elsewhere.
        LedgerError: the backup is damaged, another host's, or can't be put there.
    """
    chosen, source = settings or load_settings(), Path(backup)
    place = _file_of(chosen.ledger)
    check_file(place)
    _check_nobody_runs(place)
    part = place.resolve().with_name(f"{place.name}.restoring")
    _copied(source, part)
    with _removed_if_failed(part):
        engine = open_engine(part)
        try:
            with transaction(engine, part, marked=False) as connection:
                facts = read_facts(connection)
                check_facts(facts, chosen.base_url, source)
                migrate(connection, int(facts["schema_version"]))
                held = hold_lost(connection, place)
                rows = counts_of(connection)
        finally:
            engine.dispose()
    take_after(part, place)
    aside = _moved_aside(place.resolve())
    put_in_place(part, place.resolve())
    with once(place, read_only=True) as connection:
        write_mark(place, mark_of(connection))
    return RestoredLedger(ledger=LedgerFile(file=place, rows=rows), held=held, moved_aside=aside)


def check_ledger(settings: Settings | None = None) -> list[str]:
    """Return what is wrong with the ledger, in words: nothing when it is intact.

    Looked at are what the database itself finds, that each row in use has its link, and that each
    body has the hash that it was recorded with.

    Raises:
        RefusedError: it isn't the newest, or can't be kept where it is.
        LedgerError: there is no ledger, or it can't be read.
    """
    return existing_ledger(settings or load_settings()).read(lambda c: list(damage(c)))


def _file_of(ledger: LedgerPlace) -> Path:
    """Return the file of a ledger; a database's own tools back it up.

    Raises:
        RefusedError: it has none.
    """
    if isinstance(ledger, Path):
        return ledger
    raise RefusedError(
        f"The ledger {ledger} is a schema of a database, and no file.",
        fix=f"Back it up with `pg_dump --schema={ledger.schema}`, and put it back with "
        "`pg_restore`; then take over what was published since with `incarts import "
        "links.parquet`.",
        guard="ledger_in_database",
    )


def _check_nobody_runs(ledger: Path) -> None:
    if not is_there(ledger):
        return
    try:
        with once(ledger, read_only=True) as connection:
            facts = read_facts(connection)
            check_moved(facts, ledger)  # or else there would be two that are at work
            is_ledger, now = bool(facts), Clock().now()
            living = living_runs(connection, Process.current(), now) if is_ledger else {}
    except LedgerDamagedError:  # that is what a backup is for
        return
    if living:
        raise RefusedError(
            f"A run is at work on the ledger: {', '.join(map(str, living.values()))}.",
            fix="Stop it with `incarts stop`, and wait until it has ended.",
            guard="running",
        )


def _copied(source: Path, part: Path) -> dict[str, int]:
    """Copy a ledger and compare the copy with it; return its rows by table."""
    if not source.is_file():
        raise LedgerError(f"There is no file {source}.", fix="Give the path of a ledger's file.")
    _remove(part)
    with _removed_if_failed(part):
        check_beside(source)
        with once(source, read_only=True) as connection:
            if not read_facts(connection):
                raise LedgerError(f"{source} is no ledger.", fix="Give a ledger's file.")
            rows = counts_of(connection)
            copy_database(connection, part)
        with once(part, read_only=True) as connection:
            check = connection.exec_driver_sql("PRAGMA integrity_check(3)").scalars().all()
            if check != ["ok"] or counts_of(connection) != rows:
                raise LedgerDamagedError(
                    f"The copy of {source} is damaged ({'; '.join(check)}).",
                    fix="Look at it with `incarts ledger check`, or take another backup.",
                )
    return rows


@contextmanager
def _removed_if_failed(part: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sa.exc.DBAPIError, OSError) as error:
        _remove(part)
        raise explain(error, part) from error
    except BaseException:
        _remove(part)
        raise


def _remove(part: Path) -> None:
    for suffix in ("", *_LOGS):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def _moved_aside(place: Path) -> Path | None:
    """Move a ledger and its log away, together: a log beside another database would spoil it."""
    there = [suffix for suffix in ("", *_LOGS) if place.with_name(place.name + suffix).exists()]
    if not there:
        return None
    aside = _free_name(place)
    for suffix in there:
        place.with_name(place.name + suffix).replace(aside.with_name(aside.name + suffix))
    return aside


def _free_name(place: Path) -> Path:
    """Return where a ledger can be moved to: an empty file, which nobody else can take by now."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for number in count(1):
        end = stamp if number == 1 else f"{stamp}-{number}"
        aside = place.with_name(f"{place.name}.before-restore-{end}")
        if make_empty(aside):
            return aside
    raise AssertionError("numbers never end")
