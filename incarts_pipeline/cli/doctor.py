"""Command `incarts doctor`: settings, ledger, host and key, without making a link."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.errors import IncartsError

if TYPE_CHECKING:
    from incarts_pipeline.api import Probe
    from incarts_pipeline.ledger import LedgerReader
    from incarts_pipeline.settings import Settings

Check = tuple[str, bool | None, str]  # what was looked at, whether it is right, and what was seen

_MARKS = {
    True: ("ok", "green"),
    False: ("not ok", "bold red"),
    None: ("not checked", "yellow"),
}
# The API has nothing that could be asked for a project.
_PROJECT = "whether the key may use {} only shows when a link is made: pilot with --limit 1"


def doctor(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Check settings, ledger, host and key, without making a link."""
    import asyncio

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
    from incarts_pipeline.ledger import LedgerReader

    view = LedgerReader(Path(settings.ledger), base_url=settings.base_url)
    if view.path is None:
        return view, f"{view.file} will be made by the first run"
    return view, f"{view.file} ({view.ledger_id})"


async def _probe(settings: Settings) -> Probe:
    from incarts_pipeline.api import client_of
    from incarts_pipeline.api.probe import probe

    async with client_of(settings) as client:
        return await probe(client)
