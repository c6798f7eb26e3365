"""Command line: the commands under their names; errors become one paragraph and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import click
import typer

from incarts_pipeline.cli import log_records, screen
from incarts_pipeline.cli.commands import Commands
from incarts_pipeline.cli.log_records import LogFormat
from incarts_pipeline.cli.run_answers import ErrorAnswer
from incarts_pipeline.errors import (
    IncartsError,
    MappingError,
    RefusedError,
    UntrustedHostError,
    told_in,
)
from incarts_pipeline.outgoing import keep_secret, shown_lines
from incarts_pipeline.text import Surface
from incarts_pipeline.write import less_garbage_collection

app = typer.Typer(
    name="incarts",
    cls=Commands,
    context_settings={"help_option_names": ["--help", "-h"]},
    suggest_commands=False,  # Click does it
    help="Turn product tables into Incarts links, each made exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables could show the API key
)


def _version(asked: bool) -> None:
    if asked:
        screen.say(f"incarts {version('incarts-pipeline')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[  # noqa: ARG001
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", help="Log records for people, or as one JSON object a line."),
    ] = LogFormat.TEXT,
) -> None:
    """Turn product tables into Incarts links, each made exactly once."""
    if log_format is not LogFormat.TEXT:
        log_records.start(log_format)


class _Imports:
    """Import hook of the shell: what is not loaded, and what is not looked through at the end.

    pyarrow imports pandas with the first array if it is there, and can do without: half a second
    for nothing, as no frame comes into the shell.

    Python looks through all that is loaded for garbage when it ends, which takes a quarter of a
    short command, though what is left goes with the process. DuckDB alone minds: its objects are
    looked through, lest it tells of them on standard error.
    """

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Raise ModuleNotFoundError for pandas, and leave everything else to other hooks."""
        if name == "pandas":
            raise ModuleNotFoundError("the shell does without pandas", name=name)
        if name == "duckdb":
            gc.freeze()

    @staticmethod
    def end() -> None:
        """Look through nothing more."""
        if "duckdb" not in sys.modules:
            gc.freeze()


def main() -> None:
    """Run the command line and exit with the documented code."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _Imports)
        atexit.register(_Imports.end)
    screen.prepare()
    log_records.start()
    keep_secret(os.environ.get("INCARTS_API_KEY", "").strip())  # hidden from here on
    try:
        with less_garbage_collection(), told_in(Surface.SHELL):
            code = _run()
        sys.exit(code)
    except IncartsError as error:
        _tell(error.message, error.fix)
        _exit(error, 2 if isinstance(error, MappingError) else 1)
    except KeyboardInterrupt:
        screen.say("stopped", err=True)
        sys.exit(4)
    except Exception:  # a fault of ours: Python would print it with all that its text says
        sys.stderr.write(shown_lines(traceback.format_exc()))
        sys.exit(1)


def _run() -> Any:
    """Run the command; return its exit code, None for 0."""
    try:
        # Not by itself, since it would print what was given as it stands.
        return _asking_for_hosts(lambda: app(standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help, whose text is ours
        return error.exit_code
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            screen.say_lines(error.ctx.get_usage(), err=True)
        _tell(error.format_message())
        _tell_as_json(error.format_message(), None, error.exit_code)
        return error.exit_code
    except click.Abort:
        screen.say("stopped", err=True)
        return 1


def _asking_for_hosts(command: Callable[[], Any]) -> Any:
    """Run a command; when it may not send the key to a host, ask, and run it again after a yes."""
    try:
        return command()
    except UntrustedHostError as error:  # before anything was sent
        from incarts_pipeline.cli import trust  # only here: it is rarely needed

        if not trust.agrees(error):
            raise
    return command()


def _tell(message: str, fix: str | None = None) -> None:
    from incarts_pipeline.settings import load_settings  # only here: it takes a while

    # The key may be in a file that the command has not come to, and be what it complains about.
    with suppress(IncartsError):
        load_settings()
    if log_records.are_json():
        log_records.tell(message, fix)
        return
    screen.say_lines(message, label=("error:", "bold red"), err=True)
    if fix is not None:
        screen.say(f"  {fix}", err=True)


def _exit(error: IncartsError, code: int) -> NoReturn:
    refused = error if isinstance(error, RefusedError) else None
    _tell_as_json(error.message, error.fix, code, refused)
    sys.exit(code)


def _tell_as_json(
    message: str, fix: str | None, code: int, refused: RefusedError | None = None
) -> None:
    """Tell a program that asked for JSON of an error, as one object on standard output."""
    if "--json" in sys.argv:
        screen.tell_json(
            ErrorAnswer(
                error=message,
                fix=fix,
                guard=refused.guard if refused else None,
                digest=refused.digest if refused else None,
                exit_code=code,
            )
        )
