"""Writer of files: each appears whole or not at all, and no more open than the one it follows.

What is written lies beside its place first, for nobody else to read unless the old file is, and is
on disk before it gets its name. So a process that dies leaves the old file, whole. Nothing goes
through a symbolic link, which somebody else may have laid to a third file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from incarts_pipeline.errors import PublishError, reason_of
from incarts_pipeline.system import give_mode, give_owner, open_file, sync_file, sync_folder

_PART = ".incarts-"
_OLD_PART_SECONDS = 3_600.0
_OWNER_ONLY = 0o600
_ACL = "system.posix_acl_access"
_swept: set[Path] = set()  # folders; once is enough, as ten thousand codes may go into one
# What is open already: a link there leads to where the caller's shell said.
_OPEN_FILES = ("/dev", "/dev/fd", "/proc/self/fd")


def write_file(path: Path, content: str | bytes, *, private: bool = False, what: str = "") -> Path:
    """Write a file as a whole, and return its path.

    Args:
        path: where it goes; a pipe or a device gets the bytes as they are.
        content: text is written in UTF-8.
        private: whether a new file is for its owner alone (0600), not as the umask says.
        what: a noun for the file, for an error.

    Raises:
        PublishError: it can't be written, or is a symbolic link; what was there stays.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if _is_stream(path):
            # Not made anew, and behind what is there already.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
                stream.write(data)
        else:
            check_link(path, what)
            with new_file(path, private=private) as file:
                file.write(data)
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise _cannot_write(path, error, what) from error
    return path


@contextmanager
def new_file(path: Path, *, private: bool = False, like: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes its place when the block ends, and is gone when the block fails.

    It has the mode, the group and the owner of the file whose place it takes, as far as this
    process may give them, and never more.

    Args:
        path: where it goes.
        private: whether a new file is for its owner alone (0600), not as the umask says.
        like: the file that it follows under another name, if there is none at its own.

    Yields:
        The open file; its `name` is where it lies for now.

    Raises:
        PublishError: the path is a symbolic link.
        OSError: the file can't be written, or is a folder or the like.
    """
    check_link(path)
    old = _status(path)
    if old is not None and not stat.S_ISREG(old.st_mode):
        what = errno.EISDIR if stat.S_ISDIR(old.st_mode) else errno.EEXIST
        raise OSError(what, os.strerror(what), str(path))
    before = path if old is not None or like is None else like
    old = _status(before)
    _drop_old_parts(path.parent)
    part = path.with_name(f"{_PART}{uuid.uuid4().hex}.part")
    mode = _OWNER_ONLY if private or old is not None else 0o666  # of which the umask takes away
    try:
        with open(part, "x+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if old is not None:
                _take_after(file.fileno(), before, old)
        _rename(part, path)
    finally:
        part.unlink(missing_ok=True)


def put_in_place(part: Path, path: Path) -> None:
    """Bring a finished file to the disk, and give it its name in one step.

    Raises:
        OSError: that can't be done.
    """
    sync_file(part)
    _rename(part, path)


def make_empty(path: Path, *, like: Path | None = None) -> bool:
    """Make an empty file for its owner alone, or as open as another; False when it is there.

    An existing file is not opened: closing it would drop the locks that SQLite has on it.

    Raises:
        OSError: it can't be made.
    """
    try:
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY)
    except FileExistsError:
        return False
    try:
        if like is not None and (other := _status(like)) is not None:
            _take_after(made, like, other)
    finally:
        os.close(made)
    return True


def take_after(path: Path, other: Path) -> None:
    """Give a file the mode, group and owner of another, if that is there.

    Raises:
        OSError: that can't be done.
    """
    found = _status(other)
    if found is None:
        return
    opened = open_file(path, os.O_RDONLY)
    try:
        _take_after(opened, other, found)
    finally:
        os.close(opened)


@contextmanager
def staged_file() -> Iterator[Path]:
    """Yield a path in a folder that only this user can open, for what goes elsewhere as a whole."""
    shared = Path(tempfile.gettempdir())
    _drop_old_parts(shared)
    folder = shared / f"{_PART}{uuid.uuid4().hex}.part"
    folder.mkdir(mode=0o700)
    try:
        yield folder / "file"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_link(path: Path, what: str = "") -> None:
    """Refuse a path that is a symbolic link, unless it leads to what is open already.

    Raises:
        PublishError: as said, or nobody can look there.
    """
    try:
        refused = path.is_symlink() and not _is_stream(path)
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise _cannot_write(path, error, what) from error
    if refused:
        raise PublishError(
            f"{_named(path, what)} is a symbolic link to {path.readlink()}, and nothing is written "
            "through one.",
            fix=f"Name the file itself, {os.path.realpath(path)}, or delete the link.",
        )


def check_writable(path: Path) -> None:
    """Make sure that a file can be written to a path; a quick look before the long work.

    Raises:
        PublishError: it can't.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # which refuses a name that the probe's doesn't stand for
        if not _is_stream(path):
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise _cannot_write(path, error) from error


def _is_stream(path: Path) -> bool:
    if str(path.absolute().parent) in _OPEN_FILES:
        return path.exists()
    found = _status(path, follow=False)
    plain = (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)
    return found is not None and stat.S_IFMT(found.st_mode) not in plain


def _status(path: Path, *, follow: bool = True) -> os.stat_result | None:
    try:
        return path.stat(follow_symlinks=follow)
    except FileNotFoundError:
        return None


def _take_after(opened: int, path: Path, old: os.stat_result) -> None:
    """Give an open file another's mode, group and owner; where that is not allowed, less."""
    mode = stat.S_IMODE(old.st_mode) & 0o777
    if not (_is_owned(opened, old.st_uid, old.st_gid) or _is_owned(opened, -1, old.st_gid)):
        # Another group than was meant gets no more than everybody.
        mode &= ~0o070 | (mode & 0o007) << 3
    give_mode(opened, mode)
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):  # there is none, or this disk knows none
            os.setxattr(opened, _ACL, os.getxattr(path, _ACL))


def _is_owned(opened: int, user: int, group: int) -> bool:
    try:
        give_owner(opened, user, group)
    except OSError:
        return False
    return True


def _drop_old_parts(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left behind."""
    if (place := folder.absolute()) in _swept:
        return
    _swept.add(place)
    for part in folder.glob(f"{_PART}*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.lstat().st_mtime > _OLD_PART_SECONDS:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _rename(part: Path, path: Path) -> None:
    part.replace(path)
    sync_folder(path.parent)


def _named(path: Path, what: str) -> str:
    return f"The {what} {path}" if what else str(path)


def _cannot_write(path: Path, error: OSError | ValueError, what: str = "") -> PublishError:
    return PublishError(
        f"{_named(path, what)} can't be written ({reason_of(error)}).",
        fix="Create its folder, make room, or choose another place.",
    )
