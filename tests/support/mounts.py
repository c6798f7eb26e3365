"""Small file systems of their own, which can be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BALLAST = "ballast"


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """Mount a small file system while the block lasts; where that isn't allowed, skip the test."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, left: int) -> None:
    """Fill a file system up to some bytes that are left."""
    found = os.statvfs(place)
    (place / _BALLAST).write_bytes(b"x" * (found.f_bavail * found.f_frsize - left))


def make_room(place: Path) -> None:
    """Take back what `fill` has done."""
    (place / _BALLAST).unlink()
