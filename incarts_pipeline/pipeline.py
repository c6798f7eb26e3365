"""Pipeline: the five steps composed, catalog → prepare → plan → write → publish."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incarts_pipeline.catalog import Catalog, open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import RefusedError, raising_ours
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.kinds import LINKS, Kind
from incarts_pipeline.ledger import (
    LedgerReader,
    ReplayRule,
    clock_of,
    keep_word,
    prepare_file,
    read_facts,
    replay_rule,
    transaction,
    was_alone,
)
from incarts_pipeline.mapping import Mapping, accepting, check_told, default_mapping, own_columns
from incarts_pipeline.models import Limits, Status
from incarts_pipeline.plan import (
    NamedPath,
    Plan,
    PlanFigures,
    PlanOptions,
    PlanRequest,
    SavedPlan,
    as_saved,
    dead_destinations,
    make_plan,
    paths_read,
    refuse,
)
from incarts_pipeline.prepare import Chosen, DeadDestinations
from incarts_pipeline.prepare.prepare import prepare
from incarts_pipeline.rate_limit import ExpectedPace, expected_pace
from incarts_pipeline.run_start import check_plan, facts_of_run, note_sets
from incarts_pipeline.schemas import link_request_schema
from incarts_pipeline.settings import (
    LedgerPlace,
    PlanSettings,
    Settings,
    host_of,
    trusted_host,
)
from incarts_pipeline.sync import Stop
from incarts_pipeline.telemetry import run_ended, span, traced

if TYPE_CHECKING:
    from incarts_pipeline.publish import Published
    from incarts_pipeline.write import RunMetrics, WriteOptions, WriteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run came out; `approved` is the digest that let a refused plan through.

    `project_id` is the project that the links were asked for, as settings and plan had it; `kind`
    is what was made, `read` what the run was made from.
    """

    figures: PlanFigures
    written: WriteResult
    published: Published
    seconds: float
    ledger: LedgerPlace | None = None
    approved: str | None = None
    project_id: str
    kind: Kind = LINKS
    read: Sequence[NamedPath] = ()

    @property
    def nights_left(self) -> int | None:
        """The nights until all calls are made, if each makes as many as this run was held to.

        None where nothing held it, it makes none, or no pace was known to tell it by.
        """
        if self.figures.nights in (None, 1):
            return None
        return math.ceil(self.written.remaining / self.figures.to_make)

    def exit_code(self, fail_on: Sequence[Status] = (Status.IN_DOUBT,)) -> int:
        """Return the shell's exit code: 0 settled, 1 nothing made, 3 `fail_on`, 4 pending.

        1 says that nothing can have been made, so that a row in doubt makes it 4.
        """
        counts = self.published.by_status
        failed = self.written.end is not None or (self.written.forbidden and counts[Status.PENDING])
        may_be_made = counts[Status.IN_DOUBT] or self.written.unrecorded
        if failed and not self.written.accepted and not may_be_made:
            return 1
        if failed or counts[Status.PENDING] or self.written.unrecorded:
            return 4
        return 3 if any(counts[status] for status in fail_on) else 0


@raising_ours
@traced("incarts.plan")
def plan_catalog(
    request: PlanRequest,
    settings: Settings,
    *,
    clock: Clock | None = None,
    output: str | Path | None = None,
    exact: bool = False,
) -> Plan:
    """Read the catalog, prepare its link requests and plan them against the ledger; sends nothing.

    With an `output` that is a dataset (a folder), only rows that changed since it was published are
    planned, beside the numbers of all others: the plan is equal to the byte. It can be applied to
    that output alone. `exact` plans all rows, whatever is known of them.

    Raises:
        CatalogError: the catalog can't be read.
        MappingError: the mapping doesn't fit.
        SettingsError: the project id is missing.
        LedgerError: the ledger can't be read, or belongs to another base URL.
    """
    known = settings.for_planning()
    catalog, mapping = opened(request, known.limits)
    dead = dead_destinations(mapping)
    ledger = LedgerReader(known.ledger, base_url=known.base_url)
    options = options_of(request, known, mapping, ledger, dead)
    chosen = Chosen(request.partition, catalog.schema, mapping)
    night = None
    if output is not None and request.partition is None and not mapping.first_of_key:
        # Who only plans doesn't wait for what publishes.
        from incarts_pipeline.publish import night_of

        night = night_of(
            str(output), catalog, mapping, chosen, options, known.limits, ledger, exact=exact
        )
    try:
        rows = chosen.of(catalog.batches(), catalog.warnings) if night is None else night.rows()
        plan = make_plan(
            link_request_schema(mapping.key_fields(catalog.schema)),
            prepare(
                rows,
                mapping,
                schema=catalog.schema,
                project_id=options.project_id,
                limits=known.limits,
                dead=dead,
            ),
            catalog=catalog,
            kind=LINKS,
            ledger=ledger,
            options=options,
            now=clock_of(known.ledger, clock or Clock()).now(),
            read=paths_read(
                settings,
                catalog=request.catalog,
                catalog_format=request.catalog_format or mapping.read.format,
                mapping=request.mapping,
                hold_dead=mapping.hold_dead,
            ),
            chosen=chosen,
            quiet=night.quiet(options.link_sets) if night is not None else None,
        )
    except BaseException:
        if night is not None:
            night.close()
        raise
    if night is None:
        return plan
    night.note_unsettled(plan.unsettled_keys())
    return dataclasses.replace(plan, seen=night, output=str(output) if night.is_part else None)


