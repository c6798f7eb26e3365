"""What the settings give to whoever talks to Incarts: the client, and what it may send again."""

from __future__ import annotations

from incarts_pipeline.client import IncartsClient
from incarts_pipeline.in_flight import MOST
from incarts_pipeline.ledger.states import ReplayRule
from incarts_pipeline.settings import Settings, key_fingerprint


def client_of(settings: Settings, *, connections: int | None = None) -> IncartsClient:
    """Return a client with the settings' key, which keeps up to `connections` open at once.

    Raises:
        SettingsError: the base URL or the key is missing, or can't be used.
    """
    settings.require("base_url", "api_key")
    return IncartsClient(
        base_url=settings.base_url or "",
        api_key=settings.require_key(),
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_connections=connections or settings.max_in_flight or MOST,
    )


def replay_rule(settings: Settings) -> ReplayRule:
    """Return when what is in doubt may be sent again by a client with the settings' key.

    Whoever sends takes it from the settings that it sends with: a plan may have been made with
    other ones, or without a key.
    """
    key = settings.api_key
    return ReplayRule(
        window=settings.idempotency_window,
        api_key_fingerprint=key_fingerprint(key) if key else None,
    )
