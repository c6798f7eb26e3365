"""Live progress: what it says, where it shows, and where it is silent."""

from __future__ import annotations

import io
import math
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from incarts_pipeline.display import progress
from incarts_pipeline.display.progress import Watch
from incarts_pipeline.models import Answer, AnswerKind, State
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.write.metrics import RunMetrics


def busy_metrics() -> RunMetrics:
    """Return the metrics of a run that met errors and waits."""
    metrics = RunMetrics(planned=100, waiting="the limit's window is used up")
    for status in (429, 429, 503):
        answer = Answer(kind=AnswerKind.RATE_LIMITED, correlation_id="c", status=status)
        metrics.answered(answer, State.INTENDED, latency=0.1, now=1.0)
    metrics.states[State.DONE] = 20
    return metrics


def test_a_glance_says_all_that_matters() -> None:
    """Rate, errors by kind, why nothing goes out and the time left are there, and smoothed."""
    metrics = busy_metrics()
    watch = Watch(metrics, 0.0)
    first = watch.look(2.0)
    assert (first.done, first.planned, first.rate, first.left) == (20, 100, 10.0, 8.0)
    assert first.note == "10/s  2× 429, 1× 503  the limit's window is used up  0:08 left"
    metrics.states[State.DONE] = 20 + 30
    share = math.exp(-1 / 5)
    assert watch.look(3.0).rate == pytest.approx(share * 10 + (1 - share) * 30)
    metrics.states[State.DONE] = 100
    assert watch.look(4.0).left is None
    assert watch.over(10.0).note == "10/s  2× 429, 1× 503"


def test_nothing_known_yet() -> None:
    """Before the first answer there is no time left to tell, and nothing to divide by."""
    glance = Watch(RunMetrics(planned=5), 1.0).look(1.0)
    assert (glance.note, glance.left) == ("0/s", None)


def test_the_learned_limit_is_told() -> None:
    """What was learned of the limit stands behind the rate."""
    metrics = RunMetrics(planned=9, limit=Learned(kind=LimitKind.BUCKET, rate=10.0))
    assert "limit about 10 requests a second" in Watch(metrics, 0.0).look(1.0).note


def test_a_log_gets_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can watch, a line comes now and then: what is done, and what is waited for."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.01)
    with progress.progress(busy_metrics()):
        time.sleep(0.1)
    out, err = capsys.readouterr()
    first = err.splitlines()[0]
    assert out == ""
    assert first.startswith("links 20/100  ")
    assert "2× 429, 1× 503  the limit's window is used up" in first


def test_a_short_run_is_silent_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets nothing of a run that is over at once."""
    with progress.progress(busy_metrics()):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a bar with the note behind it; brackets in a code are no markup."""
    screen = io.StringIO()
    on_screen = Console(file=screen, force_terminal=True, width=160)
    monkeypatch.setattr(progress, "Console", lambda **_: on_screen)
    metrics = busy_metrics()
    metrics.errors["[/bold]"] = 9
    with progress.progress(metrics):
        pass
    assert "20/100" in screen.getvalue()
    assert "9× [/bold]" in screen.getvalue()


def test_a_notebook_is_told_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython in a terminal is no notebook; a shell with a kernel is one."""
    for shell, expected in (
        (None, False),
        (SimpleNamespace(), False),
        (SimpleNamespace(kernel=object()), True),
    ):
        ipython = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert progress.in_notebook() is expected


def test_html_is_escaped() -> None:
    """What comes from the API can't become part of the page."""
    metrics = busy_metrics()
    metrics.errors["<script>"] = 9
    bundle = progress._bundle(Watch(metrics, 0.0).look(1.0))
    assert "<script>" not in bundle["text/html"]
    assert "9× &lt;script&gt;" in bundle["text/html"]
    assert "9× <script>" in bundle["text/plain"]
