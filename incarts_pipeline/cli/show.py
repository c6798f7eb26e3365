"""Plans and results as people and programs see them in the shell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.run_answers import (
    ChangedCount,
    ChangedExample,
    ChangedValue,
    EarlyEnd,
    Example,
    FieldPattern,
    FieldsCount,
    ForbiddenLinks,
    GuardRefusal,
    PlanAnswer,
    ProblemCount,
    ReasonCount,
    RunAnswer,
    StatusCount,
)
from incarts_pipeline.display import (
    COUNTED_FROM_0,
    REASONS,
    TONES,
    came_to,
    changed_lines,
    figures_lines,
    forbidden_lines,
    last_night,
    left_lines,
    made_line,
    pending_rows,
    problem_groups,
)
from incarts_pipeline.models import Action, Reason, Status
from incarts_pipeline.text import counted

if TYPE_CHECKING:
    from incarts_pipeline.differences import Difference
    from incarts_pipeline.pipeline import RunResult
    from incarts_pipeline.plan import ChangedRows, Plan, PlanFigures
    from incarts_pipeline.write import End

Line = Sequence[screen.Part]

_MEANING = {reason: one.meaning for reason, one in REASONS.items()}
_MEANINGS = {
    "link": _MEANING,
    "QR code": {
        **_MEANING,
        Reason.NEW: "the link has no code of this identifier yet",
        Reason.CHANGED: "the link was replaced, and the new one has no code yet",
        Reason.SAME: "the code exists",
        Reason.INVALID: "breaks a rule, or the row has no link; see problems",
        Reason.NEEDS_REVIEW: "may exist at Incarts, or its identifier is taken; needs a person",
    },
}
_CODES_MADE = {
    Status.CREATED: "new: its code was made",
    Status.REPLACED: "the link was replaced: a code of the new one was made",
}

_TABLES = {"link": "links", "QR code": "qr_codes"}  # the names in JSON of what is published


def tell_plan(made: Plan, what: str = "link", *, as_json: bool) -> None:
    """Print a plan on standard output, for people or as JSON."""
    if as_json:
        screen.tell_json(plan_answer(made))
    else:
        plan_tables(made, what)


def tell_result(
    result: RunResult, fail_on: Sequence[Status], what: str = "link", *, as_json: bool
) -> None:
    """Print how a run came out: for people on standard error, as JSON on standard output."""
    if as_json:
        screen.tell_json(run_answer(result, fail_on, what))
    else:
        _result_table(result, what)


def early_end(end: End | None) -> EarlyEnd | None:
    """Return as JSON why a run ended early, None when it didn't."""
    return EarlyEnd(kind=end.kind.value, message=end.message, fix=end.fix) if end else None


def others_line(run_id: str, n: int, what: str) -> str:
    """Return what another run has made of this one's rows."""
    return f"{counted(n, what)} made by run {run_id} while this one waited"


def end_line(end: End) -> Line:
    """Return why a run ended early, for people."""
    return [("ended early:", "bold red"), f" {end.message} {end.fix}"]


def plan_answer(made: Plan) -> PlanAnswer:
    """Return a plan as JSON."""
    figures = made.figures
    return PlanAnswer(
        digest=figures.digest,
        rows=figures.rows,
        calls=figures.calls,
        to_make=figures.to_make,
        doubts=figures.doubts,
        actions=figures.rows_by_action(),
        reasons=[
            ReasonCount(
                link_set=count.link_set,
                action=count.action,
                reason=count.reason,
                rows=count.rows,
                calls=count.calls,
            )
            for count in figures.counts
        ],
        changed=[_changed(one) for one in figures.changed],
        missing=figures.missing,
        scopes=figures.scopes,
        missing_scopes=figures.missing_scopes,
        warnings=figures.warnings,
        problems=[
            ProblemCount(
                severity=group.severity,
                field=group.field,
                code=group.code,
                rows=group.rows,
                example=Example(row=group.row, key=group.key, message=group.message),
            )
            for group in problem_groups(made)
        ],
        refusals=[
            GuardRefusal(guard=r.guard, message=r.message, fix=r.fix) for r in figures.refusals
        ],
        seconds=figures.seconds,
        nights=figures.nights,
        last_night=last_night(figures.nights) if figures.nights else None,
        catalog_version=figures.catalog_version,
    )


def _changed(one: ChangedRows) -> ChangedCount:
    return ChangedCount(
        link_set=one.link_set,
        action=one.action,
        reason=one.reason,
        rows=one.rows,
        only=[FieldsCount(fields=found.fields, rows=found.rows) for found in one.sets],
        other_fields=one.others,
        unknown_before=one.unknown,
        patterns=[
            FieldPattern(
                field=found.field,
                values=found.values,
                pattern=str(found.pattern) if found.pattern else None,
                alike=found.alike,
            )
            for found in one.fields
        ],
        examples=[
            ChangedExample(
                row=example.catalog_row,
                key=example.row_key,
                differences=[change_of(found) for found in example.differences],
                more=example.more,
            )
            for example in one.examples
        ],
    )


def change_of(one: Difference) -> ChangedValue:
    """Return a value that differs as JSON."""
    return ChangedValue(path=one.path, old=one.old, new=one.new)


