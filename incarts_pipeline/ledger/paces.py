"""Paces that runs share, beside the ledger that they share."""

from __future__ import annotations

from pathlib import Path

from incarts_pipeline.clock import Clock
from incarts_pipeline.rate_limit import OpenPace, PaceFile, Wait, waiting_now, waits_of
from incarts_pipeline.settings import LedgerPlace


def paces_at(place: LedgerPlace, clock: Clock) -> OpenPace:
    """Return what opens the paces of a ledger; `clock` is that of `clock_of`."""
    if isinstance(place, Path):
        return lambda name, fresh: PaceFile(place, name, fresh, clock)
    from incarts_pipeline.ledger.postgres.pace import PaceRow

    return lambda name, fresh: PaceRow(place, name, fresh, clock)


def waits_at(place: LedgerPlace, clock: Clock) -> dict[str, Wait]:
    """Return what the living processes of each API key wait for, by its fingerprint.

    `clock` is that of `clock_of`.
    """
    if isinstance(place, Path):
        return waiting_now(place, clock)
    from incarts_pipeline.ledger.postgres.pace import states_of

    return waits_of(states_of(place), clock.monotonic())
