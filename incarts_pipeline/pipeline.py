"""The five stages composed: catalog → prepare → plan → write → publish."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from collections.abc import Mapping as Dict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.access import client_of, replay_rule
from incarts_pipeline.catalog import Catalog, open_catalog
from incarts_pipeline.circuits import Circuits
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import MappingError, PublishError, RefusedError
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.gate import Gate, Stop
from incarts_pipeline.in_flight import InFlight
from incarts_pipeline.ledger.file import prepare_file, transaction
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.lookups import ensure_sets, next_sequence
from incarts_pipeline.ledger.pace import PaceFile, pace_name
from incarts_pipeline.ledger.pointers import join_partition
from incarts_pipeline.ledger.rates import load_rate
from incarts_pipeline.ledger.snapshot import History
from incarts_pipeline.ledger.states import ReplayRule
from incarts_pipeline.ledger.view import LedgerView
from incarts_pipeline.mapping import Mapping, default_mapping, load_mapping
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.ownership import check_output
from incarts_pipeline.pacing.controller import RateController
from incarts_pipeline.pacing.expected import ExpectedPace, expected_pace
from incarts_pipeline.pacing.fixed import TokenBucket
from incarts_pipeline.pacing.learned import Learned
from incarts_pipeline.pacing.pacer import Pacer
from incarts_pipeline.pacing.shared import Shared
from incarts_pipeline.pacing.slots import Slots
from incarts_pipeline.partition import Chosen, Partition
from incarts_pipeline.plan import Plan, PlanFigures, PlanOptions, make_plan
from incarts_pipeline.prepare import prepare
from incarts_pipeline.publish import LeftOver, Output, Published, publish
from incarts_pipeline.schemas import link_request_schema
from incarts_pipeline.sender import Sender
from incarts_pipeline.settings import Settings, key_fingerprint
from incarts_pipeline.shared_rate import SharedRate
from incarts_pipeline.tally import Tally
from incarts_pipeline.writer import (
    WriteOptions,
    Writer,
    WriteResult,
    new_run_id,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What to plan: any catalog, its mapping, and how careful to be.

    `catalog` is whatever `catalog.open_catalog` takes; `mapping` a Mapping, a dict, YAML text or a
    path, None for a catalog whose columns carry the fields' own names (then `unique_key` and
    `link_set` say what the rows are). With `partition` only those rows are looked at, and guards,
    counts and missing rows are the partition's own.
    """

    catalog: object
    mapping: Mapping | Dict[str, object] | str | Path | None = None
    link_set: str | None = None
    unique_key: Sequence[str] = ()
    catalog_format: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    retry_rejected: bool = False
    refuse_over: int | None = None
    allow_empty: bool = False
    partition: Partition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run came out; `approved` is the digest that let a refused plan through.

    `project_id` is the project that the links were asked for, as settings and plan had it.
    """

    figures: PlanFigures
    written: WriteResult
    published: Published
    seconds: float
    ledger: Path | None = None
    approved: str | None = None
    project_id: str

    def exit_code(self, fail_on: Sequence[Status] = (Status.IN_DOUBT,)) -> int:
        """Return the shell's exit code: 0 settled, 1 nothing made, 3 `fail_on`, 4 pending."""
        counts = self.published.by_status
        failed = self.written.end is not None or (self.written.forbidden and counts[Status.PENDING])
        if failed and not self.written.accepted:
            return 1
        if failed or counts[Status.PENDING] or self.written.unrecorded:
            return 4
        return 3 if any(counts[status] for status in fail_on) else 0


