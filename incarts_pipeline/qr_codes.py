"""Further QR codes of links that exist: planned, made exactly once, and published."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from incarts_pipeline.access import replay_rule
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.door import run_blocking
from incarts_pipeline.errors import PublishError
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.gate import Stop
from incarts_pipeline.ledger.file import prepare_file, transaction
from incarts_pipeline.ledger.lookups import ensure_sets, known_sets, links_in_use, next_sequence
from incarts_pipeline.ledger.states import Kind
from incarts_pipeline.ledger.view import LedgerView
from incarts_pipeline.ownership import check_codes_output
from incarts_pipeline.pipeline import (
    RunResult,
    carry_out,
    left_over,
    pace_of,
    refuse,
    with_unrecorded,
)
from incarts_pipeline.plan import PlanOptions
from incarts_pipeline.progress import progress as progress_of
from incarts_pipeline.publish import Published
from incarts_pipeline.qr_output import publish_codes
from incarts_pipeline.qr_plan import ON_CHANGE, CodePlan, make_code_plan
from incarts_pipeline.qr_requests import (
    choose_mapping,
    code_requests,
    key_fields,
    request_schema,
)
from incarts_pipeline.settings import CALLS, Settings, load_settings
from incarts_pipeline.status import existing_ledger
from incarts_pipeline.tally import Tally
from incarts_pipeline.writer import IfRunning, WriteOptions, WriteResult


@dataclass(frozen=True, slots=True, kw_only=True)
class QrRequest:
    """Which QR codes are wanted.

    `source` is whatever `catalog.open_catalog` takes: a published links.parquet, each of whose
    links gets a code for each of `identifiers`, or a table with the link set's key columns and,
    instead of `identifiers`, a column `identifier` with a row per code. `name` is a template over
    the table's columns and `{identifier}`; without it the column `name` is taken, or the
    identifier. An optional column `metadata` has JSON objects.
    """

    source: object
    identifiers: Sequence[str] = ()
    name: str | None = None
    link_set: str | None = None
    catalog_format: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    retry_rejected: bool = False


def plan_qr_codes(
    request: QrRequest, settings: Settings, *, clock: Clock | None = None
) -> CodePlan:
    """Find the codes that are still to make; sends nothing.

    Whose link a code is for is what the ledger says now; a row without one is rejected by name.

    Raises:
        CatalogError: the table can't be read.
        MappingError: it doesn't say which codes are wanted.
        SettingsError: the project id is missing.
        LedgerError: there is no ledger, it can't be read, or belongs to another base URL.
    """
    settings.require("project_id")
    project_id = settings.project_id or ""
    existing_ledger(settings)
    ledger = LedgerView(Path(settings.ledger), base_url=settings.base_url)
    catalog = open_catalog(
        request.source,
        format=request.catalog_format,
        encoding=request.encoding,
        delimiter=request.delimiter,
    )
    sets = ledger.read(lambda connection: known_sets(connection, project_id))
    mapping = choose_mapping(
        catalog.schema,
        project_id=project_id,
        sets={name: names for name, (_, names) in sets.items()},
        link_set=request.link_set,
        identifiers=request.identifiers,
        name=request.name,
    )

    def links(name: str, row_keys: Sequence[str]) -> dict[str, str]:
        if name not in sets:
            return {}
        return ledger.read(lambda connection: links_in_use(connection, sets[name][0], row_keys))

    plan = make_code_plan(
        request_schema(catalog.schema, mapping),
        code_requests(catalog.batches(), mapping, catalog.schema, links),
        ledger=ledger,
        options=_options(request, settings, ledger),
        now=(clock or Clock()).now(),
    )
    plan.key_fields = key_fields(catalog.schema, mapping)
    return plan


def _options(request: QrRequest, settings: Settings, ledger: LedgerView) -> PlanOptions:
    rule = replay_rule(settings)
    return PlanOptions(
        project_id=settings.project_id or "",
        link_sets=(),
        on_change=ON_CHANGE,
        rule=rule,
        retry_rejected=request.retry_rejected,
        scopes=settings.scopes,
        pace=pace_of(settings, ledger, rule),
    )


async def apply_qr_codes(
    plan: CodePlan,
    settings: Settings,
    output: str | Path,
    *,
    options: WriteOptions | None = None,
    tally: Tally | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Make the codes that a plan calls for, and write the table of them.

    Raises:
        RefusedError: the key lacks the scope, or the output isn't this ledger's.
        SettingsError: the base URL or the key is missing.
        LedgerError: the ledger can't be used; nothing was sent.
        PublishError: the table can't be written; what was answered is in the ledger.
    """
    began = time.monotonic()
    options = options or WriteOptions()
    refuse(plan.figures, None)
    settings.require("base_url", "api_key")
    ledger, project_id = Path(settings.ledger), plan.options.project_id
    view = LedgerView(ledger, base_url=settings.base_url)
    check_codes_output(str(output), view, project_id)
    engine = prepare_file(ledger, settings.base_url or "")
    try:
        with transaction(engine, ledger) as connection:
            names = plan.options.link_sets
            set_ids = ensure_sets(connection, project_id, names, (), Kind.QR_CODES)
            sequence = next_sequence(connection)
        figures = plan.figures
        written = await carry_out(
            plan, settings, engine, set_ids, options, tally or Tally(), stop or Stop(), clock
        )
    finally:
        engine.dispose()
    passing(Place.BEFORE_PUBLISH)
    try:
        published = await asyncio.to_thread(
            _publish, plan, str(output), view, set_ids, sequence, written, options
        )
    except PublishError as error:
        raise with_unrecorded(error, written) from error
    return RunResult(
        figures=figures,
        written=written,
        published=published,
        seconds=time.monotonic() - began,
        project_id=project_id,
    )


