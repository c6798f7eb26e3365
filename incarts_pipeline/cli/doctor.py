"""Command `incarts doctor`: settings, ledger, host and key, without making a link."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import typer

from incarts_pipeline.api import Probe, client_of
from incarts_pipeline.api.probe import probe
from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import Check, DoctorAnswer
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.errors import IncartsError
from incarts_pipeline.ledger import LedgerReader
from incarts_pipeline.settings import Settings

_MARKS = {
    True: ("ok", "green"),
    False: ("not ok", "bold red"),
    None: ("not checked", "yellow"),
}
# The API has nothing that could be asked for a project.
_PROJECT = "whether the key may use {} only shows when a link is made: pilot with --limit 1"


def doctor(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Check settings, ledger, host and key, without making a link."""
    checks: list[Check] = []
    settings = _checked(checks, "settings", lambda: _complete(settings_for(ledger, target)))
    if settings is not None:
        _checked(checks, "ledger", lambda: _ledger_line(settings))
        found = asyncio.run(_probe(settings))
        said = f"{found.message} {found.fix or ''}".strip()
        checks.append(Check(check="api", ok=found.ok, message=said))
        if found.ok:
            said = _PROJECT.format(settings.project_id)
            checks.append(Check(check="project", ok=None, message=said))
    good = all(one.ok is not False for one in checks)
    if as_json:
        screen.tell_json(DoctorAnswer(ok=good, checks=checks))
    else:
        for one in checks:
            screen.say(f"{one.check}: ", _MARKS[one.ok], f"  {one.message}")
    raise typer.Exit(0 if good else 1)


def _checked(checks: list[Check], name: str, look: Any) -> Any:
    """Run one check, note how it went, and return what it found."""
    try:
        found, text = look()
    except IncartsError as error:
        checks.append(Check(check=name, ok=False, message=str(error)))
        return None
    checks.append(Check(check=name, ok=True, message=text))
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
