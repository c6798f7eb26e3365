"""Command `incarts watch`: all runs on a ledger, as they get on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import FailedAttempt, WatchAnswer, WatchedRun
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.clock import from_micros
from incarts_pipeline.text import duration

if TYPE_CHECKING:
    from incarts_pipeline.ledger import Task
    from incarts_pipeline.maintenance import Watched

_SECONDS = 2.0  # between two looks
_LOOK_SHARE = 10  # times as long as a look takes: a large ledger is looked at less often
_COLUMNS = ("run", "link sets", "for", "made", "per second", "in flight", "errors", "process")


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once, as without a terminal.")] = False,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Show all runs on a ledger: pace, limit, doubts, last errors. Live in a terminal."""
    from incarts_pipeline.maintenance import watch_ledger

    settings = settings_for(ledger, target)
    found = watch_ledger(settings)
    if as_json:
        screen.tell_json(_answer(found))
        return
    if once or not screen.is_watched():
        _tell(found)
        return

    def draw() -> screen.Drawn:
        return _drawn(watch_ledger(settings))

    with screen.live(_drawn(found)) as show:
        while True:
            time.sleep(max(_SECONDS, _LOOK_SHARE * show(draw)))


def _answer(found: Watched) -> WatchAnswer:
    return WatchAnswer(
        at=found.at,
        runs=[
            WatchedRun(
                run_id=one.run_id,
                link_sets=sorted(one.run.link_sets),
                pid=one.run.pid,
                host=one.run.host,
                started_at=from_micros(one.started_at),
                made=one.made,
                per_second=round(one.per_second, 3),
                in_flight=one.in_flight,
                errors=one.errors,
            )
            for one in found.runs
        ],
        rates={key: str(learned) for key, learned in found.rates.items()},
        waiting=found.waiting,
        needs_person=len(found.cases.for_person),
        in_doubt=len(found.cases.in_doubt),
        in_flight=len(found.cases.in_flight),
        apply_before=found.cases.apply_before,
        failures=[
            FailedAttempt(
                at=from_micros(one.at), run_id=one.run_id, row_key=one.row_key, said=one.said
            )
            for one in found.failures
        ],
    )


def _tell(found: Watched) -> None:
    screen.tell_table(_title(found), _COLUMNS, _rows(found), right=_COLUMNS[2:6])
    for line in found.lines():
        screen.say(line)


def _drawn(found: Watched) -> screen.Drawn:
    table = screen.Sheet(
        title=_title(found), columns=_COLUMNS, rows=_rows(found), right=_COLUMNS[2:6]
    )
    return [table, *found.lines(), "Ctrl-C ends this screen, and no run."]


def _title(found: Watched) -> str:
    running = "" if found.runs else ": nothing is running"
    return f"{found.ledger} at {found.at:%H:%M:%S} UTC{running}"


def _task(task: Task) -> str:
    """Return what a run is there for, unless it is what most are."""
    from incarts_pipeline.ledger import Task

    return "" if task is Task.APPLY else f"{task.value}, "


def _rows(found: Watched) -> Sequence[Sequence[screen.Part]]:
    return [
        (
            one.run_id,
            ", ".join(sorted(one.run.link_sets)),
            duration((found.at - from_micros(one.started_at)).total_seconds()),
            f"{one.made:,}",
            f"{one.per_second:,.3g}",
            f"{one.in_flight:,}",
            ", ".join(f"{n:,}× {what}" for what, n in one.errors.items()),
            f"{_task(one.run.task)}pid {one.run.pid} on {one.run.host}",
        )
        for one in found.runs
    ]
