"""Progress of a run: live in a terminal or a notebook, fed from its metrics; else log lines."""

from __future__ import annotations

import contextvars
import html
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from incarts_pipeline.display.time_left import TimeLeft
from incarts_pipeline.outgoing import shown
from incarts_pipeline.rate_limit import LimitKind
from incarts_pipeline.write import RunMetrics

_TERMINAL_SECONDS = 0.2  # smooth to the eye
_NOTEBOOK_SECONDS = 0.5  # each update is a message to the browser
_LOG_SECONDS = 30.0  # enough to see that it is alive, little enough for a night's log
_SMOOTH_SECONDS = 5.0  # over which the rate is smoothed
_LONG_SECONDS = 60.0  # and over which the time left counts on it
_SHOWN_ERRORS = 3

Draw = Callable[["Glance"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A run at one moment. `rate` is in links a second, `left` in seconds, None when unknown.

    `why` says why there is more left than at an earlier moment.
    """

    done: int
    planned: int
    rate: float
    left: float | None
    limit: str = ""
    errors: str = ""
    waiting: str = ""
    why: str = ""

    @property
    def note(self) -> str:
        """The text behind the bar: rate, learned limit, errors by kind, why nothing goes out."""
        parts = (
            f"{self.rate:,.0f}/s",
            f"limit {self.limit}" if self.limit else "",
            self.errors,
            self.waiting,
            self._left(),
        )
        return "  ".join(part for part in parts if part)

    def _left(self) -> str:
        if self.left is None:
            return ""
        return f"{_clock(self.left)} left" + (f" ({self.why})" if self.why else "")


class Watch:
    """Looks at metrics now and then; times are in seconds of any one clock."""

    def __init__(self, metrics: RunMetrics, began: float) -> None:
        self._metrics = metrics
        self._began = began
        self._last = began
        self._done = 0
        self._rate = self._long_rate = 0.0
        self._left = TimeLeft()

    def look(self, now: float) -> Glance:
        """Return the run at this moment; the rate is smoothed over the looks."""
        metrics, done = self._metrics, self._metrics.done
        self._measure(now, done)
        self._look_ahead(now, max(metrics.planned - done, 0))
        errors = metrics.errors.most_common(_SHOWN_ERRORS)
        return Glance(
            done=done,
            planned=metrics.planned,
            rate=self._rate,
            left=self._left.seconds,
            why=shown(self._left.why),
            limit=str(metrics.limit) if metrics.limit else "",
            errors=shown(", ".join(f"{n:,}× {what}" for what, n in errors)),
            waiting=shown(metrics.waiting),
        )

    def _measure(self, now: float, done: int) -> None:
        current = (done - self._done) / max(now - self._last, 1e-9)
        # The first look has no history to be smoothed with.
        first, since = self._last == self._began, now - self._last
        self._rate = current if first else _smoothed(self._rate, current, since, _SMOOTH_SECONDS)
        # While the run waits, the pace at which it will go on is what it was.
        if first or not self._metrics.waiting:
            long = _smoothed(self._long_rate, current, since, _LONG_SECONDS)
            self._long_rate = current if first else long
        self._last, self._done = now, done

    def _look_ahead(self, now: float, remaining: int) -> None:
        metrics, limit = self._metrics, self._metrics.limit
        is_met = limit is not None and limit.kind is not LimitKind.OPEN
        pace = min(self._long_rate, limit.rate) if limit and is_met else self._long_rate
        window = (limit.window or 0.0) if limit and is_met else 0.0
        self._left.look(
            now,
            remaining=remaining,
            pace=pace,
            window=window,
            facts={
                "more to do": metrics.planned,
                f"limit {limit}": str(limit) if is_met else None,
                "after errors": metrics.errors.total(),
            },
            waiting=bool(metrics.waiting) and not window,  # which the pace takes into account
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


def _smoothed(before: float, current: float, since: float, over: float) -> float:
    share = math.exp(-since / over)
    return share * before + (1 - share) * current


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
