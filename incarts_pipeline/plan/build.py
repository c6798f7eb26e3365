"""Builder of plans: the steps from requests and ledger to a decision for each row, in their order.

Planning reads only. The same catalog, mapping and ledger give the same plan and the same digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog import Catalog
from incarts_pipeline.clock import Stamp
from incarts_pipeline.kinds import Kind
from incarts_pipeline.ledger import LedgerReader, Replay
from incarts_pipeline.models import NoteCode, Reason, Rekeyed, State
from incarts_pipeline.plan import (
    changes,
    digest_queries,
    held_keys,
    key_queries,
    odd_ids,
    queries,
)
from incarts_pipeline.plan.counting import figures_of, plan_digest
from incarts_pipeline.plan.figures import PlanFigures
from incarts_pipeline.plan.named_paths import NamedPath
from incarts_pipeline.plan.plan import Plan, PlanOptions
from incarts_pipeline.plan.planning import Planning
from incarts_pipeline.plan.quiet import Quiet
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.prepare import Chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of planning: the workspace tables (and views) that it reads and makes.

    `optional` ones are read where a catalog is planned by partitions; a step with `keeps_content`
    is for kinds that keep what was made.
    """

    name: str
    reads: frozenset[str]
    makes: frozenset[str]
    run: Callable[[Planning], object]
    optional: frozenset[str] = frozenset()
    keeps_content: bool = False


def _statement(query: str) -> Callable[[Planning], object]:
    return lambda planning: planning.workspace.db.execute(query)


def _keep_made(planning: Planning) -> None:
    planning.workspace.db.execute(queries.KEEP_MADE, {"code": NoteCode.KEPT.value})


def _compare(planning: Planning) -> None:
    planning.workspace.compare(planning.options.link_sets, planning.options.partition)


def _judge_doubts(planning: Planning) -> None:
    """Find out whether each open operation may still be settled by replaying it."""
    rows = planning.workspace.db.execute(queries.OPEN_OPERATIONS).fetchall()
    living = planning.ledger.living_runs(planning.now) if rows else {}
    rule, now = planning.options.rule, planning.now

    def may_settle(state: str, run_id: str, at: Any, *rest: Any) -> bool:
        if state == State.NEEDS_REVIEW:  # which may have been imported, with no time of its own
            return False
        boot, boot_id, fingerprint = rest
        sent = Stamp(wall=at / 1e6, boot=boot, boot_id=boot_id)
        return run_id in living or rule.judge(sent, now, fingerprint) is Replay.ALLOWED

    judged = [{"op_id": op_id, "may_settle": may_settle(*rest)} for op_id, *rest in rows]
    schema = pa.schema([("op_id", pa.int64()), ("may_settle", pa.bool_())])
    planning.workspace.fill("doubt", schema, judged)


def _load_past(planning: Planning) -> None:
    planning.workspace.load_past(planning.ledger.path, planning.set_ids)


def _name_clashes(planning: Planning) -> None:
    changes.tell_clashes(planning.workspace)


def _name_changes(planning: Planning) -> None:
    changes.compare(planning.workspace, planning.ledger.path, planning.options.on_change)


def _decide(planning: Planning) -> None:
    options = planning.options
    rekeyed = options.rekeyed if planning.kind.is_catalog else Rekeyed.NEW
    said = {
        "retry_rejected": options.retry_rejected,
        "rekeyed": rekeyed.value,
        "zeros_lost": Reason.LOST_ZEROS in options.accepted,
    }
    planning.workspace.db.execute(queries.DECISION, said)


def _hold_lost(planning: Planning) -> None:
    held_keys.hold(
        planning.workspace, planning.ledger, planning.kind, planning.options, planning.set_ids
    )


def _tables(names: str) -> frozenset[str]:
    return frozenset(names.split())


STEPS = (
    Step(
        name="keep what was made under an identifier",
        reads=_tables("request made_code"),
        makes=_tables("request"),
        run=_keep_made,
        keeps_content=True,
    ),
    Step(
        name="find the rows that don't simply have their link already",
        reads=_tables("request ledger_row unlinked compared"),
        makes=_tables("compared open_request own_ledger_row own_compared"),
        run=_compare,
        optional=_tables("member"),
    ),
    Step(
        name="judge what is in doubt",
        reads=_tables("unlinked"),
        makes=_tables("doubt"),
        run=_judge_doubts,
    ),
    Step(
        name="find earlier links of changed rows",
        reads=_tables("open_request ledger_row quiet"),
        makes=_tables("past"),
        run=_load_past,
    ),
    Step(
        name="find rows that share a key",
        reads=_tables("request open_request"),
        makes=_tables("shared"),
        run=_statement(queries.SHARED),
    ),
    Step(
        name="name the fields in which they differ",
        reads=_tables("request shared clash"),
        makes=_tables("clash shared"),
        run=_name_clashes,
    ),
    Step(
        name="name what changed, and what the policy is",
        reads=_tables("open_request"),
        makes=_tables("changed difference"),
        run=_name_changes,
    ),
    Step(
        name="find rows that left under the content of new ones",
        reads=_tables("open_request compared own_compared"),
        makes=_tables("rekeyed"),
        run=_statement(key_queries.REKEYED),
    ),
    Step(
        name="find new rows whose key lost its zeros",
        reads=_tables("request open_request quiet"),
        makes=_tables("zeroless"),
        run=_statement(key_queries.ZEROLESS),
    ),
    Step(
        name="decide",
        reads=_tables("request open_request shared unlinked doubt past rekeyed zeroless changed"),
        makes=_tables("decision"),
        run=_decide,
    ),
    Step(
        name="hold what may have been sent since a backup",
        reads=_tables("request decision held"),
        makes=_tables("held decision"),
        run=_hold_lost,
    ),
    Step(
        name="find ids that are unlike the others",
        reads=_tables("request decision"),
        makes=_tables("odd_id"),
        run=_statement(odd_ids.FIND),
    ),
    Step(
        name="join decisions to rows",
        reads=_tables("request decision"),
        makes=_tables("judged"),
        run=_statement(queries.JUDGED),
    ),
    Step(
        name="begin without calls",
        reads=_tables("decision"),
        makes=_tables("call"),
        run=_statement(queries.NO_CALLS),
    ),
    Step(
        name="find links whose row left the catalog",
        reads=_tables("own_compared"),
        makes=_tables("missing"),
        run=_statement(queries.MISSING),
    ),
)


