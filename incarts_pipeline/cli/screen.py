"""Screen of the shell: whatever a command prints passes here, for people or as JSON.

No text is read as markup, none is obeyed by the terminal, and none shows a secret. A line stays one
line, whatever is in the values that it quotes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from incarts_pipeline.outgoing import safe_content, shown
from incarts_pipeline.text import each_part

Part = str | tuple[str, str]  # a text, or a text and its style


def say(*parts: Part, err: bool = False) -> None:
    """Print one line, on standard error if `err`."""
    console(err=err).print(_text(parts), soft_wrap=True)


def say_lines(text: str, *, label: Part | None = None, err: bool = False) -> None:
    """Print a message; line breaks between its parts are the only ones (see `text.each_part`)."""
    first, *others = str(each_part(text, shown)).split("\n")
    say(*([label, " "] if label else []), first, err=err)
    for line in others:
        say(line, err=err)


def tell_json(content: object) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(safe_content(content)) + "\n")


def tell_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Part]],
    *,
    right: Collection[str] = (),
    folded: Collection[str] = (),
    err: bool = False,
) -> None:
    """Print a table.

    Args:
        title: what it is about.
        columns: their names.
        rows: as many cells as there are columns.
        right: the columns whose cells stand at the right.
        folded: those whose long cells are folded within a word.
        err: whether it goes to standard error.
    """
    table = Table(title=_text([title]))
    for name in columns:
        table.add_column(
            _text([name]),
            justify="right" if name in right else "left",
            overflow="fold" if name in folded else "ellipsis",
        )
    for row in rows:
        table.add_row(*(_text([cell]) for cell in row))
    console(err=err).print(table)


def asks(question: str) -> bool:
    """Ask on standard error; raises `typer.Abort` when nobody answers."""
    return typer.confirm(shown(question), err=True)


def confirm(question: str, *, otherwise: str) -> None:
    """Ask on standard error; a no, or Ctrl-C, says what has not been done and ends with exit 1."""
    try:
        agreed = asks(question)
    except typer.Abort:
        say(err=True)  # the cursor stands behind the question
        agreed = False
    if not agreed:
        say(otherwise, err=True)
        raise typer.Exit(1)


def prompt(question: str, *, default: str, show_default: bool = True) -> str:
    """Ask for a text on standard error; raises `typer.Abort` when nobody answers."""
    said: str = typer.prompt(
        shown(question), default=shown(default), show_default=show_default, err=True
    )
    return said


def console(*, err: bool) -> Console:
    """Return a terminal for what is drawn, like a progress bar; it reads no markup."""
    return Console(stderr=err, markup=False, highlight=False, emoji=False)


def plain(content: Any) -> str:
    """Return content as readable JSON, with the characters of other scripts as they are."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def _text(parts: Iterable[Part]) -> Text:
    styled = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return Text.assemble(*((shown(text), style) for text, style in styled))
