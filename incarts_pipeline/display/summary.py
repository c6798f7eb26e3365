"""Summaries of a plan and a run in words: the shell and Python print the same lines."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from incarts_pipeline.display.answer_remedies import of_forbidden
from incarts_pipeline.display.remedies import REASONS
from incarts_pipeline.models import SUSPICIONS, Action, Reason, Severity, Status
from incarts_pipeline.plan import figure_queries
from incarts_pipeline.text import counted, duration

if TYPE_CHECKING:
    from incarts_pipeline.pipeline import RunResult
    from incarts_pipeline.plan import Plan, PlanFigures

COUNTED_FROM_0 = "Rows are counted from 0; row 0 is the first below a header."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemGroup:
    """Rows with one problem in one field, with the first of them (its row, key and message).

    They break a rule, or are held as suspicious. The message names the fix.
    """

    severity: Severity
    field: str
    code: str
    rows: int
    row: int
    key: str | None
    message: str

    def __str__(self) -> str:
        row = f"row {self.row} ({self.key})" if self.key else f"row {self.row}"
        what = " (suspicious)" if self.severity is Severity.SUSPICION else ""
        return f"{self.rows:>6,}  {self.field}: {self.code}{what}, e.g. {row}: {self.message}"


def problem_groups(made: Plan, most: int = 20) -> list[ProblemGroup]:
    """Group the rows that break a rule, or are suspicious, as the report of a run does.

    Args:
        made: a plan whose workspace is open.
        most: groups returned, broken rules before suspicions, the largest first.
    """
    # Grouping reads all requests, so it is asked first whether there is anything to group.
    if not {count.reason for count in made.figures.counts} & {Reason.INVALID, *SUSPICIONS}:
        return []
    query = figure_queries.PROBLEMS.format(row=made.kind.row_number)
    asked = {"suspicions": [code.value for code in SUSPICIONS], "most": most}
    names = ("field", "code", "rows", "row", "key", "message")
    return [
        ProblemGroup(severity=Severity(severity), **dict(zip(names, one, strict=True)))
        for severity, *one in made.workspace.db.execute(query, asked).fetchall()
    ]


def figures_lines(figures: PlanFigures, what: str = "link") -> list[str]:
    """Return a plan's numbers as lines; `what` it makes."""
    lines = [_to_make(figures, what), *nights_lines(figures)]
    if figures.catalog_version is not None:
        lines.append(f"the catalog is {figures.catalog_version}")
    if figures.enqueued:
        lines.append(f"{figures.enqueued:,} of them are enqueued already, for `incarts work`")
    if figures.doubts:
        lines.append(f"{figures.doubts:,} in doubt to settle first, under their own keys")
    for name, n in figures.missing.items():
        links = counted(n, f"link of {name} has", f"links of {name} have")
        lines.append(f"{links} no row in the catalog (kept)")
    if figures.scopes:
        needed = ", ".join(f"{scope} ({n:,})" for scope, n in figures.scopes.items())
        lines.append(f"scopes needed: {needed}")
    return lines


def nights_lines(figures: PlanFigures) -> list[str]:
    """Return in how many nights all is made if each makes as many; nothing where one is enough.

    A limit may be a night's budget as well as a pilot's: which of them it is, nobody said.
    """
    if figures.nights is None or figures.nights <= 1:
        return []
    last = last_night(figures.nights)
    when = f", the last on {last:%Y-%m-%d}" if last else ""
    return [
        f"one such run a night makes all in {figures.nights:,} nights{when}; a run that nothing "
        "holds makes all of them"
    ]


def left_lines(run: RunResult) -> list[str]:
    """Return how many links a run left to later ones, and how many nights these will be."""
    if not run.written.remaining:
        return []
    told = f"{counted(run.written.remaining, run.kind.noun)} left to make"
    nights = run.nights_left
    if nights is None:
        return [told]
    last = last_night(nights + 1)
    when = f", the last on {last:%Y-%m-%d}" if last else ""
    return [
        f"{told}: {counted(nights, 'more night')} of {run.figures.to_make:,}{when}, or a run that "
        "nothing holds"
    ]


