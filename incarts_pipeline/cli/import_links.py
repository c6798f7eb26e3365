"""Command `incarts import`: links that exist already, taken over into the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import ImportAnswer
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.text import counted


def import_(
    source: Annotated[
        str,
        typer.Argument(help="A published links.parquet or qr_codes.parquet, or links by hand."),
    ],
    unique_key: Annotated[
        list[str] | None,
        typer.Option("--unique-key", help="Key column of links made by hand; repeatable."),
    ] = None,
    link_set: Annotated[
        str | None, typer.Option("--link-set", help="The set that links made by hand belong to.")
    ] = None,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Take over links that exist already, or rebuild a ledger from published tables."""
    from incarts_pipeline.maintenance.import_links import import_links

    settings = settings_for(ledger, target)
    found = import_links(source, settings, link_set=link_set, unique_key=tuple(unique_key or ()))
    if as_json:
        screen.tell_json(
            ImportAnswer(links=found.links, known=found.known, needs_review=found.needs_review)
        )
        return
    screen.say(
        f"{counted(found.links, 'link')} taken over into {settings.ledger}, {found.known:,} known"
    )
    if found.needs_review:
        screen.say(
            f"{counted(found.needs_review, 'was', 'were')} in doubt: see `incarts review list`"
        )
