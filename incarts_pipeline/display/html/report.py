"""Report of a run: what was done and why, how fast, what Incarts said, what failed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.display import answer_remedies, remedies
from incarts_pipeline.display.html.chart import Series, latencies, milliseconds, over_time
from incarts_pipeline.display.html.failures import FAILED, failure_groups
from incarts_pipeline.display.html.html import Child, Element, el, page, said
from incarts_pipeline.display.html.nights import nights_section
from incarts_pipeline.display.html.parts import facts, note, number, table
from incarts_pipeline.display.html.plan_card import counts_table, needs, plan_facts, verdict
from incarts_pipeline.display.html.result_card import (
    endings,
    failure_table,
    run_facts,
    status_table,
)
from incarts_pipeline.ledger import Night
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.plan import PlanFigures
from incarts_pipeline.text import duration
from incarts_pipeline.write import Latencies, RunMetrics, Timeline

_QUANTILES = (
    ("half of them", 0.5),
    ("90 %", 0.9),
    ("95 %", 0.95),
    ("99 %", 0.99),
    ("99.9 %", 0.999),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a report is made from.

    `result` is None when the run ended by an error, which `error` then tells; `failed` has the
    columns of links.parquet, at least the rows that failed; `at` is when the report was made;
    `nights` are those of the link sets so far, this one included.
    """

    link_sets: tuple[str, ...]
    figures: PlanFigures
    metrics: RunMetrics
    at: dt.datetime
    result: RunResult | None = None
    failed: pa.Table | None = None
    error: str | None = None
    approved: str | None = None
    nights: Sequence[Night] = ()


def run_report(run: Reported) -> str:
    """Return a run's report as one self-contained page."""
    names = ", ".join(run.link_sets)
    content = el(
        "main",
        el("h1", "Run over ", said(names)),
        el("p", *_origin(run), class_="ic-muted"),
        *_outcome(run),
        el("h2", "What was planned, and why"),
        *_planned(run),
        *(nights_section(run.result, run.nights) if run.result else ()),
        *_over_time(run.metrics.timeline),
        *_latency(run.metrics.latencies),
        *_answers(run.metrics),
        *_failures(run),
        el("footer", "incarts_pipeline · this page loads nothing and runs no script"),
        class_="incarts ic-doc",
    )
    return page(f"Run over {names}", content)


def _origin(run: Reported) -> Iterator[Child]:
    yield f"{run.at:%Y-%m-%d %H:%M %Z} · plan "
    yield el("code", run.figures.digest)
    if run.result is not None:
        yield " · run "
        yield el("code", run.result.written.run_id)
        yield " → "
        yield said(run.result.published.output.links)


def _outcome(run: Reported) -> Iterator[Element]:
    # A run that failed is the one whose report is read.
    if run.error is not None:
        yield note("ic-bad", el("b", "The run ended by an error: "), said(run.error))
    if run.result is None:
        yield _so_far(run.metrics)
        return
    yield run_facts(run.result)
    yield from endings(run.result)
    yield status_table(run.result.published.counts)


def _so_far(metrics: RunMetrics) -> Element:
    return facts(
        ("calls planned", number(metrics.planned)),
        ("calls done", number(metrics.done)),
        ("requests", number(metrics.requests)),
    )


def _planned(run: Reported) -> Iterator[Element]:
    figures = run.figures
    yield plan_facts(figures)
    # Whoever reads this later must see that a guard was overruled.
    if figures.refusals and run.approved == figures.digest:
        yield note(
            "ic-warn",
            el("b", "Approved by its digest. "),
            *(said(refusal.message) for refusal in figures.refusals),
        )
    else:
        yield verdict(figures)
    yield counts_table(figures)
    yield from needs(figures)


def _over_time(timeline: Timeline) -> Iterator[Element]:
    slices, width = timeline.slices, timeline.width
    # A run that sent nothing has no time to show.
    if not slices:
        return
    throughput = [
        Series(
            name="links a second",
            tone="ic-good",
            shape="area",
            values=[one.links / width for one in slices],
        ),
        # Asked for beside got: the difference is Incarts' or the network's.
        Series(name="pace", tone="ic-calm", shape="line", values=[one.pace for one in slices]),
        Series(
            name="learned limit", tone="ic-info", shape="line", values=[s.limit for s in slices]
        ),
    ]
    # Apart from the throughput: a handful of 429s would be a flat line beside it.
    bad = [
        Series(
            name="429 answers", tone="ic-warn", shape="bars", values=[s.limited for s in slices]
        ),
        Series(
            name="other failures", tone="ic-bad", shape="bars", values=[s.failed for s in slices]
        ),
    ]
    # A limit that was never met has no line.
    shown = [one for one in throughput if any(value is not None for value in one.values)]
    yield el("h2", "Against time")
    yield el(
        "div",
        over_time("Throughput, in requests a second", width, shown, wide=True),
        *(
            over_time(f"{one.name} per {'second' if width == 1 else duration(width)}", width, [one])
            for one in bad
            if any(one.values)
        ),
        class_="ic-plots",
    )


def _latency(taken: Latencies) -> Iterator[Element]:
    if not taken.count:
        return
    # The tail is what a timeout has to allow for; a mean would hide it.
    rows = [[name, milliseconds(taken.quantile(share) or 0.0)] for name, share in _QUANTILES]
    rows.append(["all of them", milliseconds(taken.longest)])
    yield el("h2", "How long answers took")
    yield el(
        "div",
        latencies("Answers by latency", taken.spread()),
        table(("answers", "came within"), rows, label="Latency"),
        class_="ic-plots",
    )


def _answers(metrics: RunMetrics) -> Iterator[Element]:
    if not metrics.errors:
        return
    rows = ((said(what), number(n), *_meaning(what)) for what, n in metrics.errors.most_common(20))
    yield el("h2", "Answers without a link")
    yield table(("answer", "times", "meaning", "what to do"), rows, label="Answers without a link")


def _meaning(what: str) -> tuple[str, str]:
    # Errors are counted by HTTP status, or by our code where there was no answer.
    if what.isdecimal():
        fix = answer_remedies.of_status(int(what))
    else:
        fix = answer_remedies.CODES.get(what, remedies.Fix(meaning=""))
    return fix.meaning, fix.fix


def _failures(run: Reported) -> Iterator[Element]:
    groups = failure_groups(run.failed) if run.failed is not None else []
    if groups:
        yield el("h2", "Rows without what they asked for")
        yield failure_table(groups)
    elif run.result is not None and _is_clean(run.result):
        yield note("ic-good", el("b", "Every row has what it asked for."))


def _is_clean(result: RunResult) -> bool:
    counts = result.published.by_status
    return not any(counts[status] for status in FAILED)
