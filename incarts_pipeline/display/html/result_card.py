"""Card of a run's result: rows by status, what failed and what to do, and the links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.display.html.failures import COLUMNS as FAILURE_COLUMNS, Group, failure_groups
from incarts_pipeline.display.html.html import Child, Element, el, fragment, said, short_link
from incarts_pipeline.display.html.parts import (
    badge,
    bar,
    facts,
    note,
    number,
    table,
    versioned,
    warned,
)
from incarts_pipeline.display.remedies import REASONS, came_to
from incarts_pipeline.display.summary import left_lines
from incarts_pipeline.ledger import Label
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.text import Surface, counted, duration, spelled

LINKS = 10  # a cell's worth; the frame has the others
COLUMNS = (*FAILURE_COLUMNS, "link_id", "short_link")  # of links.parquet, all that is shown
GROUPS = 8
_ORDER = list(Status)
_NONE: Mapping[str, Label] = {}


def result_card(
    rows: pa.Table, run: RunResult, labels: Mapping[str, Label] = _NONE, *, links: int = LINKS
) -> str:
    """Return a result as HTML: statuses, failures with their fix, the first links.

    Args:
        rows: a table with the columns of links.parquet.
        run: how the run came out.
        labels: what the links were called when they were sent, by link id.
        links: how many links to list.
    """
    return fragment(
        el(
            "section",
            el(
                "p",
                el("span", "Run ", el("code", run.written.run_id)),
                el("small", said(run.published.output.links)),
                class_="ic-title",
            ),
            run_facts(run),
            *endings(run),
            *(note("ic-calm", f"{line}.") for line in left_lines(run)),
            *versioned(run.figures.catalog_version),
            *warned(run.figures.warnings),
            status_table(run.published.counts),
            *_failures(rows),
            *_links(rows, labels, links),
            class_="incarts ic-card",
            aria_label="Result",
        )
    )


def run_facts(run: RunResult) -> Element:
    """Show a run's few large numbers."""
    counts, links = run.published.by_status, run.written.accepted
    rows = counts[Status.CREATED] + counts[Status.REPLACED]  # of which several may share a link
    return facts(
        ("links made", number(links)),
        *([("rows with a new link", number(rows))] if rows != links else []),
        ("catalog rows", number(sum(counts.values()))),
        ("requests", number(run.written.requests)),
        ("time", duration(run.seconds)),
    )


def endings(run: RunResult) -> Iterator[Element]:
    """Show why a run ended early, what Incarts forbade, and what could not be recorded."""
    written = run.written
    # Why it ended says more than that it was stopped, which follows from it.
    if written.end is not None:
        yield note(
            "ic-bad",
            el("b", "Ended early: "),
            said(written.end.message),
            " ",
            said(written.end.fix),
        )
    elif written.stopped is not None:
        reason = REASONS[written.stopped]
        yield note("ic-warn", el("b", f"Stopped: {reason.meaning}. "), reason.fix)
    for (retailer, intent), message in written.forbidden.items():
        yield note(
            "ic-bad",
            el("b", "403 for ", said(f"{retailer}/{intent}"), ": "),
            said(message or "not allowed"),
            " — the key lacks a scope or the project.",
        )
    # A full disk: these lines are then all that is known of links that exist.
    if written.unrecorded:
        yield note(
            "ic-bad",
            el("b", "Answered, but not recorded in the ledger. Keep these lines: "),
            *(el("p", said(one)) for one in written.unrecorded),
        )


def status_table(counts: Mapping[tuple[Status, Reason], int]) -> Element:
    """Show rows per status and reason as bars."""
    listed = sorted(counts.items(), key=lambda item: (_ORDER.index(item[0][0]), -item[1]))
    most = max(counts.values(), default=0)
    rows = (
        (badge(status), number(n), bar(n, most, status), came_to(status, reason))
        for (status, reason), n in listed
    )
    return table(("status", "rows", "", "why"), rows, label="Rows by status")


def failure_table(groups: Sequence[Group], surface: Surface = Surface.SHELL) -> Element:
    """Show failures by reason, each with a few rows and what to do in one way in's words."""
    rows = (
        (badge(g.status), number(g.rows), _meaning(g), said(spelled(g.fix, surface)))
        for g in groups
    )
    return table(
        ("status", "rows", "what failed (rows counted from 0)", "what to do"),
        rows,
        label="Failures",
    )


def _meaning(group: Group) -> Element:
    items = (
        el("li", f"row {at} · ", said(key or "no key"), *((" · ", said(text)) if text else ()))
        for at, key, text in group.examples
    )
    return el(
        "div",
        said(group.meaning),
        " ",
        el("code", group.what),
        el("ul", *items, class_="ic-examples"),
    )


def _failures(rows: pa.Table) -> Iterator[Element]:
    # One more than is shown, to know whether there are more.
    groups = failure_groups(rows, most=GROUPS + 1)
    if groups:
        yield failure_table(groups[:GROUPS], Surface.PYTHON)
    if len(groups) > GROUPS:
        yield el("p", "There are more kinds of failures: see ", el("code", ".failed"), ".")


def _links(rows: pa.Table, labels: Mapping[str, Label], most: int) -> Iterator[Element]:
    linked = rows.filter(pc.is_valid(rows["link_id"]))
    if not len(linked):
        return
    wanted = ["row_key", "status", "link_id", "short_link"]
    listed = linked.select(wanted).slice(0, most).to_pylist()
    # Names come from the ledger, which may not have them: imported links have none.
    named = any(row["link_id"] in labels for row in listed)
    heads = ("row", *(["name"] if named else []), "link", "status")
    yield table(heads, (_link_row(row, labels, named=named) for row in listed), label="Links")
    if len(linked) > most:
        yield el(
            "p", f"and {counted(len(linked) - most, 'more link', 'more links')}", class_="ic-muted"
        )


def _link_row(row: Mapping[str, Any], labels: Mapping[str, Label], *, named: bool) -> list[Child]:
    label = labels.get(row["link_id"])
    name = [said(label.name or "") if label else None] if named else []
    short = row["short_link"]
    shown = short_link(short) if short else el("code", row["link_id"])
    return [said(row["row_key"] or ""), *name, shown, badge(Status(row["status"]))]
