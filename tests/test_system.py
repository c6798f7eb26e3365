"""What differs between systems: the whole flow without what only POSIX systems have."""

from __future__ import annotations

import ast
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from incarts_pipeline import system
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.rate_limit import Learned, LimitKind
from incarts_pipeline.rate_limit.memory import remember, remembered
from incarts_pipeline.settings import kept_hosts, load_settings
from tests.support.paths import ROOT

POSIX_ONLY = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
# Of `os` and `signal`: what Windows lacks, and has a replacement in `system`.
POSIX_NAMES = {"pread", "pwrite", "fork", "kill", "SIGKILL", "SIGSTOP", "add_signal_handler"}

# As on Windows: those modules and names are missing, and no folder can be opened. The packages that
# the library stands on are loaded before, since they look at the system by themselves.
ELSEWHERE = """
import importlib, os, pkgutil, signal, sys, types
import incarts_pipeline

def modules():
    names = pkgutil.walk_packages(incarts_pipeline.__path__, "incarts_pipeline.")
    skipped = (".bulk_read_process", "incarts_pipeline.pandas")  # a program, and an accessor
    return [one.name for one in names if not one.name.endswith(skipped)]

for name in modules():
    importlib.import_module(name)
import fcntl
for name in [one for one in sys.modules if one.split(".")[0] == "incarts_pipeline"]:
    del sys.modules[name]

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in POSIX_ONLY:
            raise ModuleNotFoundError(name)

for name in POSIX_ONLY:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
for name in ("pread", "pwrite", "fork"):
    delattr(os, name)
del signal.SIGKILL, signal.SIGSTOP
real_open = os.open

def open_no_folder(path, flags, *more, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return real_open(path, flags, *more, **named)

os.open = open_no_folder
import shutil
shutil._use_fd_functions = False
locks = types.ModuleType("msvcrt")
locks.LK_LOCK, locks.LK_UNLCK, locks.calls = 1, 0, []

def locking(file, mode, count):
    locks.calls.append(mode)
    fcntl.lockf(file, fcntl.LOCK_EX if mode else fcntl.LOCK_UN, count)

locks.locking = locking
sys.modules["msvcrt"] = locks
platform, sys.platform = sys.platform, "win32"
import incarts_pipeline.system
sys.platform = platform
for name in modules():
    importlib.import_module(name)
from incarts_pipeline import write_links
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import load_settings
import pyarrow as pa
rows = {"sku": ["1", "2"], "name": ["a", "b"], "retailer": ["walmart"] * 2}
rows |= {"intent": ["add_to_cart"] * 2, "retailer_product_id": ["500000", "500001"]}
table = pa.table(rows)
with Sandbox() as box:
    settings = load_settings(base_url=box.base_url, api_key=box.api_key,
                             project_id=box.project_id, ledger="ledger.db")
    made = write_links(table, settings=settings, unique_key=["sku"], link_set="s",
                       output="links.parquet")
    assert box.audit().links == 2, made
from incarts_pipeline.maintenance import backup_ledger
backup_ledger("backup.db", settings)
assert locks.calls.count(1) == locks.calls.count(0) > 0, locks.calls
print("as well")
"""


@pytest.mark.slow
def test_the_flow_needs_nothing_of_posix(tmp_path: Path) -> None:
    """Everything is imported, two links are made and the ledger is backed up as on Windows."""
    script = f"POSIX_ONLY = {POSIX_ONLY!r}\n{ELSEWHERE}"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.returncode) == ("as well\n", 0), ran.stderr


def test_only_one_module_knows_what_a_system_has() -> None:
    """No other module imports what only POSIX systems have, or names what Windows lacks."""
    found = []
    for path in sorted((ROOT / "incarts_pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            bad = set(names) & {*POSIX_ONLY, "msvcrt"}
            if isinstance(node, ast.Attribute) and node.attr in POSIX_NAMES:
                # A process that we started, and a mere `kill` of its own.
                bad |= {node.attr} if getattr(node.value, "id", "") in ("os", "signal") else set()
                bad |= {node.attr} & {"add_signal_handler"}
            found += [f"{path.name}: {name}" for name in bad if path.name != "system.py"]
    assert found == []


def test_reading_and_writing_at_a_place(tmp_path: Path) -> None:
    """Bytes are written where they belong, as they are."""
    file = system.open_file(tmp_path / "f", system.os.O_RDWR | system.os.O_CREAT)
    with system.locked(file):
        assert system.write_at(file, b"a\r\nb", 0) == 4
        assert system.write_at(file, b"\n", 3) == 1
    assert system.read_at(file, 10, 1) == b"\r\n\n"
    system.os.close(file)
    system.sync_file(tmp_path / "f")
    system.sync_folder(tmp_path)


def test_a_user_without_a_home_folder(tmp_path: Path, in_folder_without_home: None) -> None:
    """A path with a tilde stays as it stands, and nothing is kept in a folder of that name."""
    assert system.at_home("~/links.csv") == Path("~/links.csv")
    assert system.at_home(tmp_path) == tmp_path
    remember("https://api.example.com", "abcd", Learned(kind=LimitKind.BUCKET, rate=5.0))
    assert remembered("https://api.example.com", "abcd") is None
    assert (system.home_folder(), kept_hosts()) == (Path("/"), [])
    assert load_settings(ledger="ledger.db").ledger == Path("ledger.db")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CatalogError, match=r"~/links\.csv"):
        open_catalog("~/links.csv")


@pytest.fixture
def in_folder_without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be nobody, as a container's user may be, in an empty folder."""

    def nobody(_number: int) -> None:
        raise KeyError

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
