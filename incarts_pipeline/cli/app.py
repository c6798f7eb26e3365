"""Command line: the commands under their names; errors become one paragraph and an exit code."""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from incarts_pipeline.cli import check, flow, init, inspect, ledger, local, qr, review, verify
from incarts_pipeline.errors import IncartsError, MappingError, RefusedError, told_in
from incarts_pipeline.text import Surface

app = typer.Typer(
    name="incarts",
    help="Turn product tables into Incarts links, each made exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables could show the API key
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"incarts {version('incarts-pipeline')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    """Turn product tables into Incarts links, each made exactly once."""


app.command("init")(init.init)
app.command("plan")(flow.plan)
app.command("apply")(flow.apply)
app.command("rekey")(flow.rekey)
app.command("import")(review.import_)
app.command("status")(inspect.status)
app.command("stop")(inspect.stop)
app.command("doctor")(inspect.doctor)
app.command("show")(review.show)
app.command("qr")(qr.qr)
app.command("verify")(verify.verify)
app.command("check")(check.check)
app.add_typer(review.app, name="review")
app.add_typer(ledger.app, name="ledger")
app.command("sandbox")(local.sandbox)


def main() -> None:
    """Run the command line and exit with the documented code."""
    errors = Console(stderr=True)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=errors, show_path=False, show_time=False)],
    )
    try:
        with told_in(Surface.SHELL):
            app()
    except IncartsError as error:
        told = error.message if error.fix is None else f"{error.message}\n  {error.fix}"
        errors.print(f"[bold red]error:[/] {_escape(told)}", highlight=False, soft_wrap=True)
        _exit(error, 2 if isinstance(error, MappingError) else 1)
    except KeyboardInterrupt:
        errors.print("stopped")
        sys.exit(4)


def _exit(error: IncartsError, code: int) -> NoReturn:
    """Exit; a program that asked for JSON gets the error as one object on standard output."""
    if "--json" in sys.argv:
        refused = error if isinstance(error, RefusedError) else None
        told = {
            "error": error.message,
            "fix": error.fix,
            "guard": refused.guard if refused else None,
            "digest": refused.digest if refused else None,
            "exit_code": code,
        }
        typer.echo(json.dumps(told))
    sys.exit(code)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
