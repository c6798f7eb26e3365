"""A progress bar on standard error, fed from the run's tally; silent without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from incarts_pipeline.tally import Tally

_REFRESH_SECONDS = 0.2


@contextmanager
def progress(tally: Tally) -> Iterator[None]:
    """Show how a run gets on while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    bar = Progress(
        TextColumn("links"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    over = threading.Event()
    thread = threading.Thread(target=_feed, args=(bar, tally, over), daemon=True)
    with bar:
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _feed(bar: Progress, tally: Tally, over: threading.Event) -> None:
    task = bar.add_task("links", total=None, note="")
    began, last_done, rate = time.monotonic(), 0, 0.0
    last = began
    while not over.wait(_REFRESH_SECONDS):
        now = time.monotonic()
        now_rate = (tally.done - last_done) / (now - last)
        rate = now_rate if last == began else 0.8 * rate + 0.2 * now_rate
        last, last_done = now, tally.done
        errors = ", ".join(f"{n}× {what}" for what, n in tally.errors.most_common(3))
        limit = f"limit {tally.limit}" if tally.limit else ""
        note = "  ".join(part for part in (f"{rate:,.0f}/s", limit, errors, tally.waiting) if part)
        bar.update(task, completed=tally.done, total=tally.planned or None, note=note)
