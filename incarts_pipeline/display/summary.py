"""Summaries of a plan and a run in words: the shell and Python print the same lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from incarts_pipeline.display.remedies import REASONS, of_forbidden
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
    lines = [_to_make(figures, what)]
    if figures.doubts:
        lines.append(f"{figures.doubts:,} in doubt to settle first, under their own keys")
    for name, n in figures.missing.items():
        links = counted(n, f"link of {name} has", f"links of {name} have")
        lines.append(f"{links} no row in the catalog (kept)")
    if figures.scopes:
        needed = ", ".join(f"{scope} ({n:,})" for scope, n in figures.scopes.items())
        lines.append(f"scopes needed: {needed}")
    return lines


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
        line += " (the run's limit)"
    elif shared := _sharing(figures):
        rows = counted(figures.calls + shared, "row")
        line += f" for {rows} ({shared:,} {'shares' if shared == 1 else 'share'} another row's)"
    # Below a second, the time is that of starting up.
    if figures.seconds is not None and figures.seconds >= 1:
        line += f", about {duration(figures.seconds)}"
    return line


def _sharing(figures: PlanFigures) -> int:
    """Return how many rows get another row's new link: the same key and content, or one basket."""
    # Only these make a call; several rows of one key and content share it.
    made = (Action.CREATE, Action.REPLACE)
    return sum(count.rows - count.calls for count in figures.counts if count.action in made)


def made_line(run: RunResult, what: str = "link") -> str:
    """Return what a run sent, and what it made where rows share links."""
    counts, made = run.published.by_status, run.written.accepted
    rows = counts[Status.CREATED] + counts[Status.REPLACED]
    shared = f"{counted(made, what)} for {counted(rows, 'row')}, " if rows > made else ""
    return f"{shared}{counted(run.written.requests, 'request')} in {run.seconds:.1f} s"


def forbidden_lines(run: RunResult) -> list[str]:
    """Return which links Incarts answered with 403, in its words, and what to do."""
    return [
        f"403 for {'/'.join(filter(None, (retailer, intent)))}: {said or 'not allowed'}. "
        f"{of_forbidden(run.project_id)}"
        for (retailer, intent), said in run.written.forbidden.items()
    ]
