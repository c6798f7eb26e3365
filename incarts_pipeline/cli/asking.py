"""Questions before something is done, and what a no means."""

from __future__ import annotations

import typer


def confirm(question: str, *, otherwise: str) -> None:
    """Ask on standard error; a no, or Ctrl-C, says what has not been done and ends with exit 1."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)  # the cursor stands behind the question
        agreed = False
    if not agreed:
        typer.echo(otherwise, err=True)
        raise typer.Exit(1)
