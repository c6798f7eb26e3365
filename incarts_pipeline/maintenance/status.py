"""Status of a ledger: what it holds, and asking its runs to stop."""

from __future__ import annotations

from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger import (
    LivingRun,
    Overview,
    Process,
    existing_ledger,
    once,
    request_stop,
)
from incarts_pipeline.ledger.overview import overview
from incarts_pipeline.rate_limit import waiting_now
from incarts_pipeline.settings import Settings, load_settings


def ledger_overview(settings: Settings | None = None) -> Overview:
    """Count what the ledger holds, and check that its file is intact; `print` tells it in lines.

    The settings are those of the environment and incarts.toml, unless others are given.

    Raises:
        LedgerError: there is no ledger, or it can't be read.
    """
    settings = settings or load_settings()
    view, clock = existing_ledger(settings), Clock()
    waiting = {key: str(wait) for key, wait in waiting_now(settings.ledger, clock).items()}
    return view.read(lambda connection: overview(connection, view.facts, clock.now(), waiting))


def stop_runs(settings: Settings | None = None) -> dict[str, LivingRun]:
    """Ask running processes to finish what is in flight, publish, and end; return them by id.

    The settings are those of the environment and incarts.toml, unless others are given.

    Raises:
        LedgerError: there is no ledger, or it can't be written.
    """
    with once(existing_ledger(settings or load_settings()).file) as connection:
        return request_stop(connection, Process.current(), Clock().now())
