"""The shell's table of commands: what it says of each, and what using one of them loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from incarts_pipeline.cli.app import app
from incarts_pipeline.cli.commands import ENTRIES
from tests.support.shell import commands_of

# Packages that take a twentieth of a second or more to load.
HEAVY = frozenset(
    {
        *("aiohttp", "adbc_driver_manager", "duckdb", "httpx", "numpy", "pandas", "pyarrow"),
        *("pydantic", "pydantic_settings", "sqlalchemy", "starlette", "tenacity", "uvicorn"),
    }
)
# Runs the shell, and says on standard error which modules there are in the end.
LOADED = """
import sys
from incarts_pipeline.cli import main
try:
    main()
finally:
    sys.stderr.write("loaded: " + " ".join({name.partition(".")[0] for name in sys.modules}))
"""


def loaded_by(*arguments: str) -> frozenset[str]:
    """Return what `incarts` with these arguments loads of the heavy packages."""
    command = [sys.executable, "-c", LOADED, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    _, found, names = ran.stderr.rpartition("loaded: ")
    assert found, ran.stderr
    return HEAVY & frozenset(names.split())


def test_the_overview_says_what_each_command_says() -> None:
    """The line of each command in the overview is the first of its own help."""
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group)
    commands = commands_of(root)
    own = {name: (one.help or "").split("\n\n")[0] for name, one in commands.items()}
    assert {entry.name: entry.says for entry in ENTRIES} == own
    overview = " ".join(CliRunner().invoke(app, ["-h"], env={"COLUMNS": "200"}).output.split())
    assert all(f"│ {entry.name} {entry.says} │" in overview for entry in ENTRIES)


def test_commands_of_their_own_have_no_options_of_ours() -> None:
    """What `review`, `ledger` and `keys` are asked for is a command of theirs, or help."""
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group)
    groups = [one for one in commands_of(root).values() if isinstance(one, click.Group)]
    assert [one.name for one in groups] == ["review", "ledger", "keys"]
    assert [one.params for one in groups] == [[], [], []]


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    """The nearest command is named, once."""
    ran = CliRunner().invoke(app, ["stauts"])
    assert ran.exit_code == 2
    assert ran.output.count("'status'") == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("incarts re", "rekey review"),
        ("incarts review ad", "adopt"),
        ("incarts plan --ref", "--refuse-over"),
    ],
)
def test_completion(
    typed: str, offered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed for bash completes commands, commands of commands, and options."""
    here = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    words = f"COMP_WORDS=({typed}); COMP_CWORD={typed.count(' ')}"
    script = f'''incarts --install-completion >&2; . ~/.bashrc; {words}
        _incarts_completion incarts; echo "${{COMPREPLY[*]}}"'''
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (ran.stdout.strip(), "bash completion installed" in ran.stderr) == (offered, True)
