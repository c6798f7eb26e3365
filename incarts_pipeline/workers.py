"""Workers: a plan that one process enqueues, any number carry out, and one publishes.

`pipeline.apply_plan` does all three in one process. What they share is the ledger; so none of them
has to last as long as the others.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import raising_ours
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import (
    COMPLETE,
    FINISHED,
    Process,
    Task,
    clock_of,
    end_run,
    existing_ledger,
    has_open,
    keep_word,
    last_enqueued,
    mark_missing,
    new_run_id,
    prepare_file,
    read_facts,
    start_run,
    transaction,
)
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.plan import Plan, PlanFigures, paths_read, refuse
from incarts_pipeline.run_start import check_plan, facts_of_run, note_sets
from incarts_pipeline.settings import Settings, host_of, trusted_host
from incarts_pipeline.sync import Stop
from incarts_pipeline.telemetry import run_ended, span, traced
from incarts_pipeline.text import counted

if TYPE_CHECKING:
    from incarts_pipeline.write import (
        Enqueued,
        RunMetrics,
        WorkOptions,
        WorkResult,
        WriteOptions,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EnqueueResult:
    """How a plan was enqueued; `approved` is the digest that let a refused one through.

    As text it says what workers have to do, and what they were not left, a line each.
    """

    figures: PlanFigures
    enqueued: Enqueued
    seconds: float
    approved: str | None = None

    def exit_code(self) -> int:
        """Return the shell's exit code: 0 all enqueued, 3 rows need review, 4 enqueue again."""
        if not self.enqueued.is_whole:
            return 4
        return 3 if self.enqueued.in_doubt else 0

    def __repr__(self) -> str:
        found = self.enqueued
        doubts = f", {found.doubts:,} in doubt to settle first" if found.doubts else ""
        lines = [
            f"enqueued: {counted(found.links, 'link')}{doubts}. Make them with `incarts work`."
        ]
        for n, why in (
            (found.behind_doubts, "in doubt with older content: enqueue again once it is settled"),
            (found.in_doubt, "in need of review: see `incarts review list`"),
            (found.busy, "that another run is sending: enqueue again"),
            (found.moved, "that got another link meanwhile: enqueue again"),
        ):
            if n:
                lines.append(f"not enqueued: {counted(n, 'row')} {why}")
        if found.stopped:
            lines.append(f"stopped ({found.stopped.value}): enqueue again to go on")
        return "\n".join(lines)


