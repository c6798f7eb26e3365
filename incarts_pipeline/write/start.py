"""Start of a run: the client, the journal and the throttle that its writer works with."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from incarts_pipeline.api import client_of
from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger import (
    Journal,
    load_rate,
    new_run_id,
    replay_rule,
)
from incarts_pipeline.outgoing import records_of_run
from incarts_pipeline.plan import Plan
from incarts_pipeline.settings import ClientSettings, key_fingerprint
from incarts_pipeline.sync import Stop
from incarts_pipeline.telemetry import answers_heard
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.options import WriteOptions
from incarts_pipeline.write.result import WriteResult, lines_of, telling_unrecorded
from incarts_pipeline.write.run import Writer
from incarts_pipeline.write.send import Sender
from incarts_pipeline.write.throttle import open_throttle


async def carry_out(
    plan: Plan,
    settings: ClientSettings,
    engine: sa.Engine,
    set_ids: Mapping[str, int],
    options: WriteOptions,
    metrics: RunMetrics,
    stop: Stop,
    clock: Clock | None,
) -> WriteResult:
    """Make what a plan calls for, and record it; raises as `Writer.run` does."""
    with engine.begin() as connection:
        learned = load_rate(connection, key_fingerprint(settings.api_key))
    run_id = new_run_id()
    metrics.heard = answers_heard()
    clock = clock or Clock()
    most = options.max_in_flight or settings.max_in_flight
    journal = Journal(engine, settings.ledger, run_id)
    told = telling_unrecorded(lambda: lines_of(journal.unrecorded))
    with records_of_run(run_id), told:
        try:
            async with (
                client_of(settings, connections=most) as client,
                journal,
                open_throttle(
                    settings, run_id, learned, most=most, clock=clock, stop=stop, metrics=metrics
                ) as throttle,
            ):
                sender = Sender(
                    client=client, journal=journal, throttle=throttle, rule=replay_rule(settings)
                )
                return await Writer(plan, sender, set_ids, run_id, options).run()
        finally:
            # Nothing may be published from whatever is in the ledger's place by now.
            if journal.lost is not None:
                raise journal.lost
