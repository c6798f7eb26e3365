"""Command `incarts doctor`: settings, key, host and ledger, looked at without making a link."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.errors import IncartsError, LedgerForeignError, UntrustedHostError

if TYPE_CHECKING:
    from incarts_pipeline.settings import Settings

Check = tuple[str, bool | None, str]  # what was looked at, whether it is right, and what was seen

_MARKS = {
    True: ("ok", "green"),
    False: ("not ok", "bold red"),
    None: ("not checked", "yellow"),
}
# The API has nothing that could be asked for a project.
_PROJECT = "whether the key may use {} only shows when a link is made: pilot with --limit 1"
_COLUMNS = ("setting", "value", "from")


def doctor(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Check settings, key, host and ledger, and say where each setting comes from."""
    looking = _Doctor()
    settings = looking.at_settings(ledger, target)
    rows = _sources(settings) if settings is not None else []
    good = all(ok is not False for _, ok, _ in looking.checks)
    if as_json:
        checks = [{"check": name, "ok": ok, "message": text} for name, ok, text in looking.checks]
        told = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        screen.tell_json({"ok": good, "checks": checks, "settings": told})
    else:
        for name, ok, text in looking.checks:
            screen.say(f"{name}: ", _MARKS[ok], f"  {text}")
        if rows:
            screen.tell_table("Settings that aren't defaults", _COLUMNS, rows, folded=_COLUMNS)
    raise typer.Exit(0 if good else 1)


class _Doctor:
    """What was looked at, one thing after the other; the key leaves only when all is right."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def at_settings(self, ledger: Path | None, target: str | None) -> Settings | None:
        """Look at the settings, and at all that they name; return them when they are complete."""
        found: list[Settings] = []

        def complete() -> str:
            settings = settings_for(ledger, target)
            with suppress(UntrustedHostError):  # a finding of its own
                settings.for_calls()
            found.append(settings)
            return f"project {settings.project_id} at {settings.base_url}"

        self._look("settings", complete)
        if not found:
            return None
        (settings,) = found
        self._look("key", lambda: _key_line(settings))
        problem = self._look("host", lambda: _host_line(settings))
        foreign = self._look("ledger", lambda: _ledger_line(settings))
        if problem is None and not isinstance(foreign, LedgerForeignError):
            self._ask(settings)
        else:
            self.checks.append(("api", None, "the key was not sent anywhere"))
        return settings

    def _look(self, name: str, look: Callable[[], str]) -> IncartsError | None:
        """Note what one look shows; return what is wrong with it."""
        try:
            self.checks.append((name, True, look()))
        except IncartsError as error:
            self.checks.append((name, False, str(error)))
            return error
        return None

    def _ask(self, settings: Settings) -> None:
        import asyncio

        from incarts_pipeline.api import client_of
        from incarts_pipeline.api.probe import probe

        async def asked() -> Check:
            async with client_of(settings) as client:
                found = await probe(client)
            return "api", found.ok, f"{found.message} {found.fix or ''}".strip()

        self.checks.append(asyncio.run(asked()))
        if self.checks[-1][1]:
            self.checks.append(("project", None, _PROJECT.format(settings.project_id)))


def _key_line(settings: Settings) -> str:
    from incarts_pipeline.settings import key_fingerprint

    key, file = settings.known_key(), settings.api_key_file
    told = f"{key_fingerprint(key)}" if key is not None else ""
    if settings.api_key_command is not None:
        return f"{told}, printed by {settings.api_key_command.split()[0]}"
    if settings.api_key_keyring is not None:
        return f"{told}, kept in the keyring as {settings.api_key_keyring}"
    if file is not None:
        return f"{told}, in {file} (mode {_mode(file)})"
    return told


def _mode(file: Path) -> str:
    return f"{stat.S_IMODE(file.expanduser().stat().st_mode):04o}"


def _host_line(settings: Settings) -> str:
    from incarts_pipeline.settings import host_of, kept_hosts, key_fingerprint

    word = settings.trusted_by()
    host = host_of(settings.base_url or "")
    key = settings.known_key()
    mine = key_fingerprint(key) if key is not None else ""
    others = {one.host for one in kept_hosts() if one.fingerprint == mine and not one.withdrawn}
    more = f"; also for {', '.join(sorted(others - {host}))}" if others - {host} else ""
    return f"the key is for {host} by {word}{more}"


def _ledger_line(settings: Settings) -> str:
    from incarts_pipeline.ledger import LedgerReader

    view = LedgerReader(Path(settings.ledger), base_url=settings.base_url)
    if view.path is None:
        return f"{view.file} will be made by the first run"
    mode = _mode(view.path)
    open_to = "" if mode.endswith("00") else f"; others may read it: `chmod 600 {view.file}*`"
    return f"{view.file} (mode {mode}, {view.ledger_id}{open_to})"


def _sources(settings: Settings) -> list[Sequence[str]]:
    """Return each setting that isn't a default, what it is, and where it stands."""
    from incarts_pipeline.settings import key_fingerprint

    values = settings.model_dump(exclude={"api_key"})
    key = settings.known_key()
    values["api_key"] = key_fingerprint(key) if key is not None else None
    return [
        (name, _told(values[name]), settings.sources[name])
        for name in type(settings).model_fields
        if name in settings.sources
    ]


def _told(value: object) -> str:
    return " ".join(sorted(map(str, value))) if isinstance(value, frozenset) else str(value)