def plan_catalog(request: PlanRequest, settings: Settings, *, clock: Clock | None = None) -> Plan:
    """Read the catalog, prepare its link requests and plan them against the ledger; sends nothing.

    Raises:
        CatalogError: the catalog can't be read.
        MappingError: the mapping doesn't fit.
        SettingsError: the project id is missing.
        LedgerError: the ledger can't be read, or belongs to another base URL.
    """
    settings.require("project_id")
    catalog = open_catalog(
        request.catalog,
        format=request.catalog_format,
        encoding=request.encoding,
        delimiter=request.delimiter,
    )
    mapping = _mapping(request, catalog)
    mapping.check(catalog.schema)
    ledger = LedgerView(Path(settings.ledger), base_url=settings.base_url)
    rule = replay_rule(settings)
    options = PlanOptions(
        project_id=settings.project_id or "",
        link_sets=tuple(mapping.link_sets()),
        on_change=mapping.on_change.as_policies(),
        rule=rule,
        retry_rejected=request.retry_rejected,
        scopes=settings.scopes,
        refuse_over=request.refuse_over,
        allow_empty=request.allow_empty,
        pace=pace_of(settings, ledger, rule),
        partition=request.partition.value if request.partition else None,
    )
    chosen = Chosen(request.partition, catalog.schema, mapping)
    requests = prepare(
        chosen.of(catalog.batches()),
        mapping,
        schema=catalog.schema,
        project_id=options.project_id,
        limits=settings.limits,
    )
    plan = make_plan(
        link_request_schema(mapping.key_fields(catalog.schema)),
        chosen.renumbered(requests),
        ledger=ledger,
        options=options,
        now=(clock or Clock()).now(),
    )
    plan.chosen = chosen
    return plan


def refuse(figures: PlanFigures, approve: str | None) -> None:
    """Let a plan through, or say why not.

    Raises:
        RefusedError: a guard stands against it, and `approve` is not its digest.
    """
    standing = [r for r in figures.refusals if not (r.approvable and approve == figures.digest)]
    if not standing:
        return
    approvable = all(refusal.approvable for refusal in standing)
    how = f" Approve exactly this plan with --approve {figures.digest}." if approvable else ""
    raise RefusedError(
        "\n".join(refusal.message for refusal in standing),
        fix=" ".join(refusal.fix for refusal in standing) + how,
        guard=standing[0].guard,
        digest=figures.digest if approvable else None,
    )


