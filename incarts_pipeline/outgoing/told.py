"""Texts as they are told to people, programs and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from incarts_pipeline.outgoing.characters import visible
from incarts_pipeline.outgoing.secrets import without_secrets
from incarts_pipeline.outgoing.uris import without_credentials


def safe(text: str) -> str:
    """Return a text without secrets, in URIs or anywhere else; for programs and files."""
    return without_credentials(without_secrets(text))


def shown(text: object) -> str:
    r"""Return a text as a screen may show it: safe, and one line whose characters all show.

    What would be obeyed or be invisible is shown as what it is: `\x1b`, `\n`, `⟨U+202E⟩`.
    """
    return visible(safe(str(text)))


def shown_lines(text: str) -> str:
    """Return a text of several lines of our own as a screen may show it."""
    return "\n".join(map(visible, safe(text).split("\n")))


def safe_content(value: Any) -> Any:
    """Return what is to be JSON, with all its texts safe."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, Mapping):
        return {safe_content(name): safe_content(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [safe_content(item) for item in value]
    return value
