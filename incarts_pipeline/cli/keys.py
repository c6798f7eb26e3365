"""Commands `incarts keys …`: pairs of keys that plans are signed with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from incarts_pipeline.cli import screen

app = typer.Typer(help="Keys that plans are signed with.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keys that plans are signed with."""


@app.command()
def new(
    file: Annotated[
        Path, typer.Argument(help="The private key's file; the public one is FILE.pub.")
    ],
) -> None:
    """Make a pair of ed25519 keys: one signs plans, the other checks them."""
    from incarts_pipeline.plan import new_keys

    line = new_keys(file)
    screen.say(f"{file}: the private key, for whoever approves plans alone")
    screen.say(f"{file}.pub: the public key, for --require-signature: {line}")
