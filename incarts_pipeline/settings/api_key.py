"""API key among the settings: what can be one, by which names it goes, and where none belongs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from incarts_pipeline.outgoing import SHORTEST, SecretKey, SecretText, fingerprint, holds_secret


def key_fingerprint(api_key: SecretStr) -> str:
    """Return a short id of an API key, from which the key can't be found: 12 hex digits."""
    return fingerprint(api_key.get_secret_value())


def checked_key(value: SecretStr) -> SecretKey:
    """Return an API key that can be sent, and is seen nowhere from now on.

    Raises:
        ValueError: it isn't one word that fits into a header, or too short to be told from other
            words; the key is not in the message.
    """
    key = SecretText(value.get_secret_value())
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("the API key must be one word of ASCII characters, and not empty")
    if len(key) < SHORTEST:
        raise ValueError(
            f"the API key must have {SHORTEST} characters or more: a shorter one can't be told "
            "from other words, and so not be kept out of messages"
        )
    return SecretKey(key)


def stripped_key(value: SecretStr) -> SecretKey:
    """Return the same for a key with white space around it, as in a file; raises as that does."""
    return checked_key(SecretStr(SecretText(value.get_secret_value()).strip()))


def no_key(value: object) -> object:
    """Refuse what looks like a key where none belongs: it would be shown, sent or stored."""
    if isinstance(value, str | Path) and holds_secret(str(value)):
        raise ValueError("has an API key in it, or another secret, which only INCARTS_API_KEY may")
    return value


def hidden_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    """Keep keys out of the frames of a traceback that shows local variables."""
    masked = dict(table)
    for name, value in table.items():
        if is_key(name) and value is not None and not isinstance(value, SecretStr):
            masked[name] = SecretStr(SecretText(value) if isinstance(value, str) else "")
        elif isinstance(value, dict):
            masked[name] = hidden_keys(value)
    return masked


def is_key(name: str) -> bool:
    """Say whether a name, however it is spelled, is the API key's."""
    return name.lower().replace("-", "_").removeprefix("incarts_") in ("api_key", "apikey")
