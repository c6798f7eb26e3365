"""Help: what each command says of its arguments, an example that is right, and its exit codes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest
import typer

from incarts_pipeline.cli.app import app
from incarts_pipeline.cli.epilogs import EPILOGS
from incarts_pipeline.sandbox import SandboxConfig
from tests.support.pages import rows_of, section
from tests.support.shell import Shell, commands_of


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Yield each command that does something, with its full name."""
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group)
    for name, command in commands_of(root).items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", one) for below, one in command.commands.items())
        else:
            yield name, command


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_argument_is_explained(name: str) -> None:
    """Every argument and option says what it is, in ASCII, which any terminal can frame."""
    command = COMMANDS[name]
    texts = {one.name: getattr(one, "help", None) or "" for one in command.params}
    assert [name for name, text in texts.items() if not text.endswith((".", "…"))] == []
    assert all(text.isascii() for text in texts.values())
    assert (command.help or "").isascii()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_is_one(name: str) -> None:
    """The example is taken by the command's own parser, and fits into 56 columns."""
    epilog = EPILOGS[name]
    assert COMMANDS[name].epilog == str(epilog)
    program, *words = shlex.split(epilog.example)
    own = name.split()
    assert (program, words[: len(own)]) == ("incarts", own)
    COMMANDS[name].make_context(name, words[len(own) :])
    assert max(map(len, str(epilog).splitlines())) <= 58
    assert str(epilog).isascii()


def test_no_epilog_is_left_over() -> None:
    """Each epilog belongs to a command."""
    assert EPILOGS.keys() == COMMANDS.keys()


def test_exit_codes_are_those_of_the_docs() -> None:
    """No command has another exit code than the page tells; each of those is some command's."""
    told = {
        int(cells[0].strip("` ")) for cells in rows_of(section("troubleshooting.md", "Exit codes"))
    }
    assert {code for one in EPILOGS.values() for code in one.exits} == told


def test_the_help_shows_example_and_exit_codes(shell: Shell) -> None:
    """They stand below the options, one code a line, for `-h` as for `--help`."""
    for option in ("-h", "--help"):
        code, out, _ = shell("review", "list", option)
        said = [line.strip() for line in out.splitlines()]
        assert code == 0
        assert said[said.index("Example:") + 1] == "incarts review list"
        assert said[said.index("Exit codes:") + 1] == "0  nothing needs a person"


def test_the_switches_of_the_sandbox(shell: Shell) -> None:
    """`--config list` has every switch, its default and what it means; a typo is answered."""
    code, out, _ = shell("sandbox", "--config", "list")
    assert code == 0
    for name in SandboxConfig.model_fields:
        [line] = [line for line in out.splitlines() if f" {name} " in line.split("│")[:2][-1]]
        assert len(line.split("│")[3].strip()) > 10
    assert '"retry_after"' in out
    code, _, err = shell("sandbox", "--config", '{"latencyy": 1}')
    assert (code, err.count("Did you mean"), 'Did you mean "latency"?' in err) == (2, 1, True)
    assert shell("sandbox", "--limit", "lots")[0] == 2
    assert shell("sandbox", "--config", "[")[0] == 2


@pytest.mark.parametrize(
    "typed", [("stauts",), ("plan", "a.csv", "--mappin", "m"), ("review", "lst")]
)
def test_a_slip_is_answered_once(typed: tuple[str, ...], shell: Shell) -> None:
    """A command, option or command of a command that is misspelt is told the nearest, once."""
    code, _, err = shell(*typed)
    assert (code, err.lower().count("did you mean")) == (2, 1)
