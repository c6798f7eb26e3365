"""Commands `incarts status`, `incarts stop` and `incarts doctor`: look, without making a link."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import typer

from incarts_pipeline.api import Probe, client_of
from incarts_pipeline.api.probe import probe
from incarts_pipeline.cli import screen
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.errors import IncartsError
from incarts_pipeline.ledger import LedgerReader, Overview
from incarts_pipeline.ledger.overview import OPEN_STATES
from incarts_pipeline.maintenance import ledger_overview, stop_runs
from incarts_pipeline.models import KINDS, LINKS
from incarts_pipeline.settings import Settings

Check = tuple[str, bool | None, str]  # what was looked at, whether it is right, and what was seen

_MARKS = {
    True: ("ok", "green"),
    False: ("not ok", "bold red"),
    None: ("not checked", "yellow"),
}
# The API has nothing that could be asked for a project.
_PROJECT = "whether the key may use {} only shows when a link is made: pilot with --limit 1"


def status(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Count what the ledger holds, and check that it is intact."""
    settings = settings_for(ledger, target)
    found = ledger_overview(settings)
    if as_json:
        screen.tell_json(_status_object(found))
    else:
        _status_tables(found, Path(settings.ledger))
    raise typer.Exit(1 if found.damage else 0)


def _status_object(found: Overview) -> dict[str, Any]:
    return {
        "ledger": found.facts,
        "sets": [
            {
                "project_id": one.project_id,
                "link_set": one.link_set,
                "kind": one.kind,
                "links": one.links,
                "missing": one.missing,
                **{state.value: one.states.get(state, 0) for state in OPEN_STATES},
            }
            for one in found.sets
        ],
        "running": {run_id: str(run) for run_id, run in found.running.items()},
        "rates": {key: str(learned) for key, learned in found.rates.items()},
        "waiting": found.waiting,
        "two_links_for_one_key": found.two_links,
        "damage": found.damage,
    }


def _status_tables(found: Overview, file: Path) -> None:
    shown = found.shown_states()
    texts = ("project", "link set")
    counts = ("links", "missing", *(state.value.replace("_", " ") for state in shown))
    rows = []
    for one in found.sets:
        numbers = (one.links, one.missing, *(one.states.get(state, 0) for state in shown))
        name = one.link_set + ("" if one.kind == LINKS.name else f", {KINDS[one.kind].noun}s")
        rows.append((one.project_id, name, *(f"{number:,}" for number in numbers)))
    title = f"{file} for {found.facts['base_url']}"
    screen.tell_table(title, [*texts, *counts], rows, right=counts, folded=texts)
    for line in found.lines():
        screen.say(line)
    for line in found.alarms():
        screen.say((line, "bold red"))


def stop(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Ask running processes to finish what is in flight, publish, and end."""
    asked = stop_runs(settings_for(ledger, target))
    if as_json:
        screen.tell_json({run_id: str(run) for run_id, run in asked.items()})
        return
    for run in asked.values():
        screen.say(f"asked to stop: {run}")
    if not asked:
        screen.say("nothing is running")


def doctor(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Check settings, ledger, host and key, without making a link."""
    checks: list[Check] = []
    settings = _checked(checks, "settings", lambda: _complete(settings_for(ledger, target)))
    if settings is not None:
        _checked(checks, "ledger", lambda: _ledger_line(settings))
        found = asyncio.run(_probe(settings))
        checks.append(("api", found.ok, f"{found.message} {found.fix or ''}".strip()))
        if found.ok:
            checks.append(("project", None, _PROJECT.format(settings.project_id)))
    good = all(ok is not False for _, ok, _ in checks)
    if as_json:
        rows = [{"check": name, "ok": ok, "message": text} for name, ok, text in checks]
        screen.tell_json({"ok": good, "checks": rows})
    else:
        for name, ok, text in checks:
            screen.say(f"{name}: ", _MARKS[ok], f"  {text}")
    raise typer.Exit(0 if good else 1)


def _checked(checks: list[Check], name: str, look: Any) -> Any:
    """Run one check, note how it went, and return what it found."""
    try:
        found, text = look()
    except IncartsError as error:
        checks.append((name, False, str(error)))
        return None
    checks.append((name, True, text))
    return found


def _complete(settings: Settings) -> tuple[Settings, str]:
    known = settings.for_calls()
    return settings, f"project {known.project_id} at {known.base_url}"


def _ledger_line(settings: Settings) -> tuple[LedgerReader, str]:
    view = LedgerReader(Path(settings.ledger), base_url=settings.base_url)
    if view.path is None:
        return view, f"{view.file} will be made by the first run"
    return view, f"{view.file} ({view.ledger_id})"


async def _probe(settings: Settings) -> Probe:
    async with client_of(settings) as client:
        return await probe(client)
