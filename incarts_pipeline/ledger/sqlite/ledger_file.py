"""File of the ledger as the system has it: places where it can't be kept, and whether it moved."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from incarts_pipeline.errors import LedgerError, RefusedError, reason_of
from incarts_pipeline.file_writer import make_empty

_MOUNTS = Path("/proc/self/mountinfo")
_OPEN_FILES = Path("/proc/self/fd")

_LOGS = ("-wal", "-shm", "-journal")  # what SQLite has beside a database
_BESIDE = (*_LOGS, "-pace", *(f"-pace{log}" for log in _LOGS), ".witness", ".sent")

FileId = tuple[int, int]  # device and inode


def beside(ledger: Path, suffix: str) -> Path:
    """Return a file beside the ledger's own, where SQLite has its log too."""
    real = Path(os.path.realpath(ledger))  # which raises nothing for a link to itself
    return real.with_name(f"{real.name}{suffix}")


def is_there(path: Path) -> bool:
    """Say whether there is a ledger: SQLite takes an empty file for a new one."""
    return path.exists() and path.stat().st_size > 0


def check_file(path: Path) -> None:
    """Refuse a file whose log can't stay beside it, or that has a second name.

    So are files beside it that lead elsewhere, for which see `check_beside`.

    Raises:
        RefusedError: as said; a file that isn't there is none of these.
        LedgerError: there can be no such file, or nobody may look at it.
    """
    try:
        check_beside(path)
        found = path.stat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise LedgerError(
            f"The ledger {path} can't be looked at ({reason_of(error)}).",
            fix="Set INCARTS_LEDGER to a file that you may write, in a folder that exists.",
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise _refused(
            f"The ledger {path} is not a regular file.", "Set INCARTS_LEDGER to a file of its own."
        )
    if found.st_nlink > 1:
        raise _refused(
            f"The ledger {path} has {found.st_nlink} names (hard links): under each of them SQLite "
            "keeps another log, and what one run records the next one would not see.",
            "Delete the other names, or copy the file to one of its own; `incarts ledger backup` "
            "makes backups.",
        )
    if os.path.realpath(path) in _mount_points():
        raise _refused(
            f"The ledger {path} is mounted by itself: its log beside it stays in the container, "
            "and is lost with it.",
            "Mount the folder that the ledger is in, not the file.",
        )


def check_beside(ledger: Path) -> None:
    """Refuse files beside a ledger that are symbolic links, or no regular files.

    SQLite and whoever else opens them would change what they lead to.

    Raises:
        RefusedError: as said.
        OSError: nobody may look there; ValueError for a NUL in the path.
    """
    for file in (beside(ledger, suffix) for suffix in _BESIDE):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(file.lstat().st_mode):
                raise _refused(
                    f"{file}, beside the ledger, is a symbolic link or no regular file, and "
                    "nothing is read or written through one.",
                    "Look who made it. Put the file that it leads to in its place if that is the "
                    "ledger's own; otherwise delete the link.",
                )


def _refused(message: str, fix: str) -> RefusedError:
    return RefusedError(message, fix=fix, guard="unsafe_ledger")


def _mount_points() -> set[str]:
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return set()
    # Blanks and the like are written as backslash and three octal digits.
    return {
        re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split(" ")[4])
        for line in lines
    }


def create_empty(path: Path) -> None:
    """Make the empty file that SQLite takes for a new database; nothing when it is there.

    It is for its owner alone, and SQLite makes its log like it.

    This is the one place that makes a ledger: SQLite itself opens only files that exist, so that a
    run whose ledger was moved away can't go on with a new one.

    Raises:
        LedgerError: the file can't be made.
    """
    try:
        make_empty(path)
    except OSError as error:
        raise LedgerError(
            f"The ledger {path} can't be made ({error.strerror}).",
            fix="Make its folder writable, or set INCARTS_LEDGER to another file.",
        ) from error


def file_id(path: Path) -> FileId | None:
    """Return which file a path leads to, None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def place_of(file: FileId) -> str | None:
    """Return where a file that this process has open is by now, None when nobody can tell."""
    for opened in _links(_OPEN_FILES):
        if file_id(opened) == file:
            return str(opened.readlink())
    return None


def _links(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return ()
