"""Progress of a run: live in a terminal or a notebook, fed from its metrics; else log lines."""

from __future__ import annotations

import contextvars
import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from incarts_pipeline.outgoing import shown
from incarts_pipeline.write import RunMetrics

_TERMINAL_SECONDS = 0.2  # smooth to the eye
_NOTEBOOK_SECONDS = 0.5  # each update is a message to the browser
_LOG_SECONDS = 30.0  # enough to see that it is alive, little enough for a night's log
_SMOOTHING = 0.8  # share of the rate that stays from one look to the next
_SHOWN_ERRORS = 3

Draw = Callable[["Glance"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A run at one moment. `rate` is in links a second, `left` in seconds, None when unknown."""

    done: int
    planned: int
    rate: float
    left: float | None
    limit: str = ""
    errors: str = ""
    waiting: str = ""

    @property
    def note(self) -> str:
        """The text behind the bar: rate, learned limit, errors by kind, why nothing goes out."""
        parts = (
            f"{self.rate:,.0f}/s",
            f"limit {self.limit}" if self.limit else "",
            self.errors,
            self.waiting,
            f"{_clock(self.left)} left" if self.left is not None else "",
        )
        return "  ".join(part for part in parts if part)


class Watch:
    """Looks at metrics now and then; times are in seconds of any one clock."""

    def __init__(self, metrics: RunMetrics, began: float) -> None:
        self._metrics = metrics
        self._began = began
        self._last = began
        self._done = 0
        self._rate = 0.0

    def look(self, now: float) -> Glance:
        """Return the run at this moment; the rate is smoothed over the looks."""
        metrics, done = self._metrics, self._metrics.done
        current = (done - self._done) / max(now - self._last, 1e-9)
        # The first look has no history to be smoothed with.
        first = self._last == self._began
        self._rate = current if first else _SMOOTHING * self._rate + (1 - _SMOOTHING) * current
        self._last, self._done = now, done
        remaining = max(metrics.planned - done, 0)
        errors = metrics.errors.most_common(_SHOWN_ERRORS)
        return Glance(
            done=done,
            planned=metrics.planned,
            rate=self._rate,
            left=remaining / self._rate if self._rate > 0 and remaining else None,
            limit=str(metrics.limit) if metrics.limit else "",
            errors=shown(", ".join(f"{n:,}× {what}" for what, n in errors)),
            waiting=shown(metrics.waiting),
        )

    def over(self, now: float) -> Glance:
        """Return how the run ended: its mean rate, and nothing that is left."""
        done = self._metrics.done
        last = self.look(now)
        return Glance(
            done=done,
            planned=last.planned,
            rate=done / max(now - self._began, 1e-9),
            left=None,
            limit=last.limit,
            errors=last.errors,
        )


@contextmanager
def progress(metrics: RunMetrics, what: str = "links") -> Iterator[None]:
    """Show how a run gets on while the block runs; a line every 30 s where nobody can watch it.

    `what` says in one or two words what is counted.

    Args:
        metrics: of the run; read while it goes on.
        what: what is counted, in one or two words.
    """
    # First: a kernel's standard error is no terminal, but somebody is watching.
    if in_notebook():
        with _fed(metrics, _notebook(what), _NOTEBOOK_SECONDS):
            yield
        return
    # Standard output belongs to what was asked for, which may be piped.
    console = Console(stderr=True)
    if not console.is_terminal:
        with _fed(metrics, _log(what), _LOG_SECONDS, end=False):
            yield
        return
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        # The lines that follow say it all in words.
        transient=True,
    )
    with bar, _fed(metrics, _terminal(bar), _TERMINAL_SECONDS):
        yield


def in_notebook() -> bool:
    """Say whether this code runs in a Jupyter kernel, as it does in JupyterLab, VS Code, Colab."""
    # Not imported for the question: who has no notebook doesn't pay for one.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


@contextmanager
def _fed(metrics: RunMetrics, draw: Draw, seconds: float, *, end: bool = True) -> Iterator[None]:
    """Draw every so many seconds in a thread, and with `end` how it ended at the end."""
    # A thread, because the loop of the caller may be busy or blocked, and drawing must not wait.
    watch, over = Watch(metrics, time.monotonic()), threading.Event()

    def feed() -> None:
        while not over.wait(seconds):
            draw(watch.look(time.monotonic()))

    # The kernel finds the cell that it draws for in the context.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(feed,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if end:
            draw(watch.over(time.monotonic()))


def _log(what: str) -> Draw:
    """Write a plain line, for a log that nobody may be watching now."""

    def draw(glance: Glance) -> None:
        line = f"{what} {glance.done:,}/{glance.planned:,}  {glance.note}\n"
        sys.stderr.write(line)
        sys.stderr.flush()

    return draw


def _terminal(bar: Progress) -> Draw:
    # No total until the plan's calls are counted; rich shows a moving bar then.
    task = bar.add_task("links", total=None, note="")

    def draw(glance: Glance) -> None:
        bar.update(task, completed=glance.done, total=glance.planned or None, note=glance.note)

    return draw


def _notebook(what: str) -> Draw:
    """Draw into the cell's output; rich would need ipywidgets for that."""
    from IPython.display import display

    shown: Any = display(_bundle(None, what), raw=True, display_id=True)
    return lambda glance: shown.update(_bundle(glance, what), raw=True)


def _bundle(glance: Glance | None, what: str = "links") -> dict[str, str]:
    """Return a glance as HTML and as text, for a notebook that shows the one or the other."""
    if glance is None:
        return {"text/plain": f"{what}: starting", "text/html": f"<div>{what}: starting</div>"}
    count = f"{glance.done:,}/{glance.planned:,}"
    note = glance.note
    bar = f'<progress value="{glance.done}" max="{max(glance.planned, glance.done, 1)}"></progress>'
    return {
        "text/plain": f"{what} {count}  {note}",
        "text/html": f"<div>{what} {bar} {count} &ensp;{html.escape(note)}</div>",
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
