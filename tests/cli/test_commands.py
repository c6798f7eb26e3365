"""The shell's table of commands: what it says of each, and what using one of them loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from incarts_pipeline.cli.app import app
from incarts_pipeline.cli.commands import ENTRIES
from tests.support.processes import NO_MAPPING
from tests.support.runs import products
from tests.support.shell import Shell, commands_of

# Packages that take long to load and the parts of our own, and what each kind of command may load
# of them.
_HEAVY = frozenset(
    {
        *("adbc_driver_manager", "aiohttp", "asyncio", "asyncpg", "cryptography", "dagster"),
        *("duckdb", "httpx", "keyring", "multiprocessing", "numpy", "pandas", "psycopg"),
        *("pyarrow", "pydantic", "sqlalchemy", "starlette", "tenacity", "uvicorn"),
        "yaml",
    }
)
_OURS = frozenset(
    f"incarts_pipeline.{name}"
    for name in (
        *("api.client", "dagster.asset", "mapping.mapping", "plan.build", "prepare.prepare"),
        *("publish.publish", "suggest.suggestion", "write.run"),
    )
)
_LEDGER = frozenset({"asyncio", "pydantic", "sqlalchemy"})
_PLAN = _LEDGER | {"duckdb", "numpy", "pyarrow", "yaml"}
_PLAN |= {f"incarts_pipeline.{name}" for name in ("mapping.mapping", "plan.build")}
_PLAN |= {"incarts_pipeline.prepare.prepare"}
_CALLS = _PLAN | {"aiohttp", "httpx", "tenacity"} | _OURS - {"incarts_pipeline.dagster.asset"}
_OPTIONS_OF_ALL = """
import click, typer
from incarts_pipeline.cli.app import app
root = typer.main.get_command(app)
for name in root.commands:
    assert root.resolve_command(click.Context(root), [name])[1].params is not None
"""
_TELLING = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("loaded: " + " ".join(sys.modules)))
"""
_RUN = "from incarts_pipeline.cli import main; main()"


def loaded_by(code: str, *arguments: str) -> frozenset[str]:
    """Return what a process of its own has loaded of the heavy packages once the code has run."""
    command = [sys.executable, "-c", _TELLING + code, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    _, told, names = ran.stderr.rpartition("loaded: ")
    assert (ran.returncode, told) == (0, "loaded: "), ran.stderr
    return (_HEAVY | _OURS).intersection(names.split())


def test_no_command_loads_anything_for_its_options() -> None:
    """Help, the version and completion wait for nothing that only the work needs."""
    assert loaded_by(_OPTIONS_OF_ALL) == set()


@pytest.mark.parametrize(
    ("may_load", "command"),
    [
        (_LEDGER, "status"),
        pytest.param(_LEDGER, "stop", marks=pytest.mark.slow),
        pytest.param(_LEDGER, "show sku=000001", marks=pytest.mark.slow),
        pytest.param(_LEDGER, "review list", marks=pytest.mark.slow),
        pytest.param(_LEDGER, "ledger check", marks=pytest.mark.slow),
        (_PLAN, "plan catalog.csv --unique-key sku --link-set test"),
        pytest.param(
            _CALLS - {"aiohttp"},  # all links are there
            "apply catalog.csv -o links.parquet --unique-key sku --link-set test",
            marks=pytest.mark.slow,
        ),
        pytest.param(_CALLS - {"tenacity"}, "doctor", marks=pytest.mark.slow),
    ],
    ids=lambda told: told.split(" -")[0] if isinstance(told, str) else "",
)
def test_what_a_command_loads(
    may_load: frozenset[str], command: str, catalog: str, shell: Shell
) -> None:
    """A command loads what it needs: none pandas, and only those that call Incarts aiohttp."""
    assert shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)[0] == 0
    assert loaded_by(_RUN, *command.split()) <= may_load


@pytest.mark.parametrize("command", ["status", "plan catalog.csv --unique-key sku --link-set test"])
def test_the_end_looks_for_no_garbage(command: str, catalog: str, shell: Shell) -> None:
    """What a command loaded goes with the process, and nobody tells of what was left of it."""
    assert shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)[0] == 0
    # What is registered first is called last.
    told = "import atexit, gc; atexit.register(lambda: print('kept', gc.get_freeze_count()));"
    process = [sys.executable, "-c", told + _RUN, *command.split()]
    ran = subprocess.run(process, capture_output=True, text=True)
    assert (ran.returncode, "leaked" in ran.stderr) == (0, False)
    assert int(ran.stdout.rpartition("kept ")[2]) > 50_000


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


@pytest.mark.slow
def test_nanoseconds_need_no_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is none is told by its row, though Python has no value for what is beside it."""
    monkeypatch.setenv("INCARTS_PROJECT_ID", "demo")
    moments = pa.array([1, 2], pa.timestamp("ns"))
    texts = pa.array([b"ok", b"\xff"]).view(pa.string())
    nested = pa.StructArray.from_arrays([moments, texts], names=["at", "text"])
    table = products(2).append_column("seen", nested)
    pq.write_table(table, "catalog.parquet")
    command = [sys.executable, "-c", _RUN, "plan", "catalog.parquet", *NO_MAPPING]
    told = subprocess.run(command, capture_output=True, text=True).stderr
    assert "Row 1 of catalog.parquet (the first is 0) has bytes in the column 'seen'" in told


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