def options_of(
    request: PlanRequest,
    known: PlanSettings,
    mapping: Mapping,
    ledger: LedgerReader,
    dead: DeadDestinations | None,
) -> PlanOptions:
    """Return what a plan depends on beside the catalog and the ledger."""
    rule = replay_rule(known)
    pace, is_learned = pace_of(known, ledger, rule)
    return PlanOptions(
        project_id=known.project_id,
        link_sets=tuple(mapping.link_sets()),
        on_change=mapping.on_change.as_policies(),
        rule=rule,
        base_url=known.base_url,
        mapping=repr(mapping) + (dead.digest if dead else ""),
        retry_rejected=request.retry_rejected,
        scopes=known.scopes,
        refuse_over=request.refuse_over,
        allow_empty=request.allow_empty,
        rekeyed=request.rekeyed,
        accepted=mapping.accept,
        pace=pace,
        is_pace_learned=is_learned,
        partition=request.partition.value if request.partition else None,
    )


def opened(request: PlanRequest, limits: Limits | None = None) -> tuple[Catalog, Mapping]:
    """Open the catalog of a request with a mapping that fits; raises as `plan_catalog` does."""
    limits = limits or Limits()
    given = request.given_mapping(limits)
    catalog = open_catalog(
        request.catalog,
        **request.reading(given),
        max_line_bytes=limits.max_line_bytes,
        max_columns=limits.max_columns,
    )
    mapping = accepting(given or _default_mapping(request, catalog), request.accept)
    by = [request.partition.column or ""] if request.partition else []
    catalog.require([*mapping.columns(), *by])
    mapping.check(catalog.schema)
    return catalog, mapping


