"""The run report: one page with what was done and why, against time, and what failed."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given, settings, strategies as st

from incarts_pipeline.display import Reported, run_report
from incarts_pipeline.display.html.chart import Series, clock, over_time, round_ticks
from incarts_pipeline.display.html.html import render
from incarts_pipeline.models import Answer, AnswerKind, Reason, State, Status
from incarts_pipeline.write.metrics import RunMetrics
from tests.support.displayed import AT, World, limited_run, links, result
from tests.support.parsed_html import TEXTS, Seen, parsed


@pytest.fixture(scope="module")
def limited() -> RunMetrics:
    """What was counted in a run against an unknown limit of 30 a second."""
    return limited_run()


def report(made: World, metrics: RunMetrics, **changes: object) -> Seen:
    """Return the report of the world's run."""
    fields = {
        "link_sets": ("summer-campaign",),
        "figures": made.plan.figures,
        "metrics": metrics,
        "at": AT,
        "result": made.result,
        "failed": made.table,
    }
    return parsed(run_report(Reported(**(fields | changes))))  # type: ignore[arg-type]


def test_report_reads_in_order(made: World, limited: RunMetrics) -> None:
    """From how it came out, over why and how fast, to what to do about what failed."""
    text = report(made, limited, approved=made.plan.figures.digest).text
    parts = [
        "Run over summer-campaign",
        "2026-05-04 09:30 UTC",
        "links made9",
        "Stopped: out of the time given.",
        "created9",
        "What was planned, and why",
        "Approved by its digest.",
        "replace27",
        "Against time",
        "Throughput, in requests a second",
        "learned limit",
        "429 answers per second",
        "How long answers took",
        "half of them",
        "Answers without a link",
        "rate limited",
        "Rows without what they asked for",
        "quantity must be at most 1",
        "Correct what the message names",
    ]
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)


def test_report_without_result_says_why(made: World) -> None:
    """A run that ended by an error still has its plan, what was sent, and the error."""
    metrics = RunMetrics(planned=5, requests=2)
    text = report(made, metrics, result=None, failed=None, error="No room on the disk.").text
    assert "The run ended by an error: No room on the disk." in text
    assert "calls planned5" in text
    assert "Refused: nothing is sent." in text
    assert "Against time" not in text


def test_clean_run_says_so(made: World) -> None:
    """Where every row has its link, that is what stands at the end."""
    fine = result("x", {(Status.CREATED, Reason.NEW): 3})
    text = report(made, RunMetrics(), result=fine, failed=links([])).text
    assert "Every row has what it asked for." in text


def test_rows_that_share_a_link_are_not_counted_as_links(made: World) -> None:
    """Three rows that one link was made for are one link, and three rows."""
    shared = result("x", {(Status.CREATED, Reason.NEW): 3})
    text = report(made, RunMetrics(), result=shared, failed=links([])).text
    assert "links made1rows with a new link3" in text


@settings(max_examples=30)
@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_report_escapes_everything(made: World, said: str, codes: list[str]) -> None:
    """Paths, errors and codes of answers are text."""
    metrics = RunMetrics()
    for code in codes:
        answer = Answer(kind=AnswerKind.UNKNOWN, correlation_id="x", error_code=code)
        metrics.answered(answer, State.IN_DOUBT, latency=0.1, now=1.0)
    came = result(said, {(Status.IN_DOUBT, Reason.ANSWER_UNKNOWN): 1})
    seen = report(made, metrics, result=came, failed=None, error=said, link_sets=(said,))
    assert seen.has(said)
    assert all(seen.has(code) for code in codes)


@given(st.floats(1e-12, 1e9), st.booleans())
@example(1e-9, True)
def test_ticks_are_few_round_and_reach_the_top(tallest: float, whole: bool) -> None:
    """At most seven steps of 1, 2 or 5 times a power of ten, from 0 past the highest value."""
    ticks = round_ticks(tallest, whole=whole)
    step = ticks[1] - ticks[0]
    assert ticks[0] == 0
    assert ticks[-1] > 0
    assert ticks[-1] >= tallest * (1 - 1e-9)
    assert len(ticks) <= 7
    assert f"{step:.3e}"[0] in "125"
    assert not whole or step >= 1


@settings(max_examples=50)
@given(
    st.lists(st.none() | st.floats(0, 1e6), max_size=40),
    st.sampled_from(["area", "line", "bars"]),
    st.sampled_from([1.0, 4.0, 4096.0]),
)
def test_charts_stay_within_their_frame(
    values: list[float | None], shape: str, width: float
) -> None:
    """Whatever is drawn, no coordinate is outside, and gaps are no trouble."""
    drawn = over_time("t", width, [Series(name="n", tone="ic-good", shape=shape, values=values)])
    for _, name, value in parsed(render(drawn)).attributes:
        if name in ("x", "y", "x1", "x2", "y1", "y2", "width", "height"):
            assert -0.01 <= float(value) <= 470


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (30, "30 s"), (90, "1:30 min"), (120, "2 min"), (3600, "1 h"), (5400, "1 h 30")],
)
def test_times_on_an_axis(seconds: float, said: str) -> None:
    """They read like a clock."""
    assert clock(seconds) == said


def test_table_of_nothing_is_no_trouble(made: World) -> None:
    """A report over an empty catalog is a page like any other."""
    empty = pa.Table.from_pylist([], schema=made.table.schema)
    assert "summer-campaign" in report(made, RunMetrics(), failed=empty).text
