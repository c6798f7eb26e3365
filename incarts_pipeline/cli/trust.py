"""Command `incarts trust`, and the same question when a run meets a host that nobody named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import KeyHost, TrustAnswer
from incarts_pipeline.cli.options import JsonOpt, TargetOpt, settings_for
from incarts_pipeline.errors import SettingsError, UntrustedHostError

if TYPE_CHECKING:
    from incarts_pipeline.settings import TrustedHost

_UNASKED = frozenset({"--yes", "-y", "--json"})


def trust(
    host: Annotated[
        str | None, typer.Argument(help="Like api.incarts.example; without one, list them.")
    ] = None,
    take_back: Annotated[
        bool, typer.Option("--withdraw", help="Take the word for this host back.")
    ] = False,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Say that the API key is for a host, whatever file names it; or list what was said."""
    from incarts_pipeline.settings import (
        keep_trusted,
        kept_hosts,
        named_host,
        trusted_host,
        withdraw,
    )

    if host is None:
        if take_back:
            raise typer.BadParameter("--withdraw needs the host.")
        _tell(kept_hosts(), as_json=as_json)
        return
    key = settings_for(target=target).known_key()
    try:
        named = named_host(host)
    except ValueError as error:
        raise SettingsError(f"{error}.", fix="Write it like api.incarts.example.") from None
    if take_back:
        _tell(withdraw(named, key), as_json=as_json)
        return
    if key is None:
        raise SettingsError(
            "Not set: INCARTS_API_KEY or INCARTS_API_KEY_FILE.",
            fix="Export the key that is for this host; its fingerprint is kept, not the key.",
        )
    given = trusted_host(key, named)
    keep_trusted(given)
    _tell([given], as_json=as_json)


def agrees(error: UntrustedHostError) -> bool:
    """Ask whether the key is for the host, where somebody can answer, and keep a yes.

    `--yes` answers the questions of a command, not this one.
    """
    from incarts_pipeline.settings import TrustedHost, keep_trusted

    if not sys.stdin.isatty() or _UNASKED.intersection(sys.argv):
        return False
    screen.say_lines(error.message, err=True)
    try:
        if not screen.asks(f"Is the API key {error.fingerprint} for {error.host}?"):
            return False
    except typer.Abort:
        screen.say(err=True)  # the cursor stands behind the question
        return False
    keep_trusted(TrustedHost(host=error.host, fingerprint=error.fingerprint, proof=error.proof))
    return True


def _tell(found: list[TrustedHost], *, as_json: bool) -> None:
    if as_json:
        hosts = [
            KeyHost(host=one.host, key=one.fingerprint, withdrawn=one.withdrawn) for one in found
        ]
        screen.tell_json(TrustAnswer(hosts=hosts))
        return
    for one in found:
        what = "is no longer for" if one.withdrawn else "is for"
        screen.say(f"the key {one.fingerprint} {what} {one.host}")
    if not found:
        screen.say("no key was given for a host yet")