@raising_ours
@traced("incarts.run")
async def apply_plan(
    plan: Plan,
    settings: Settings,
    output: str | Path,
    *,
    options: WriteOptions | None = None,
    metrics: RunMetrics | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Carry a plan out and publish the result.

    Raises:
        RefusedError: a guard or a missing signature stands against the plan, the settings are
            another target's, or the output isn't this plan's to write.
        CatalogError: the catalog's files changed after they were planned; nothing was sent.
        SettingsError: the base URL or the key is missing.
        LedgerError: the ledger can't be used; nothing was sent.
        PublishError: the table can't be written; what was answered is in the ledger.
    """
    # Who only plans doesn't wait for what sends and publishes.
    from incarts_pipeline.publish import Output, still_stands
    from incarts_pipeline.publish.publish import publish
    from incarts_pipeline.write import (
        RunMetrics,
        WriteOptions,
        carry_out,
        left_over,
        telling_unrecorded,
    )

    began = time.monotonic()
    options = options or WriteOptions()
    plan = plan.within(options.limit, options.max_duration)
    refuse(plan.figures, options.approved)
    known = settings.for_client()
    ledger, tables = known.ledger, Output(links=str(output))
    if plan.output not in (None, str(output)):
        raise RefusedError(
            f"The plan looks at what changed since {plan.output} was published, and can't be "
            f"published as {output}.",
            fix="Plan it for the output that it goes to.",
            guard="another_target",
        )
    read = (*plan.read, *paths_read(settings))
    owner = check_plan(plan, known, known.base_url, tables, read)
    # What others wrote since a part was planned, it doesn't see; the next night then looks at all.
    sees_all = plan.seen is None or not plan.is_part or still_stands(ledger, tables, plan.seen.base)
    engine = prepare_file(ledger, known.base_url)
    try:
        with transaction(engine, ledger) as connection:
            keep_word(connection, trusted_host(known.api_key, host_of(known.base_url)))
            set_ids, sequence = note_sets(plan, connection)
            ledger_id = read_facts(connection)["ledger_id"]
        with span("incarts.write"):
            written = await carry_out(
                plan,
                known,
                engine,
                set_ids,
                options,
                metrics or RunMetrics(),
                stop or Stop(),
                clock,
            )
        passing(Place.BEFORE_PUBLISH)
        with telling_unrecorded(lambda: written.unrecorded), span("incarts.publish"):
            published = await asyncio.to_thread(
                publish,
                plan,
                tables,
                ledger=ledger,
                set_ids=set_ids,
                left=left_over(written, options),
                confirms=sees_all and (not plan.is_part or _was_alone(ledger, written.run_id)),
                facts=owner.facts | facts_of_run(plan, ledger_id, sequence, written.run_id),
            )
    finally:
        engine.dispose()  # last: whoever closes the file as the last one brings its log into it
    seconds = time.monotonic() - began
    run_ended(
        run_id=written.run_id,
        kind=plan.kind.name,
        rows={status.value: n for status, n in published.by_status.items()},
        requests=written.requests,
        seconds=seconds,
    )
    return RunResult(
        kind=plan.kind,
        figures=plan.figures,
        written=written,
        published=published,
        seconds=seconds,
        ledger=ledger,
        approved=options.approved,
        project_id=plan.options.project_id,
        read=read,
    )


def _was_alone(ledger: LedgerPlace, run_id: str) -> bool:
    return LedgerReader(ledger).read(lambda connection: was_alone(connection, run_id))


def pace_of(
    settings: PlanSettings, ledger: LedgerReader, rule: ReplayRule
) -> tuple[ExpectedPace | None, bool]:
    """Return the pace that a plan may count on, None when nobody knows, and whether it is learned.

    One that is neither learned nor said is the ceiling's.
    """
    if settings.rate == "adaptive":
        learned = ledger.learned(rule.api_key_fingerprint)
        return expected_pace(settings.max_rps, learned), learned is not None
    number = settings.rate.removeprefix("fixed:")
    return None if number == "none" else ExpectedPace(float(number), float(number)), True


def _default_mapping(request: PlanRequest, catalog: Catalog) -> Mapping:
    names = [*catalog.schema.names, *catalog.faults]
    check_told(names, unique_key=request.unique_key, link_set=request.link_set)
    catalog.require([*request.unique_key, *own_columns()])
    return default_mapping(
        catalog.schema, unique_key=list(request.unique_key), link_set=request.link_set or ""
    )


@raising_ours
def plan_saved(saved: SavedPlan, settings: Settings, **changes: Any) -> Plan:
    """Plan again what was saved, and make sure that it is still the same plan, or its rest.

    Once it was begun, what its own runs have done since is no other plan: the rest goes on, under
    the saved digest.

    `changes` go to the request, and may make it another plan; one that nobody signed.

    Raises:
        RefusedError: the catalog or the ledger has moved, or the settings are another target's.
    """
    ours = (settings.project_id, settings.base_url)
    if ours != (saved.project_id, saved.base_url):
        host = saved.base_url or "a base URL that was not set"
        raise RefusedError(
            f"The plan is for {saved.project_id} at {host}, the settings are for "
            f"{settings.project_id} at {settings.base_url}.",
            fix="Choose the plan's target, or plan again.",
            guard="another_target",
        )
    plan = plan_catalog(dataclasses.replace(saved.request, **changes), settings)
    try:
        same = as_saved(plan, saved.digest)
        if same is None or (not changes and plan.requests_sha256() != saved.requests):
            raise RefusedError(
                f"The catalog or the ledger has moved since {saved.made_at}: the plan is now "
                f"{plan.figures.digest}, not {saved.digest}.",
                fix="Look at it again with `incarts plan`.",
                guard="plan_moved",
            )
    except BaseException:
        plan.close()
        raise
    signer = None if changes else saved.signed_by
    return dataclasses.replace(same, read=(*same.read, saved.file), signed_by=signer)