async def apply_plan(
    plan: Plan,
    settings: Settings,
    output: str | Path,
    *,
    options: WriteOptions | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Carry a plan out and publish the result.

    Raises:
        RefusedError: a guard stands against the plan, or the output isn't this plan's.
        SettingsError: the base URL or the key is missing.
        LedgerError: the ledger can't be used; nothing was sent.
        PublishError: links.parquet can't be written; what was answered is in the ledger.
    """
    began = time.monotonic()
    options = options or WriteOptions()
    refuse(plan.figures, options.approved)
    settings.require("base_url", "api_key")
    ledger, target = Path(settings.ledger), Output(links=str(output))
    project = plan.options.project_id
    view = LedgerView(ledger, base_url=settings.base_url)
    check_output(target, view, project, plan.options.link_sets)
    engine = prepare_file(ledger, settings.base_url or "")
    try:
        with transaction(engine, ledger) as connection:
            set_ids = ensure_sets(
                connection, project, plan.options.link_sets, [f.name for f in plan.stage.key_fields]
            )
            sequence = next_sequence(connection)
            for rows in plan.moved_rows(set_ids):
                join_partition(connection, rows, plan.options.partition or "")
        figures = plan.figures
        written = await carry_out(
            plan, settings, engine, set_ids, options, tally or Tally(), stop or Stop(), clock
        )
    finally:
        engine.dispose()
    passing(Place.BEFORE_PUBLISH)
    try:
        published = await asyncio.to_thread(
            _publish, plan, target, ledger, set_ids, sequence, written, options
        )
    except PublishError as error:
        raise with_unrecorded(error, written) from error
    return RunResult(
        figures=figures,
        written=written,
        published=published,
        seconds=time.monotonic() - began,
        ledger=ledger,
        approved=options.approved,
        project_id=project,
    )


def _publish(
    plan: Plan,
    target: Output,
    ledger: Path,
    set_ids: Dict[str, int],
    sequence: int,
    written: WriteResult,
    options: WriteOptions,
) -> Published:
    """Write the output from the ledger as it is now."""
    partition = plan.options.partition
    facts = {
        "ledger_id": LedgerView(ledger).ledger_id,
        "ledger_sequence": str(sequence),
        "link_sets": " ".join(set_ids),
        "project_id": plan.options.project_id,
        "run_id": written.run_id,
        "key_columns": json.dumps([field.name for field in plan.stage.key_fields]),
        **({"partition": partition} if partition is not None else {}),
    }
    return publish(
        plan.stage,
        target,
        ledger=ledger,
        history=History(set_ids=set_ids, partition=partition),
        left=left_over(written, options),
        facts=facts,
    )


def with_unrecorded(error: PublishError, written: WriteResult) -> PublishError:
    """Say beside a failed output which answers are not in the ledger either."""
    if not written.unrecorded:
        return error
    lost = "\n".join(f"  {one}" for one in written.unrecorded)
    return PublishError(
        f"{error.message} These answers could not be recorded in the ledger:\n{lost}\n",
        fix="Keep this message. Make room, and run again: they are settled under their own keys.",
    )


async def carry_out(
    plan: Plan,
    settings: Settings,
    engine: sa.Engine,
    set_ids: Dict[str, int],
    options: WriteOptions,
    tally: Tally,
    stop: Stop,
    clock: Clock | None,
) -> WriteResult:
    """Make what a plan calls for, and record it; raises as `Writer.run` does."""
    with engine.begin() as connection:
        learned = load_rate(connection, key_fingerprint(settings.require_key()))
    run_id = new_run_id()
    clock = clock or Clock()
    most = options.max_in_flight or settings.max_in_flight
    async with (
        client_of(settings, connections=most) as client,
        Journal(engine, Path(settings.ledger), run_id) as journal,
        pacing(settings, run_id, learned, clock) as rate,
    ):
        gate = Gate(
            rate=rate,
            circuits=Circuits(),
            clock=clock,
            stop=stop,
            tally=tally,
            in_flight=InFlight(most),
        )
        sender = Sender(client=client, journal=journal, gate=gate, rule=replay_rule(settings))
        return await Writer(plan, sender, set_ids, run_id, options).run()


def pace_of(settings: Settings, ledger: LedgerView, rule: ReplayRule) -> ExpectedPace | None:
    """Return the pace that a plan may count on, None when nobody knows."""
    if settings.rate == "adaptive":
        return expected_pace(settings.max_rps, ledger.learned(rule.api_key_fingerprint))
    number = settings.rate.removeprefix("fixed:")
    return None if number == "none" else ExpectedPace(float(number), float(number))


@asynccontextmanager
async def pacing(
    settings: Settings, run_id: str, learned: Learned | None, clock: Clock
) -> AsyncIterator[Pacer]:
    """Yield what says when to send; every run of the same key and ledger shares it."""
    fixed = settings.rate.removeprefix("fixed:") if settings.rate != "adaptive" else None
    if fixed == "none":
        yield TokenBucket(None)
        return
    ceiling = settings.max_rps if fixed is None else float(fixed)

    def fresh() -> Shared:
        return Shared(RateController(ceiling, learned) if fixed is None else TokenBucket(ceiling))

    name = pace_name(key_fingerprint(settings.require_key()), fixed=fixed is not None)
    file = PaceFile(Path(settings.ledger), name, fresh, clock)
    async with SharedRate(file, Slots(run_id, ceiling, learned), clock) as rate:
        yield rate


def left_over(written: WriteResult, options: WriteOptions) -> LeftOver:
    """Say why what a run did not try is pending."""
    circuit = written.end is not None
    return LeftOver(
        reason=Reason.CIRCUIT_OPEN if circuit else written.stopped or Reason.STOPPED,
        rows=[
            *((row, Reason.CLAIMED_ELSEWHERE) for row in written.busy),
            *((row, Reason.CHANGED_ELSEWHERE) for row in written.moved),
        ],
        closed=list(written.forbidden),
        limit=options.limit,
    )


def _mapping(request: PlanRequest, catalog: Catalog) -> Mapping:
    if request.mapping is not None:
        mapping = load_mapping(request.mapping)
        if request.link_set is not None:
            mapping = mapping.model_copy(update={"link_set": request.link_set})
        return mapping
    if not request.unique_key or request.link_set is None:
        raise MappingError(
            "Without a mapping, the pipeline must be told what a row is.",
            fix="Give --unique-key COLUMN and --link-set NAME, or --mapping FILE.",
        )
    return default_mapping(
        catalog.schema, unique_key=list(request.unique_key), link_set=request.link_set
    )
