"""Command `incarts doctor`: settings, key, host and ledger, looked at without making a link."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import Check, DoctorAnswer, GivenSetting
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.errors import IncartsError, LedgerForeignError, UntrustedHostError
from incarts_pipeline.system import at_home

if TYPE_CHECKING:
    from incarts_pipeline.api import Probe
    from incarts_pipeline.settings import Settings

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
    given = _sources(settings) if settings is not None else []
    good = all(one.ok is not False for one in looking.checks)
    if as_json:
        screen.tell_json(DoctorAnswer(ok=good, checks=looking.checks, settings=given))
    else:
        for one in looking.checks:
            screen.say(f"{one.check}: ", _MARKS[one.ok], f"  {one.message}")
        if given:
            rows = [(one.setting, one.value, one.source) for one in given]
            screen.tell_table("Settings that aren't defaults", _COLUMNS, rows)
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
            self._note("api", None, "the key was not sent anywhere")
        return settings

    def _look(self, name: str, look: Callable[[], str]) -> IncartsError | None:
        """Note what one look shows; return what is wrong with it."""
        try:
            self._note(name, True, look())
        except IncartsError as error:
            self._note(name, False, str(error))
            return error
        return None

    def _note(self, name: str, ok: bool | None, message: str) -> None:
        self.checks.append(Check(check=name, ok=ok, message=message))

    def _ask(self, settings: Settings) -> None:
        import asyncio

        from incarts_pipeline.api import client_of
        from incarts_pipeline.api.probe import probe

        async def asked() -> Probe:
            async with client_of(settings) as client:
                return await probe(client)

        found = asyncio.run(asked())
        self._note("api", found.ok, f"{found.message} {found.fix or ''}".strip())
        if found.ok:
            self._note("project", None, _PROJECT.format(settings.project_id))


def _key_line(settings: Settings) -> str:
    from incarts_pipeline.settings import key_fingerprint

    key, file = settings.known_key(), settings.api_key_file
    told = f"{key_fingerprint(key)}" if key is not None else ""
    if settings.api_key_command is not None:
        return f"{told}, printed by {_program(settings.api_key_command)}"
    if settings.api_key_keyring is not None:
        return f"{told}, kept in the keyring as {settings.api_key_keyring}"
    if file is not None:
        mode = stat.S_IMODE(at_home(file).stat().st_mode)
        return f"{told}, in {file} (mode {mode:04o})"
    return told


def _mode(file: Path) -> str:
    return f"{stat.S_IMODE(at_home(file).stat().st_mode):04o}"


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

    view = LedgerReader(settings.ledger, base_url=settings.base_url)
    if view.path is None:
        return f"{view.file} will be made by the first run"
    mode = _mode(view.path)
    open_to = "" if mode.endswith("00") else f"; others may read it: `chmod 600 {view.file}*`"
    return f"{view.file} (mode {mode}, {view.ledger_id}{open_to})"


def _sources(settings: Settings) -> list[GivenSetting]:
    """Return each setting that isn't a default, what it is, and where it stands."""
    from incarts_pipeline.settings import key_fingerprint

    values = settings.model_dump(exclude={"api_key"})
    key = settings.known_key()
    if settings.api_key_command is not None:
        values["api_key_command"] = f"{_program(settings.api_key_command)} …"
    values["api_key"] = key_fingerprint(key) if key is not None else None
    return [
        GivenSetting(setting=name, value=_told(values[name]), source=settings.sources[name])
        for name in type(settings).model_fields
        if name in settings.sources
    ]


def _program(command: str) -> str:
    """Return the program of a command alone: what stands behind it may be a password."""
    return shlex.split(command)[0]


def _told(value: object) -> str:
    return " ".join(sorted(map(str, value))) if isinstance(value, frozenset) else str(value)
