"""Status of a ledger: what it holds, and asking its runs to stop."""

from __future__ import annotations

from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger import (
    LivingRun,
    Overview,
    Process,
    clock_of,
    existing_ledger,
    once,
    request_stop,
    waits_at,
)
from incarts_pipeline.ledger.overview import overview
from incarts_pipeline.settings import Settings, load_settings


def ledger_overview(settings: Settings | None = None) -> Overview:
    """Count what the ledger holds, and check that it is intact; `print` tells it in lines.

    The settings are those of the environment and incarts.toml, unless others are given.

    Raises:
        LedgerError: there is no ledger, or it can't be read.
    """
    settings = settings or load_settings()
    view, clock = existing_ledger(settings), clock_of(settings.ledger, Clock())
    waiting = {key: str(wait) for key, wait in waits_at(settings.ledger, clock).items()}
    return view.read(lambda connection: overview(connection, view.facts, clock.now(), waiting))


def stop_runs(settings: Settings | None = None) -> dict[str, LivingRun]:
    """Ask running processes to finish what is in flight, publish, and end; return them by id.

    The settings are those of the environment and incarts.toml, unless others are given.

    Raises:
        LedgerError: there is no ledger, or it can't be written.
    """
    place = existing_ledger(settings or load_settings()).file
    now = clock_of(place, Clock()).now()
    with once(place) as connection:
        return request_stop(connection, Process.current(), now)
