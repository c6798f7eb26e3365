"""Screen of the shell: whatever a command prints passes here, for people or as JSON.

No text is read as markup, none is obeyed by the terminal, and none shows a secret. A line stays one
line, whatever is in the values that it quotes; a terminal that is too narrow for it gets the rest
below, indented. What the encoding of an output lacks has a stand-in.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

import click
import typer
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from incarts_pipeline.outgoing import fit, fitting, safe_content, shown
from incarts_pipeline.text import each_part

Part = str | tuple[str, str]  # a text, or a text and its style

_LEAST = 20  # columns: below that, lines are left to the terminal


def prepare() -> None:
    """Let both outputs write stand-ins for what their encodings lack; once, before all else."""
    fit(sys.stdout)
    fit(sys.stderr)


def say(*parts: Part, err: bool = False) -> None:
    """Print one line, on standard error if `err`."""
    to, line = console(err=err), _text(parts, err=err)
    for piece in _hung(line, to) if to.is_terminal else [line]:
        to.print(piece, soft_wrap=True)


def say_whole(*parts: Part, err: bool = False) -> None:
    """Print one line that somebody may copy: in one piece, however narrow the terminal is."""
    console(err=err).print(_text(parts, err=err), soft_wrap=True)


def say_lines(text: str, *, label: Part | None = None, err: bool = False) -> None:
    """Print a message; line breaks between its parts are the only ones (see `text.each_part`)."""
    first, *others = str(each_part(text, shown)).split("\n")
    say(*([label, " "] if label else []), first, err=err)
    for line in others:
        say(line, err=err)


def tell_json(content: object) -> None:
    """Print one JSON object on standard output: an answer, with its times as ISO 8601."""
    sys.stdout.write(json.dumps(safe_content(_plain(content))) + "\n")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, dt.date) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table: its title, its columns, of which `right` have their cells at the right, its rows."""

    title: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Part]]
    right: Collection[str] = ()

    def drawn(self, *, err: bool) -> Table:
        """Return it as Rich draws it on an output."""
        table = Table(title=_text([self.title], err=err))
        for name in self.columns:
            # Folded, since what is cut off is what somebody looks for.
            table.add_column(
                _text([name], err=err),
                justify="right" if name in self.right else "left",
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(_text([cell], err=err) for cell in row))
        return table


Drawn = Sequence[Sheet | str]


def tell_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Part]],
    *,
    right: Collection[str] = (),
    err: bool = False,
) -> None:
    """Print a table, on standard error if `err`; the rest is as in `Sheet`."""
    sheet = Sheet(title=title, columns=columns, rows=rows, right=right)
    console(err=err).print(sheet.drawn(err=err))


def is_watched() -> bool:
    """Say whether standard output is a terminal, where a picture may be drawn anew."""
    return console(err=False).is_terminal


@contextmanager
def live(first: Drawn) -> Iterator[Callable[[Callable[[], Drawn]], float]]:
    """Draw on standard output until Ctrl-C, which ends it well.

    Yields what draws anew, and returns the seconds that it took to find out what to draw.
    """
    from rich.live import Live  # no other command draws anew

    def picture(drawn: Drawn) -> Group:
        return Group(
            *(
                one.drawn(err=False) if isinstance(one, Sheet) else _text([one], err=False)
                for one in drawn
            )
        )

    def show(look: Callable[[], Drawn]) -> float:
        began = time.monotonic()
        drawn = look()
        took = time.monotonic() - began
        picture_of.update(picture(drawn), refresh=True)
        return took

    with (
        suppress(KeyboardInterrupt),
        Live(picture(first), console=console(err=False), auto_refresh=False) as picture_of,
    ):
        yield show


def asks(question: str) -> bool:
    """Ask on standard error; raises `typer.Abort` when nobody answers."""
    return typer.confirm(_fitting(question), err=True)


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
        _fitting(question), default=shown(default), show_default=show_default, err=True
    )
    return said


def console(*, err: bool) -> Console:
    """Return a terminal for what is drawn, like a progress bar; it reads no markup."""
    return Console(stderr=err, markup=False, highlight=False, emoji=False)


def choose(question: str, choices: Sequence[str]) -> str:
    """Ask for one of several, the first unless said otherwise; raises as `prompt` does."""
    offered = {_fitting(choice): choice for choice in choices}
    chosen: str = typer.prompt(
        _fitting(question), type=click.Choice(list(offered)), default=next(iter(offered)), err=True
    )
    return offered[chosen]


def plain(content: Any, *, for_screen: bool) -> str:
    """Return content as readable JSON; only a screen may lack characters of other scripts."""
    lacks = for_screen and not _encoding(err=False).startswith("utf")
    return json.dumps(content, indent=2, ensure_ascii=lacks)


def _encoding(*, err: bool) -> str:
    return ((sys.stderr if err else sys.stdout).encoding or "utf-8").lower()


def _fitting(text: str) -> str:
    """Return a text as standard error can show it; Click would write what it lacks as UTF-8."""
    return fitting(shown(text), _encoding(err=True))


def _text(parts: Iterable[Part], *, err: bool) -> Text:
    encoding = _encoding(err=err)
    styled = (part if isinstance(part, tuple) else (part, "") for part in parts)
    # Before anything is measured: a stand-in may be longer than its sign.
    return Text.assemble(*((fitting(shown(text), encoding), style) for text, style in styled))


def _breaks(text: str, room: int) -> list[int]:
    """Return where lines of at most so many columns begin; a word is never broken."""
    found, start = [], 0
    for word in re.finditer(r"\S+", text):
        if word.start() > start and cell_len(text[start : word.end()]) > room:
            start = word.start()
            found.append(start)
    return found


_QUOTED = re.compile("`[^`]*`")
_KEPT_BLANK = "\ue000"  # a blank within backquotes, while lines are broken


def _hung(line: Text, to: Console) -> list[Text]:
    """Return a line as lines that fit, those below the first indented by two more blanks."""
    if line.cell_len <= to.width:
        return [line]
    blanks = len(line.plain) - len(line.plain.lstrip(" "))
    room = to.width - blanks - 2
    if room < _LEAST:
        return [line]
    body = line[blanks:]
    # What is in backquotes is copied, so it stays in one line if it can.
    body.plain = _QUOTED.sub(
        lambda one: one[0].replace(" ", _KEPT_BLANK) if len(one[0]) <= room else one[0], body.plain
    )
    pieces = body.divide(_breaks(body.plain, room))
    for piece in pieces:
        piece.plain = piece.plain.rstrip().replace(_KEPT_BLANK, " ")
    first, *others = pieces
    indent = " " * blanks
    return [Text(indent) + first, *(Text(f"{indent}  ") + piece for piece in others)]
