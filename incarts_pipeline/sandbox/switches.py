"""Switches as people choose them: name, what it takes, default and meaning."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from incarts_pipeline.sandbox.config import SandboxConfig

_MEANING = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A field of `SandboxConfig`; `default` is JSON."""

    name: str
    default: str
    meaning: str


def switches() -> list[Switch]:
    """Return all switches, as `SandboxConfig` documents them."""
    said = {name: " ".join(text.split()) for name, text in _documented().items()}
    return [
        Switch(
            name=name,
            default=json.dumps(_plain(getattr(SandboxConfig(), name))),
            meaning=said.get(name, "") + _choices(field.annotation),
        )
        for name, field in SandboxConfig.model_fields.items()
    ]


def _documented() -> dict[str, str]:
    return dict(_MEANING.findall(inspect.cleandoc(SandboxConfig.__doc__ or "")))


def _choices(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return f" One of {', '.join(one.value for one in annotation)}."
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | tuple):
        return sorted(map(_plain, value), key=str)
    if hasattr(value, "model_dump"):
        # Only what was asked for: the defaults of a key or a limit are the switches' own.
        return {name: _plain(one) for name, one in value.model_dump().items() if one}
    return value
