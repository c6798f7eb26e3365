"""Running a command: the question before something is sent, and the progress while it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from incarts_pipeline.cli import screen, show
from incarts_pipeline.display import calls_to_make
from incarts_pipeline.display.progress import progress
from incarts_pipeline.models import Action
from incarts_pipeline.plan import Plan, PlanFigures
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
) -> None:
    """Show a plan that no guard stops; in a terminal, ask whether to carry it out.

    Without a terminal, or when standard input is the catalog (`piped`), nobody could answer.
    """
    figures = made.figures
    if not quiet:
        show.plan_tables(made, what, approved=True, err=True)
    answers = sys.stdin.isatty() and not piped
    told = " and ".join(_to_do(figures, what))
    if told and answers and not yes:
        screen.confirm(f"{told[0].upper()}{told[1:]}?", otherwise="Nothing was sent.")


def _to_do(figures: PlanFigures, what: str) -> list[str]:
    """Return what a run would do at Incarts, or with links that exist."""
    moves = figures.rows_by_action()[Action.REKEY]
    return [
        *([f"settle {counted(figures.doubts, what)} in doubt"] if figures.doubts else []),
        *([f"make {calls_to_make(figures, what)}"] if figures.to_make else []),
        *([f"move {counted(moves, what)} to new keys"] if moves else []),
    ]


def run(work: Callable[[RunMetrics, Stop], Coroutine[Any, Any, T]], what: str = "links") -> T:
    """Do what calls Incarts and return what came of it; Ctrl-C stops it cleanly."""
    metrics = RunMetrics()
    with progress(metrics, what):
        return run_blocking(lambda stop: work(metrics, stop))
