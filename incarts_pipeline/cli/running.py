"""Running a command: the question before something is sent, and the progress while it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from incarts_pipeline.cli import screen, show
from incarts_pipeline.display.progress import progress
from incarts_pipeline.models import Action
from incarts_pipeline.plan import Plan
from incarts_pipeline.sync import Stop, run_blocking
from incarts_pipeline.text import counted
from incarts_pipeline.write import RunMetrics

T = TypeVar("T")


def ask(
    made: Plan,
    what: str = "link",
    *,
    yes: bool,
    quiet: bool,
    piped: bool,
    limit: int | None = None,
) -> None:
    """Show a plan that no guard stops; in a terminal, ask whether to carry it out.

    Without a terminal, or when standard input is the catalog (`piped`), nobody could answer.
    """
    figures, moves = made.figures, made.figures.rows_by_action()[Action.REKEY]
    calls = figures.calls if limit is None else min(figures.calls, limit)
    if not quiet:
        show.plan_tables(made, what, approved=True, err=True)
    answers = sys.stdin.isatty() and not piped
    if yes or not answers or not (calls or figures.doubts or moves):
        return
    question = [f"make {counted(calls, what)}"] if calls or not moves else []
    question += [f"move {counted(moves, what)} to new keys"] if moves else []
    told = " and ".join(question)
    screen.confirm(f"{told[0].upper()}{told[1:]}?", otherwise="Nothing was sent.")


def run(work: Callable[[RunMetrics, Stop], Coroutine[Any, Any, T]], what: str = "links") -> T:
    """Do what calls Incarts and return what came of it; Ctrl-C stops it cleanly."""
    metrics = RunMetrics()
    with progress(metrics, what):
        return run_blocking(lambda stop: work(metrics, stop))
