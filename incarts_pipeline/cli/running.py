"""Running a command: the question before something is sent, and the progress while it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import typer
from rich.console import Console

from incarts_pipeline.cli import show
from incarts_pipeline.display.progress import progress
from incarts_pipeline.plan import Plan
from incarts_pipeline.sync import Stop, run_blocking
from incarts_pipeline.text import counted
from incarts_pipeline.write import RunMetrics

T = TypeVar("T")


def ask(made: Plan, what: str = "link", *, yes: bool, quiet: bool, piped: bool) -> None:
    """Show a plan that no guard stops; in a terminal, ask whether to carry it out.

    Without a terminal, or when standard input is the catalog (`piped`), nobody could answer.
    """
    if not quiet:
        show.plan_tables(Console(stderr=True), made, what, approved=True)
    answers = sys.stdin.isatty() and not piped
    if yes or not answers or not (made.figures.calls or made.figures.doubts):
        return
    confirm(f"Make {counted(made.figures.calls, what)}?", otherwise="Nothing was sent.")


def confirm(question: str, *, otherwise: str) -> None:
    """Ask on standard error; a no, or Ctrl-C, says what has not been done and ends with exit 1."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # the cursor stands behind the question
        agreed = False
    if not agreed:
        typer.echo(otherwise, err=True)
        raise typer.Exit(1)


def run(work: Callable[[RunMetrics, Stop], Coroutine[Any, Any, T]], what: str = "links") -> T:
    """Do what calls Incarts and return what came of it; Ctrl-C stops it cleanly."""
    metrics = RunMetrics()
    with progress(metrics, what):
        return run_blocking(lambda stop: work(metrics, stop))
