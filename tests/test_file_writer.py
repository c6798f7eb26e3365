"""Files appear whole or not at all, are never more open than before, and follow no link."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from incarts_pipeline import file_writer
from incarts_pipeline.errors import PublishError
from incarts_pipeline.file_writer import make_empty, new_file, staged_file, take_after, write_file


@contextmanager
def umask(value: int) -> Iterator[None]:
    """Have the process's umask for a while."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "shared"), [(0, 0o666), (0o022, 0o644), (0o077, 0o600)])
def test_modes_of_new_files(mask: int, shared: int) -> None:
    """A private file is its owner's alone whatever the umask; others follow it."""
    with umask(mask):
        assert mode(write_file(Path("shared"), "a")) == shared
        assert mode(write_file(Path("private"), "a", private=True)) == 0o600
        make_empty(Path("ledger.db"))
        assert mode(Path("ledger.db")) == 0o600


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o664, 0o400])
@pytest.mark.parametrize("private", [True, False])
def test_mode_of_the_file_before_is_kept(kept: int, private: bool) -> None:
    """Whatever the umask, and whether or not it is one that would be private."""
    path = write_file(Path("file"), "old")
    path.chmod(kept)
    with umask(0):
        write_file(path, "new", private=private)
    assert (path.read_text(), mode(path)) == ("new", kept)


def test_nobody_else_reads_what_is_being_written() -> None:
    """Where the old file is its owner's alone, so is the new one from its first byte."""
    path = write_file(Path("file"), "old", private=True)
    with umask(0), new_file(path) as file:
        assert mode(Path(file.name)) == 0o600
        assert Path(file.name).absolute().parent == path.absolute().parent


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
def test_owner_and_group_are_kept() -> None:
    """As far as the process may give files away."""
    path = write_file(Path("file"), "old")
    os.chown(path, 1234, 5678)
    path.chmod(0o640)
    write_file(path, "new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode(path)) == (1234, 5678, 0o640)


def test_a_group_that_cannot_be_kept_gets_no_more_than_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the one group might read, another mustn't."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refused)
    for before, after in ((0o660, 0o600), (0o664, 0o644), (0o750, 0o700), (0o666, 0o666)):
        path = write_file(Path("file"), "old")
        path.chmod(before)
        write_file(path, "new")
        assert mode(path) == after


@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_no_symbolic_link_is_written_through(target: str) -> None:
    """It is refused by name, with the way out; both files stay as they are."""
    Path("victim").write_text("mine")
    Path("out.html").symlink_to(target)
    with pytest.raises(PublishError, match=rf"out\.html is a symbolic link to {target}") as told:
        write_file(Path("out.html"), "page")
    assert str(Path(target).absolute()) in str(told.value.fix)
    assert (Path("victim").read_text(), Path("out.html").is_symlink()) == ("mine", True)
    assert not Path("nothing").exists()


def test_a_folder_that_is_a_link_may_hold_outputs() -> None:
    """Only the file's own name counts: /tmp is a link on some systems."""
    Path("data").mkdir()
    Path("today").symlink_to("data")
    write_file(Path("today/out.html"), "page")
    assert Path("data/out.html").read_text() == "page"


def test_pipes_and_standard_output_take_what_is_written() -> None:
    """A named pipe and /dev/stdout get the bytes; what is behind > and >> too."""
    os.mkfifo("pipe")
    got: list[str] = []
    reading = threading.Thread(target=lambda: got.append(Path("pipe").read_text()))
    reading.start()
    write_file(Path("pipe"), "through")
    reading.join()
    assert got == ["through"]
    code = (
        "from pathlib import Path; from incarts_pipeline.file_writer import write_file; "
        "write_file(Path('/dev/stdout'), 'new', private=True)"
    )
    assert subprocess.check_output([sys.executable, "-c", code]) == b"new"
    Path("log").write_text("old ")
    with Path("log").open("ab") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert Path("log").read_text() == "old new"


def test_killed_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file is whole; what was begun goes with a later file, an hour after."""
    write_file(Path("file"), "old")
    code = (
        "import os; from pathlib import Path; from incarts_pipeline import file_writer; "
        "file_writer._rename = lambda *_: os.kill(os.getpid(), 9); "
        "file_writer.write_file(Path('file'), 'new')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert Path("file").read_text() == "old"
    [part] = Path().glob(".incarts-*")
    write_file(Path("file"), "newer")
    assert part.exists()  # it might be one that is being written
    hours_ago = time.time() - 7_200
    os.utime(part, (hours_ago, hours_ago))
    monkeypatch.setattr(file_writer, "_swept", set())  # as in another process
    write_file(Path("file"), "newest")
    assert [one.name for one in Path().iterdir()] == ["file"]


def test_failed_while_writing() -> None:
    """The old file is whole, and nothing else is left."""
    write_file(Path("file"), "old")

    def broken_off() -> None:
        with new_file(Path("file")) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert (Path("file").read_text(), len(list(Path().iterdir()))) == ("old", 1)


def test_what_goes_elsewhere_waits_in_a_folder_of_its_own() -> None:
    """Other users of the shared temporary folder can't open it, and it is gone afterwards."""
    with umask(0), staged_file() as part:
        assert mode(part.parent) == 0o700
        with new_file(part, private=True) as file:
            file.write(b"rows")
        assert mode(part) == 0o600
    assert not part.parent.exists()


def test_as_open_as_another() -> None:
    """What lies beside a ledger has its mode; a file that is there keeps its own."""
    Path("ledger.db").touch()
    Path("ledger.db").chmod(0o660)
    with umask(0o077):
        make_empty(Path("ledger.db.sent"), like=Path("ledger.db"))
    assert mode(Path("ledger.db.sent")) == 0o660
    Path("ledger.db.sent").chmod(0o600)
    make_empty(Path("ledger.db.sent"), like=Path("ledger.db"))
    assert mode(Path("ledger.db.sent")) == 0o600
    take_after(Path("ledger.db.sent"), Path("ledger.db"))
    assert mode(Path("ledger.db.sent")) == 0o660
    take_after(Path("ledger.db.sent"), Path("gone"))