def _publish(
    plan: CodePlan,
    target: str,
    ledger: LedgerView,
    set_ids: dict[str, int],
    sequence: int,
    written: WriteResult,
    options: WriteOptions,
) -> Published:
    facts = {
        "ledger_id": ledger.ledger_id,
        "ledger_sequence": str(sequence),
        "link_sets": " ".join(set_ids),
        "project_id": plan.options.project_id,
        "run_id": written.run_id,
        "key_columns": json.dumps([field.name for field in plan.key_fields]),
    }
    return publish_codes(
        plan,
        target,
        ledger=ledger.file,
        set_ids=set_ids,
        left=left_over(written, options),
        facts=facts,
    )


def create_qr_codes(
    source: object,
    settings: Settings | None = None,
    *,
    identifiers: Sequence[str] = (),
    name: str | None = None,
    link_set: str | None = None,
    output: str | Path = "qr_codes.parquet",
    retry_rejected: bool = False,
    limit: int | None = None,
    max_duration: float | None = None,
    if_running: IfRunning = IfRunning.WAIT,
    progress: bool = True,
) -> RunResult:
    """Make further QR codes of links, each once; running it again sends nothing twice.

    Args:
        source: a published links.parquet, or any table with a row per code; see `QrRequest`.
        settings: by default those of the environment and incarts.toml.
        identifiers: what each link's codes are called, `^[A-Za-z0-9-]{3,64}$`.
        name: a template of their names, 1 to 120 characters, like `"{sku} on the shelf"`.
        link_set: the set that the rows belong to, where the table doesn't tell.
        output: where the table of codes goes; its columns are `schemas.QR_CODES` behind the key's.
        retry_rejected: whether to try codes again that Incarts refused before.
        limit: the most codes to make.
        max_duration: seconds after which to stop.
        if_running: what to do about codes that another run is sending.
        progress: show how it gets on, in a terminal or a notebook.

    Raises:
        IncartsError: as `plan_qr_codes` and `apply_qr_codes` do.
    """
    settings, tally = settings or load_settings(), Tally()
    settings.require(*CALLS)
    request = QrRequest(
        source=source,
        identifiers=identifiers,
        name=name,
        link_set=link_set,
        retry_rejected=retry_rejected,
    )
    options = WriteOptions(limit=limit, max_duration=max_duration, if_running=if_running)
    with (
        plan_qr_codes(request, settings) as plan,
        progress_of(tally, "QR codes") if progress else nullcontext(),
    ):
        return run_blocking(
            lambda stop: apply_qr_codes(
                plan, settings, output, options=options, tally=tally, stop=stop
            )
        )
