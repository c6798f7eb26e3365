"""QR codes of links: planned from a table of what is wanted, and carried out as links are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import raising_ours
from incarts_pipeline.kinds import QR_CODES
from incarts_pipeline.ledger import (
    LedgerReader,
    existing_ledger,
    known_sets,
    links_in_use,
    replay_rule,
)
from incarts_pipeline.models import Policy
from incarts_pipeline.pipeline import RunResult, apply_plan, pace_of
from incarts_pipeline.plan import GROUPS, Plan, PlanOptions, QrRequest, make_plan, paths_read
from incarts_pipeline.prepare import choose_mapping, code_requests, request_schema
from incarts_pipeline.settings import PlanSettings, Settings
from incarts_pipeline.sync import Stop

if TYPE_CHECKING:
    from incarts_pipeline.write import RunMetrics, WriteOptions

# What differs where content is kept is the link, which was replaced: every group makes a new code.
_REPLACED = dict.fromkeys(GROUPS, Policy.REPLACE)


@raising_ours
def plan_qr_codes(request: QrRequest, settings: Settings, *, clock: Clock | None = None) -> Plan:
    """Find the codes that are still to make; sends nothing.

    Whose link a code is for is what the ledger says now; a row without one is rejected by name.

    Raises:
        CatalogError: the table can't be read.
        MappingError: it doesn't say which codes are wanted.
        SettingsError: the project id is missing.
        LedgerError: there is no ledger, it can't be read, or belongs to another base URL.
    """
    known = settings.for_planning()
    project_id = known.project_id
    existing_ledger(settings)
    ledger = LedgerReader(known.ledger, base_url=known.base_url)
    catalog = open_catalog(
        request.source,
        **request.reading(),
        max_line_bytes=known.limits.max_line_bytes,
        max_columns=known.limits.max_columns,
    )
    catalog.require(catalog.faults)  # a template may name any column
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

    return make_plan(
        request_schema(catalog.schema, mapping),
        code_requests(catalog.batches(), mapping, catalog.schema, links),
        catalog=catalog,
        kind=QR_CODES,
        ledger=ledger,
        options=_options(request, known, ledger),
        now=ledger.clock(clock or Clock()).now(),
        read=paths_read(settings, catalog=request.source, catalog_format=request.catalog_format),
    )


def _options(request: QrRequest, settings: PlanSettings, ledger: LedgerReader) -> PlanOptions:
    rule = replay_rule(settings)
    pace, is_learned = pace_of(settings, ledger, rule)
    return PlanOptions(
        project_id=settings.project_id,
        link_sets=(),
        on_change=_REPLACED,
        rule=rule,
        base_url=settings.base_url,
        retry_rejected=request.retry_rejected,
        scopes=settings.scopes,
        pace=pace,
        is_pace_learned=is_learned,
    )


async def apply_qr_codes(
    plan: Plan,
    settings: Settings,
    output: str | Path,
    *,
    options: WriteOptions | None = None,
    metrics: RunMetrics | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Make the codes that a plan calls for, and write the table of them; `apply_plan` by name."""
    return await apply_plan(
        plan, settings, output, options=options, metrics=metrics, stop=stop, clock=clock
    )