def last_night(nights: int) -> dt.date | None:
    """Return the day of the last of so many nights from today on; None beyond the calendar."""
    try:
        return dt.datetime.now().astimezone().date() + dt.timedelta(days=nights - 1)
    except OverflowError:
        return None


def changed_lines(figures: PlanFigures) -> list[str]:
    """Return what changes in rows that have a link: in which patterns, and the first values."""
    several = len({one.link_set for one in figures.changed}) > 1
    lines = []
    for one in figures.changed:
        where = f" in {one.link_set}" if several else ""
        lines.append(f"{one.action.value}{where}, {REASONS[one.reason].meaning}:")
        lines += [f"  {line}" for line in (*one.patterns(), *map(str, one.examples))]
    return lines


def calls_to_make(figures: PlanFigures, what: str = "link") -> str:
    """Return how many calls a run makes, of how many: `100 of 176 links`."""
    if figures.to_make == figures.calls:
        return counted(figures.calls, what)
    return f"{figures.to_make:,} of {counted(figures.calls, what)}"


def _to_make(figures: PlanFigures, what: str) -> str:
    line = f"{calls_to_make(figures, what)} to make"
    if figures.to_make < figures.calls:
        line += f" ({held_to(figures)})"
    elif shared := _sharing(figures):
        rows = counted(figures.calls + shared, "row")
        line += f" for {rows} ({shared:,} {'shares' if shared == 1 else 'share'} another row's)"
    # Below a second, the time is that of starting up.
    if figures.seconds is not None and figures.seconds >= 1:
        line += f", about {duration(figures.seconds)}"
    return line


def held_to(figures: PlanFigures) -> str:
    """Return what keeps a run from making all."""
    if figures.to_make == figures.limit or figures.max_duration is None:
        return "the run's limit"
    told = f"what {duration(figures.max_duration)} are expected to be enough for"
    if figures.guessed_rate is None:
        return told
    return f"{told} at the ceiling of {figures.guessed_rate:g} a second: no pace is known yet"


def _sharing(figures: PlanFigures) -> int:
    """Return how many rows get another row's new link: the same key and content, or one basket."""
    # Only these make a call; several rows of one key and content share it.
    made = (Action.CREATE, Action.REPLACE)
    return sum(count.rows - count.calls for count in figures.counts if count.action in made)


def made_line(run: RunResult, what: str = "link") -> str:
    """Return what a run sent, and what it made where rows share links."""
    counts, made = run.published.by_status, run.written.accepted
    # What workers or another run have made is no part of it.
    rows = counts[Status.CREATED] + counts[Status.REPLACED]
    rows -= sum(run.written.made_by_others.values())
    shared = f"{counted(made, what)} for {counted(rows, 'row')}, " if rows > made > 0 else ""
    return f"{shared}{counted(run.written.requests, 'request')} in {run.seconds:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRows:
    """Rows that are pending, by what makes them: a worker, enqueuing, or the same run again."""

    enqueued: int
    not_enqueued: int
    others: int


def pending_rows(run: RunResult) -> PendingRows:
    """Count a run's pending rows by what makes them."""
    counts = run.published.counts
    enqueued = counts.get((Status.PENDING, Reason.ENQUEUED), 0)
    not_enqueued = counts.get((Status.PENDING, Reason.NOT_ENQUEUED), 0)
    others = run.published.by_status[Status.PENDING] - enqueued - not_enqueued
    return PendingRows(enqueued=enqueued, not_enqueued=not_enqueued, others=others)


def forbidden_lines(run: RunResult) -> list[str]:
    """Return which links Incarts answered with 403, in its words, and what to do."""
    return [
        f"403 for {'/'.join(filter(None, (retailer, intent)))}: {said or 'not allowed'}. "
        f"{of_forbidden(run.project_id)}"
        for (retailer, intent), said in run.written.forbidden.items()
    ]
