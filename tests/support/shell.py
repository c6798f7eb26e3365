"""The shell as tests call it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import click

Shell = Callable[..., tuple[int, str, str]]


def answering(text: str) -> io.StringIO:
    """Return a terminal where somebody has typed this."""
    terminal = io.StringIO(text)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    return terminal


def commands_of(group: click.Group) -> Mapping[str, click.Command]:
    """Return a group's commands with all their options, by name."""
    context = click.Context(group)
    found = {name: group.resolve_command(context, [name])[1] for name in group.commands}
    return {name: command for name, command in found.items() if command is not None}