def make_plan(
    schema: pa.Schema,
    requests: Iterable[pa.RecordBatch],
    *,
    catalog: Catalog,
    kind: Kind,
    ledger: LedgerReader,
    options: PlanOptions,
    now: Stamp,
    read: Sequence[NamedPath] = (),
    chosen: Chosen | None = None,
    quiet: Quiet | None = None,
) -> Plan:
    """Load requests (`schemas.link_request_schema`) and decide what to do with each.

    `catalog` is what they are read from. Without `options.link_sets`, they are those that the
    requests name. With `quiet`, which tells of the catalog's other rows, they may be a part of it
    in any order; a partition of a catalog is planned whole.
    """
    planning = Planning(
        kind=kind,
        options=options,
        workspace=Workspace(),
        ledger=ledger,
        now=now,
        set_ids=ledger.set_ids(options.project_id, options.link_sets, kind),
    )
    workspace = planning.workspace
    try:
        if quiet is not None:
            workspace.load(schema, requests, None, {})
            workspace.load_quiet(quiet)
            _load_ledger(planning)
        elif options.link_sets:
            workspace.load(schema, requests, ledger.path, planning.set_ids, options.partition)
        else:
            workspace.load(schema, requests, None, {})
            options = replace(options, link_sets=workspace.link_sets())
            set_ids = ledger.set_ids(options.project_id, options.link_sets, kind)
            planning = replace(planning, options=options, set_ids=set_ids)
            _load_ledger(planning)
        version = catalog.version.said if catalog.version is not None else None
        # Once it is read.
        planning = replace(planning, warnings=tuple(catalog.warnings), catalog_version=version)
        return Plan(
            kind=kind,
            options=options,
            figures=_decided(planning),
            workspace=workspace,
            ledger=ledger,
            read=read,
            chosen=chosen,
            fingerprint=catalog.fingerprint,
            version=catalog.version,
            warnings=planning.warnings,
        )
    except BaseException:
        workspace.close()
        raise


def replan(plan: Plan, now: Stamp) -> Plan:
    """Decide anew from the ledger as it is now, without reading the catalog again.

    The workspace is the plan's own: from now on, it holds what the new plan says of each row.
    """
    ledger, options = LedgerReader(plan.ledger.file), plan.options
    planning = Planning(
        kind=plan.kind,
        options=options,
        workspace=plan.workspace,
        ledger=ledger,
        now=now,
        set_ids=ledger.set_ids(options.project_id, options.link_sets, plan.kind),
        warnings=plan.warnings,
        catalog_version=plan.figures.catalog_version,
    )
    _load_ledger(planning)
    again = replace(plan, ledger=ledger, figures=_decided(planning), signed_by=None)
    return again.within(plan.figures.limit, plan.figures.max_duration)


def as_saved(plan: Plan, digest: str) -> Plan | None:
    """Return the plan as the one of a plan file, or as the rest of it; None when it is neither.

    It is the rest when the file's own runs have done what is missing: put back as the file had it,
    beside what is still to be made, the whole has the file's digest.
    """
    figures, workspace = plan.figures, plan.workspace
    if figures.digest != digest:
        sets = plan.ledger.set_ids(plan.options.project_id, plan.options.link_sets, plan.kind)
        workspace.load_begun(plan.ledger.path, sets, digest)
        workspace.db.execute(digest_queries.BEGUN)
        workspace.db.execute(digest_queries.BEGUN_MISSING)
        if plan_digest(workspace, plan.kind, plan.options, "begun_") != digest:
            return None
        figures = replace(figures, digest=digest)
    return replace(plan, figures=figures, saved=digest)


def _load_ledger(planning: Planning) -> None:
    workspace, path, set_ids = planning.workspace, planning.ledger.path, planning.set_ids
    workspace.load_ledger(path, set_ids, planning.options.partition)
    if planning.kind.keeps_content:
        workspace.load_made_codes(path, set_ids)


def _decided(planning: Planning) -> PlanFigures:
    """Take all steps, and count what they come to."""
    for step in STEPS:
        if planning.kind.keeps_content or not step.keeps_content:
            step.run(planning)
    if planning.workspace.is_part:
        planning.workspace.db.execute(queries.TOUCH_DOUBTS)
        planning.workspace.db.execute(queries.OPEN_KEYS)
    return figures_of(planning)
