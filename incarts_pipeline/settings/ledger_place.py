"""Place of the ledger: a file, or a PostgreSQL database, where what was sent is remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from incarts_pipeline.outgoing import keep_credentials, keep_secret

_SCHEMES = ("postgresql://", "postgres://")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SECRET = ("password", "sslpassword")  # of libpq's options
_PAUSE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlace:
    """A ledger in a PostgreSQL database.

    Attributes:
        uri: of the database, as libpq has it; with its password, so it is never shown.
        name: tells several ledgers in one database apart; empty for the only one.
        pause: the seconds for which a run waits for a database that is gone.
    """

    uri: str = field(repr=False)
    name: str = ""
    pause: float = _PAUSE_SECONDS

    @property
    def schema(self) -> str:
        """The schema that has its tables, and nothing else."""
        return f"incarts_{self.name}" if self.name else "incarts"

    def __str__(self) -> str:
        parts = urlsplit(self.uri)
        user, _, hosts = parts.netloc.rpartition("@")
        place = f"{user.partition(':')[0]}@{hosts}" if user else hosts
        shown = urlunsplit((parts.scheme, place, parts.path, "", ""))
        return f"{shown}?ledger={self.name}" if self.name else shown


LedgerPlace: TypeAlias = Path | DatabasePlace


def as_place(given: object) -> object:
    """Return the place that a text or path means; anything else as it is.

    The URI of a database is libpq's, and may have `ledger`, the ledger's name in it, and `pause`,
    in seconds, among its options.

    Raises:
        ValueError: the URI is none.
    """
    text = str(given) if isinstance(given, str | Path) else ""
    if not text.startswith(_SCHEMES):
        if text.startswith(tuple(scheme[:-1] for scheme in _SCHEMES)):
            raise ValueError("is the URI of a database made a path: give it as a text")
        return given
    keep_credentials(text)
    parts = urlsplit(text)
    options = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in options:
        if name in _SECRET:
            keep_secret(unquote(value), passing=True)
    own = {name: value for name, value in options if name in ("ledger", "pause")}
    rest = urlencode([(name, value) for name, value in options if name not in own])
    if not _NAME.fullmatch(own.get("ledger", "x")):
        raise ValueError(
            "has a ledger's name that is none: small letters, digits and _, a letter first"
        )
    return DatabasePlace(
        uri=urlunsplit((parts.scheme, parts.netloc, parts.path, rest, "")),
        name=own.get("ledger", ""),
        pause=float(own.get("pause", _PAUSE_SECONDS)),
    )
