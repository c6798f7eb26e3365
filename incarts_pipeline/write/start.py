"""Start of a run: the client, the journal and the throttle that it works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import sqlalchemy as sa

from incarts_pipeline.api import client_of
from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger import (
    Journal,
    clock_of,
    load_rate,
    new_run_id,
    replay_rule,
)
from incarts_pipeline.outgoing import records_of_run
from incarts_pipeline.plan import Plan
from incarts_pipeline.settings import CallSettings, ClientSettings, key_fingerprint
from incarts_pipeline.sync import Stop
from incarts_pipeline.telemetry import answers_heard
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.options import WorkOptions, WriteOptions
from incarts_pipeline.write.result import WriteResult, lines_of, telling_unrecorded
from incarts_pipeline.write.run import Writer
from incarts_pipeline.write.send import Sender
from incarts_pipeline.write.throttle import open_throttle
from incarts_pipeline.write.work import Worker, WorkResult


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
    run_id, most = new_run_id(), options.max_in_flight or settings.max_in_flight
    begun = _sending(settings, engine, [*set_ids.values()], run_id, most, metrics, stop, clock)
    async with begun as sender:
        return await Writer(plan, sender, set_ids, run_id, options).run()


async def work_off(
    settings: CallSettings,
    engine: sa.Engine,
    options: WorkOptions,
    metrics: RunMetrics,
    stop: Stop,
    clock: Clock | None,
) -> WorkResult:
    """Carry out what is enqueued for the settings' project; raises as `Worker.run` does."""
    run_id, most = new_run_id(), options.max_in_flight or settings.max_in_flight
    set_ids: list[int] = []
    async with _sending(settings, engine, set_ids, run_id, most, metrics, stop, clock) as sender:
        return await Worker(
            project_id=settings.project_id,
            sender=sender,
            set_ids=set_ids,
            run_id=run_id,
            options=options,
        ).run()


@asynccontextmanager
async def _sending(
    settings: ClientSettings,
    engine: sa.Engine,
    set_ids: list[int],
    run_id: str,
    most: int | None,
    metrics: RunMetrics,
    stop: Stop,
    clock: Clock | None,
) -> AsyncIterator[Sender]:
    """Yield what a run sends with, `most` requests at once; `set_ids` is what it claims of."""
    with engine.begin() as connection:
        learned = load_rate(connection, key_fingerprint(settings.api_key))
    metrics.heard = answers_heard()
    clock = clock_of(settings.ledger, clock or Clock())
    journal = Journal(engine, settings.ledger, run_id, set_ids)
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
                yield Sender(
                    client=client,
                    journal=journal,
                    throttle=throttle,
                    rule=replay_rule(settings, clock.error),
                )
        finally:
            # Nothing may be published from whatever is in the ledger's place by now.
            if journal.lost is not None:
                raise journal.lost
