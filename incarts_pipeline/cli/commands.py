"""Commands: the name of each, its function, and what the overview says of it.

The module of a command is imported once the command is named, so that the overview, the version
and the completion of names don't wait for what one of them needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
import typer
from typer.core import TyperCommand, TyperGroup

from incarts_pipeline.cli.epilogs import explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command that isn't loaded yet.

    `place` is `module:name` in this folder: a function, or a `typer.Typer` of several. `says` is
    the first line of its own help.
    """

    name: str
    place: str
    says: str

    def load(self) -> click.Command:
        """Return the command with its options, or its own commands."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(f"incarts_pipeline.cli.{module}"), attribute)
        alone = typer.Typer(suggest_commands=False)  # Click does it
        if isinstance(found, typer.Typer):
            alone.add_typer(found, name=self.name)
        else:
            alone.command(self.name)(found)
        return explain(typer.main.get_group(alone).commands[self.name], self.name)


ENTRIES = (
    Entry(
        name="demo",
        place="demo:demo",
        says="Make links of a sample catalog with a local Incarts inside: no key, no settings.",
    ),
    Entry(
        name="init",
        place="init:init",
        says="Look at any table, write a mapping for it with a comment on each guess, and plan it.",
    ),
    Entry(name="plan", place="flow:plan", says="Say what would happen, and why. Sends nothing."),
    Entry(
        name="apply",
        place="flow:apply",
        says="Make the links and write links.parquet. Running it again sends nothing twice.",
    ),
    Entry(
        name="work",
        place="workers:work",
        says="Make what is enqueued, beside any number of other workers. Publishes nothing.",
    ),
    Entry(
        name="publish",
        place="workers:publish",
        says="Write links.parquet from what the ledger says of a catalog now. Sends nothing.",
    ),
    Entry(
        name="rekey",
        place="flow:rekey",
        says="Move links to rows whose key was spelled anew; what is in doubt is settled first.",
    ),
    Entry(
        name="import",
        place="import_links:import_",
        says="Take over links that exist already, or rebuild a ledger from published tables.",
    ),
    Entry(
        name="status",
        place="inspect:status",
        says="Count what the ledger holds, and check that it is intact.",
    ),
    Entry(
        name="watch",
        place="watch:watch",
        says="Show all runs on a ledger: pace, limit, doubts, last errors. Live in a terminal.",
    ),
    Entry(
        name="stop",
        place="inspect:stop",
        says="Ask running processes to finish what is in flight, publish, and end.",
    ),
    Entry(
        name="doctor",
        place="doctor:doctor",
        says="Check settings, key, host and ledger, and say where each setting comes from.",
    ),
    Entry(
        name="trust",
        place="trust:trust",
        says="Say that the API key is for a host, whatever file names it; or list what was said.",
    ),
    Entry(
        name="show",
        place="history:show",
        says="Tell one row's history: its links, every attempt, and what changed.",
    ),
    Entry(
        name="qr",
        place="qr:qr",
        says="Make further QR codes of links, each once, and write qr_codes.parquet.",
    ),
    Entry(
        name="verify",
        place="verify:verify",
        says="Read links back (scope links:read) and report what is not as it was sent.",
    ),
    Entry(
        name="check",
        place="check:check",
        says="Ask for each URL that links would lead to, once, and say which are dead. "
        "Makes no link.",
    ),
    Entry(
        name="review",
        place="review:app",
        says="Settle what needs a person: links that may exist at Incarts.",
    ),
    Entry(
        name="ledger",
        place="ledger:app",
        says="Back the ledger up, put a backup in its place, check it, and move it elsewhere.",
    ),
    Entry(name="keys", place="keys:app", says="Keys that plans are signed with."),
    Entry(
        name="sandbox",
        place="local:sandbox",
        says="Run a local Incarts until Ctrl-C; prints the environment that points at it.",
    ),
)


class Commands(TyperGroup):
    """The commands of `ENTRIES`: their names, and of the one that somebody names, all of it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in ENTRIES:
            self.add_command(TyperCommand(entry.name, help=entry.says))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was named, its name, and the arguments behind it."""
        name, _, rest = super().resolve_command(ctx, args)
        found = [entry.load() for entry in ENTRIES if entry.name == name]
        return name, found[0] if found else None, rest