@raising_ours
@traced("incarts.enqueue")
async def enqueue_plan(
    plan: Plan,
    settings: Settings,
    output: str | Path,
    *,
    options: WriteOptions | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> EnqueueResult:
    """Record what a plan calls for, for workers to carry out; nothing is sent, no key is needed.

    What was enqueued before for the plan's link sets, or partition, and was never sent, is
    withdrawn: the newest plan counts. `output` is where it is to be published. It is not written,
    but what is there may know of links that the ledger has lost, which are not made again.

    Raises:
        RefusedError: as `apply_plan` raises.
        CatalogError: the catalog's files changed after they were planned; nothing was enqueued.
        SettingsError: the base URL is missing.
        LedgerError: it can't be recorded; what was recorded before is enqueued.
    """
    from incarts_pipeline.publish import Output
    from incarts_pipeline.write import Enqueuer, WriteOptions

    began = time.monotonic()
    options, stop = options or WriteOptions(), stop or Stop()
    refuse(plan.figures, options.approved)
    known = settings.for_ledger()
    tables = Output(links=str(output))
    check_plan(plan, known, known.base_url, tables, (*plan.read, *paths_read(settings)))
    engine = prepare_file(known.ledger, known.base_url)
    try:
        with transaction(engine, known.ledger) as connection:
            set_ids, _ = note_sets(plan, connection)
        enqueuer = Enqueuer(
            plan=plan,
            engine=engine,
            ledger=known.ledger,
            set_ids=set_ids,
            options=options,
            stop=stop,
            clock=clock_of(known.ledger, clock or Clock()),
        )
        with stop.within(options.max_duration):
            enqueued = await asyncio.to_thread(enqueuer.go)
    finally:
        engine.dispose()
    return EnqueueResult(
        figures=plan.figures,
        enqueued=enqueued,
        seconds=time.monotonic() - began,
        approved=options.approved,
    )


@raising_ours
@traced("incarts.work")
async def work(
    settings: Settings,
    *,
    options: WorkOptions | None = None,
    metrics: RunMetrics | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> WorkResult:
    """Carry out what is enqueued for the settings' project, beside other workers; publish nothing.

    It ends once nothing is left to do, nor under way elsewhere.

    Raises:
        SettingsError: the base URL, the key or the project id is missing.
        LedgerError: there is no ledger, or it can't be used; nothing was sent.
    """
    from incarts_pipeline.write import RunMetrics, WorkOptions, work_off

    known = settings.for_calls()
    existing_ledger(settings)
    engine = prepare_file(known.ledger, known.base_url)
    try:
        with transaction(engine, known.ledger) as connection:
            keep_word(connection, trusted_host(known.api_key, host_of(known.base_url)))
        result = await work_off(
            known,
            engine,
            options or WorkOptions(),
            metrics or RunMetrics(),
            stop or Stop(),
            clock,
        )
    finally:
        engine.dispose()
    run_ended(
        run_id=result.run_id,
        kind=LINKS.name,
        rows={Status.CREATED.value: result.made, Status.IN_DOUBT.value: result.in_doubt},
        requests=result.requests,
        seconds=result.seconds,
    )
    return result


@raising_ours
@traced("incarts.run")
async def publish_plan(
    plan: Plan,
    settings: Settings,
    output: str | Path,
    *,
    approved: str | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Write the tables of a plan from what the ledger says now; nothing is sent, no key is needed.

    Raises:
        RefusedError, CatalogError: as `apply_plan` raises.
        SettingsError: the base URL is missing.
        LedgerError: there is no ledger, or it can't be read.
        PublishError: a table can't be written; the old one is untouched.
    """
    from incarts_pipeline.publish import Output
    from incarts_pipeline.publish.publish import publish
    from incarts_pipeline.write import LeftOver, WriteResult

    began = time.monotonic()
    refuse(plan.figures, approved)
    known = settings.for_ledger()
    ledger, tables = existing_ledger(settings).file, Output(links=str(output))
    read = (*plan.read, *paths_read(settings))
    owner = check_plan(plan, known, known.base_url, tables, read)
    run_id, now = new_run_id(), clock_of(ledger, clock or Clock()).now()
    engine = prepare_file(ledger, known.base_url)
    try:
        with transaction(engine, ledger) as connection:
            set_ids, sequence = note_sets(plan, connection)
            ledger_id = read_facts(connection)["ledger_id"]
            mark_missing(connection, *plan.missing_changes(set_ids), now)
            me = Process.current()
            start_run(
                connection,
                run_id,
                set_ids,
                me,
                now,
                approved=plan.saved,
                task=Task.PUBLISH,
                partition=plan.options.partition,
            )
            end_run(connection, run_id, _outcome(plan, connection, set_ids.values()), now)
            enqueued_by = last_enqueued(connection, set_ids, plan.options.partition)
        with span("incarts.publish"):
            published = await asyncio.to_thread(
                publish,
                plan,
                tables,
                ledger=ledger,
                set_ids=set_ids,
                left=LeftOver(reason=Reason.NOT_ENQUEUED),
                facts=owner.facts | facts_of_run(plan, ledger_id, sequence, run_id),
                enqueued_by=enqueued_by,
            )
    finally:
        engine.dispose()
    return RunResult(
        figures=plan.figures,
        written=WriteResult(
            run_id=run_id, end=None, stopped=None, forbidden={}, accepted=0, requests=0
        ),
        published=published,
        seconds=time.monotonic() - began,
        ledger=ledger,
        approved=approved,
        project_id=plan.options.project_id,
        read=read,
    )


def _outcome(plan: Plan, connection: sa.Connection, set_ids: Iterable[int]) -> str:
    """Say whether the catalog has all links that it may have."""
    is_whole = not plan.figures.calls
    return COMPLETE if is_whole and not has_open(connection, [*set_ids]) else FINISHED
