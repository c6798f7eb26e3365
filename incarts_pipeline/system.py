"""System: what Windows does in another way than POSIX systems, or not at all.

Nothing else in the library imports a module that only one of them has, so that it runs on both.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NOWHERE = Path(os.devnull).absolute() / "no-home-folder" / "incarts"
_HAS_FOLDERS = sys.platform != "win32"  # which can be opened, and so be brought to the disk
# Windows translates line ends in files that aren't opened by this flag.
_BINARY = getattr(os, "O_BINARY", 0)
# Windows keeps others from reading the bytes that are locked, so it is one behind all there are.
_LOCKED_BYTE = 2**31 - 2


def open_file(path: Path, flags: int) -> int:
    """Open a file that is there for bytes, and return its descriptor; a symbolic link is refused.

    Windows has no such flag; who makes links there is an administrator.
    """
    return os.open(path, flags | _BINARY | getattr(os, "O_NOFOLLOW", 0))


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Keep other processes that lock an open file waiting while the block runs."""
    _lock(file)
    try:
        yield
    finally:
        _unlock(file)


if sys.platform == "win32":

    def _lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(file, msvcrt.LK_LOCK, 1)
            except OSError:  # ten seconds have passed
                continue
            return

    def _unlock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


def read_at(file: int, length: int, at: int) -> bytes:
    """Read bytes of an open file that only this thread uses."""
    os.lseek(file, at, os.SEEK_SET)
    return os.read(file, length)


def write_at(file: int, content: bytes, at: int) -> int:
    """Write bytes of an open file that only this thread uses; return how many were written."""
    os.lseek(file, at, os.SEEK_SET)
    return os.write(file, content)


def at_home(path: str | Path) -> Path:
    """Return a path with the user's folder for a `~`; as it stands where nobody knows a folder.

    So it is in a container whose user has no name and no HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def home_folder() -> Path:
    """Return the user's folder, or the root of all where nobody knows one."""
    found = at_home("~")
    return found if found.is_absolute() else Path("/")


def own_folder(kind: Literal["state", "config"]) -> Path:
    """Return the program's folder of the user's state or settings.

    Where nobody knows a home, it is one that isn't there and can't be made: what is kept only to
    save time is not kept then, and what must be kept ends in an error that names the place.
    """
    from platformdirs import user_config_path, user_state_path

    try:
        found = user_state_path("incarts") if kind == "state" else user_config_path("incarts")
    except RuntimeError:
        return _NOWHERE
    return found if found.is_absolute() else _NOWHERE


def sync_file(path: Path) -> None:
    """Bring what a file holds to the disk."""
    _synced(path, os.O_RDWR)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system doesn't do so by itself."""
    if _HAS_FOLDERS:
        _synced(folder, os.O_RDONLY)


def _synced(path: Path, flags: int) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def give_mode(file: int, mode: int) -> None:
    """Give an open file a mode, where files have more than one bit of it."""
    if hasattr(os, "fchmod"):
        os.fchmod(file, mode)


def give_owner(file: int, user: int, group: int) -> None:
    """Give an open file an owner and a group, where files have such; -1 leaves what it has."""
    if hasattr(os, "fchown"):
        os.fchown(file, user, group)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """End a process that has a session of its own, and on POSIX systems whatever it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def kill_self() -> None:
    """End this process at once, as the system does when memory runs out."""
    # On Windows every signal ends a process at once.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def pause_self() -> None:
    """Pause this process until somebody continues it; raises AttributeError on Windows."""
    os.kill(os.getpid(), signal.SIGSTOP)
