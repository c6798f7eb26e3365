"""Commands `incarts status` and `incarts stop`: what the ledger holds, and the end of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import RunningRun, SetCounts, StatusAnswer, StopAnswer
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.kinds import KINDS, LINKS

if TYPE_CHECKING:
    from incarts_pipeline.ledger import LivingRun, Overview
    from incarts_pipeline.settings import LedgerPlace


def status(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Count what the ledger holds, and check that it is intact."""
    from incarts_pipeline.maintenance import ledger_overview

    settings = settings_for(ledger, target)
    found = ledger_overview(settings)
    if as_json:
        screen.tell_json(_status_answer(found))
    else:
        _status_tables(found, settings.ledger)
    raise typer.Exit(1 if found.damage else 0)


def _status_answer(found: Overview) -> StatusAnswer:
    from incarts_pipeline.ledger.overview import OPEN_STATES

    return StatusAnswer(
        ledger=found.facts,
        sets=[
            SetCounts(
                project_id=one.project_id,
                link_set=one.link_set,
                kind=one.kind,
                links=one.links,
                missing=one.missing,
                **{state.value: one.states.get(state, 0) for state in OPEN_STATES},
                enqueued=one.enqueued,
            )
            for one in found.sets
        ],
        running=_running(found.running),
        rates={key: str(learned) for key, learned in found.rates.items()},
        waiting=found.waiting,
        two_links_for_one_key=found.two_links,
        damage=found.damage,
    )


def _running(runs: Mapping[str, LivingRun]) -> list[RunningRun]:
    return [
        RunningRun(run_id=run_id, link_sets=sorted(run.link_sets), pid=run.pid, host=run.host)
        for run_id, run in runs.items()
    ]


def _status_tables(found: Overview, ledger: LedgerPlace) -> None:
    shown = found.shown_states()
    texts = ("project", "link set")
    counts = ("links", "missing", *(state.value.replace("_", " ") for state in shown))
    rows = []
    for one in found.sets:
        numbers = (one.links, one.missing, *(one.states.get(state, 0) for state in shown))
        name = one.link_set + ("" if one.kind == LINKS.name else f", {KINDS[one.kind].noun}s")
        rows.append((one.project_id, name, *(f"{number:,}" for number in numbers)))
    title = f"{ledger} for {found.facts['base_url']}"
    screen.tell_table(title, [*texts, *counts], rows, right=counts)
    for line in found.lines():
        screen.say(line)
    for line in found.alarms():
        screen.say((line, "bold red"))


def stop(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Ask running processes to finish what is in flight, publish, and end."""
    from incarts_pipeline.maintenance import stop_runs

    asked = stop_runs(settings_for(ledger, target))
    if as_json:
        screen.tell_json(StopAnswer(asked=_running(asked)))
        return
    for run in asked.values():
        screen.say(f"asked to stop: {run}")
    if not asked:
        screen.say("nothing is running")
