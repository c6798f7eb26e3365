"""Processes that we start have nobody's secrets, in their environment and in their arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from incarts_pipeline.ledger import prepare_file, reading
from incarts_pipeline.ledger.bulk_queries import UNLINKED
from incarts_pipeline.sandbox.process import SandboxProcess
from incarts_pipeline.settings import load_settings

KEY = "ic_live_0123456789abcdef"
SECRETS = {
    "INCARTS_API_KEY": KEY,
    "AWS_SECRET_ACCESS_KEY": "of-aws-0123456789",
    "HTTPS_PROXY": "http://me:hush-Word7@proxy.example:1",
    "SOME_TOKEN": "of-somebody-else",
}
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the system doesn't show processes"
)


@contextmanager
def sandbox() -> Iterator[None]:
    """Run a sandbox in a process of its own."""
    with SandboxProcess():
        yield


@contextmanager
def bulk_reader() -> Iterator[None]:
    """Have another process read a ledger, and wait until it does."""
    prepare_file(Path("ledger.db"), "https://api.example.com").dispose()
    with reading(Path("ledger.db"), large=True) as found:
        assert sum(batch.num_rows for batch in found.batches(UNLINKED, 0)) == 0
        yield


@contextmanager
def key_command() -> Iterator[None]:
    """Have a command print the key, which first writes down what it was started with."""
    copies = "; ".join(
        f"shutil.copy('/proc/self/{name}', {str(Path(name).absolute())!r})"
        for name in ("environ", "cmdline")
    )
    Path("helper.py").write_text(f"import shutil; {copies}; print('of-the-helper-1')")
    helper = f"{sys.executable} {Path('helper.py').absolute()}"
    assert load_settings(api_key_command=helper).known_key() is not None
    yield


def children() -> set[int]:
    """Return the processes that this one has started and not waited for."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


@pytest.mark.parametrize("start", [sandbox, bulk_reader, key_command])
def test_children_get_no_secrets(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Iterator[None]]
) -> None:
    """What the system shows of each process has none of them, but what programs need."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    before = children()
    with start():  # type: ignore[attr-defined]
        folders = [Path(f"/proc/{pid}") for pid in children() - before]
        folders += [Path()] if Path("environ").exists() else []
        shown = {
            name: b"".join((folder / name).read_bytes() for folder in folders)
            for name in ("environ", "cmdline")
        }
    assert b"PATH=" in shown["environ"]
    assert b"python" in shown["cmdline"]
    found = [
        one
        for one in (*SECRETS, *SECRETS.values(), "hush-Word7", "of-the-helper")
        for text in shown.values()
        if one.encode() in text
    ]
    assert found == []
