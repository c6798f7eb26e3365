"""Commands `incarts ledger backup`, `restore`, `check` and `move`: the ledger, safely."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.ledger_answers import (
    BackupAnswer,
    LedgerCheckAnswer,
    MoveAnswer,
    RestoreAnswer,
)
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.text import counted

app = typer.Typer(
    help="Back the ledger up, put a backup in its place, check it, and move it elsewhere.",
    no_args_is_help=True,
)


@app.command()
def backup(
    destination: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Copy the ledger to a new file, also while something runs, and check the copy."""
    from incarts_pipeline.maintenance import backup_ledger

    made = backup_ledger(destination, settings_for(ledger, target))
    if as_json:
        screen.tell_json(BackupAnswer(file=str(made.file), rows=made.rows))
        return
    screen.say(f"{counted(made.links, 'link')} \u2192 {made.file}")


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="A backup, or a file that a run has rescued.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Put a backup in the ledger's place; what was sent since it was made is held."""
    from incarts_pipeline.maintenance import restore_ledger

    settings = settings_for(ledger, target)
    if not yes and sys.stdin.isatty():
        screen.confirm(
            f"Put {backup} in the place of {settings.ledger}?", otherwise="Nothing was changed."
        )
    found = restore_ledger(backup, settings)
    if as_json:
        told = RestoreAnswer(
            file=str(found.ledger.file),
            rows=found.ledger.rows,
            held=found.held,
            moved_aside=str(found.moved_aside) if found.moved_aside else None,
        )
        screen.tell_json(told)
        return
    screen.say(f"{counted(found.ledger.links, 'link')} in {found.ledger.file}")
    if found.moved_aside:
        screen.say(f"what was there is now {found.moved_aside}")
    if found.held:
        screen.say(
            f"{counted(found.held, 'key was', 'keys were')} sent since the backup was made: take "
            "over what was published with `incarts import links.parquet`. The rest is held as in "
            "doubt, for `incarts review`."
        )


@app.command()
def check(ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False) -> None:
    """Check the file, that each row has its link, and each body its hash; exit 1 if not."""
    from incarts_pipeline.maintenance import check_ledger

    settings = settings_for(ledger, target)
    found = check_ledger(settings)
    if as_json:
        screen.tell_json(LedgerCheckAnswer(ok=not found, damage=found))
    else:
        for line in found or [f"{settings.ledger} is intact"]:
            screen.say(line)
    raise typer.Exit(1 if found else 0)


@app.command()
def move(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The ledger: a file, or a database's URI.")
    ],
    destination: Annotated[
        str, typer.Argument(metavar="TO", help="Where it goes; nothing may be there yet.")
    ],
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Give up a move that has not ended: it stays at FROM."),
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Move the ledger between a file and a database; from then on the old one is refused."""
    from incarts_pipeline.maintenance import cancel_move, move_ledger

    if cancel:
        place = cancel_move(source, destination)
        told = MoveAnswer(ledger=place, rows=None)
        line = f"the move was given up: the ledger is {place}"
    else:
        moved = move_ledger(source, destination)
        told = MoveAnswer(ledger=moved.place, rows=moved.rows)
        line = (
            f"{counted(moved.links, 'link')} \u2192 {moved.place}. Set INCARTS_LEDGER to it; the "
            "old one is refused from now on."
        )
    if as_json:
        screen.tell_json(told)
    else:
        screen.say(line)