def plan_tables(
    made: Plan, what: str = "link", *, approved: bool = False, err: bool = False
) -> None:
    """Print a plan for people: `what` it would make; `approved` when its guards are let through."""
    figures = made.figures
    changed = {(one.link_set, one.action, one.reason) for one in figures.changed}
    rows = []
    for count in figures.counts:
        key = (count.link_set, count.action, count.reason)
        examples = () if key in changed else made.examples(*key[1:], count.link_set)
        why = _MEANINGS[what][count.reason]
        shown = "; ".join(str(example) for example in examples)
        rows.append((f"{count.rows:,}", _coloured(count.action), why, shown))
    title = f"Plan {figures.digest}: {', '.join(made.options.link_sets)}"
    columns = ("rows", "action", "why", "examples")
    screen.tell_table(title, columns, rows, right=columns[:1], err=err)
    for line in changed_lines(figures):
        screen.say(line, err=err)
    groups = problem_groups(made)
    if groups:
        screen.say(COUNTED_FROM_0, err=err)
    for group in groups:
        screen.say(str(group), err=err)
    for line in figures_lines(figures, what):
        screen.say(line, err=err)
    for warning in figures.warnings:
        screen.say_lines(warning, label=("warning:", "yellow"), err=err)
    _tell_refusals(figures, approved=approved, err=err)


def _tell_refusals(figures: PlanFigures, *, approved: bool, err: bool) -> None:
    label = ("approved:", "bold") if approved else ("refused:", "bold red")
    for refusal in figures.refusals:
        screen.say_lines(refusal.message, label=label, err=err)
        if not approved:
            screen.say(f"  {refusal.fix}", err=err)
    refused = bool(figures.refusals) and not approved
    if refused and all(refusal.approvable for refusal in figures.refusals):
        screen.say(f"let exactly this plan through with --approve {figures.digest}", err=err)


def run_answer(result: RunResult, fail_on: Sequence[Status], what: str) -> RunAnswer:
    """Return a run's result as JSON; `fail_on` are the statuses that make its exit code 3."""
    written, published = result.written, result.published
    tables = {_TABLES[what]: published.output.links}
    return RunAnswer(
        run_id=written.run_id,
        digest=result.figures.digest,
        catalog_version=result.figures.catalog_version,
        links=tables.get("links"),
        qr_codes=tables.get("qr_codes"),
        statuses=published.by_status,
        reasons=[
            StatusCount(status=status, reason=reason, rows=n)
            for (status, reason), n in published.counts.items()
        ],
        requests=written.requests,
        remaining=written.remaining,
        nights_left=result.nights_left,
        missing=result.figures.missing,
        warnings=result.figures.warnings,
        made_by_others=written.made_by_others,
        stopped=written.stopped,
        end=early_end(written.end),
        forbidden=[
            ForbiddenLinks(retailer=retailer, intent=intent, message=said)
            for (retailer, intent), said in written.forbidden.items()
        ],
        unrecorded=written.unrecorded,
        seconds=round(result.seconds, 3),
        exit_code=result.exit_code(fail_on),
    )


def _result_table(result: RunResult, what: str) -> None:
    written = result.written
    counts = sorted(
        result.published.counts.items(), key=lambda item: list(Status).index(item[0][0])
    )
    rows = [
        (f"{n:,}", _coloured(status), _came_to(what, status, reason))
        for (status, reason), n in counts
    ]
    columns = ("rows", "status", "why")
    screen.tell_table(f"Run {written.run_id}", columns, rows, right=columns[:1], err=True)
    for line in _result_lines(result, what):
        screen.say(*line, err=True)


def _came_to(what: str, status: Status, reason: Reason) -> str:
    """Return in words why rows have their status once the run is over."""
    if what == "link":
        return came_to(status, reason)
    return _CODES_MADE.get(status, _MEANINGS[what][reason])


def _coloured(name: Action | Status) -> screen.Part:
    return name.value, TONES[name].value


def _result_lines(result: RunResult, what: str) -> Iterator[Line]:
    written = result.written
    yield [f"{made_line(result, what)} → {result.published.output.links}"]
    yield from ([others_line(run_id, n, what)] for run_id, n in written.made_by_others.items())
    if written.end:
        yield end_line(written.end)
    yield from ([(line, "red")] for line in forbidden_lines(result))
    if written.unrecorded:
        yield [("answered, but not recorded in the ledger:", "bold red")]
        yield from ([f"  {one}"] for one in written.unrecorded)
    yield from ([f"{line}."] for line in left_lines(result))
    pending = pending_rows(result)
    if pending.others:
        first = "once that is put right, " if written.is_blocked else ""
        yield [f"Rows are pending: {first}run the same command again to go on."]
    if pending.not_enqueued:
        rows = counted(pending.not_enqueued, "row is", "rows are")
        yield [
            f"{rows} not enqueued: `incarts apply --enqueue` does that, with the same catalog, "
            "options and output."
        ]
    if pending.enqueued:
        rows = counted(pending.enqueued, "row waits", "rows wait")
        yield [f"{rows} for a worker: run `incarts work`, then publish again."]
    if result.published.by_status[Status.IN_DOUBT]:
        yield [
            "Rows are in doubt: run again soon to settle them. Ones that need review are never "
            "sent again by themselves: see `incarts review list`."
        ]
