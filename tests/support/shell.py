"""The shell as tests call it."""

from __future__ import annotations

import io
from collections.abc import Callable

Shell = Callable[..., tuple[int, str, str]]


def answering(text: str) -> io.StringIO:
    """Return a terminal where somebody has typed this."""
    terminal = io.StringIO(text)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    return terminal
