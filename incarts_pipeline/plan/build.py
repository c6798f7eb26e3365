"""Builder of plans: the steps from requests and ledger to a decision for each row, in their order.

Planning reads only. The same catalog, mapping and ledger give the same plan and the same digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog import Catalog
from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import LedgerReader, Replay
from incarts_pipeline.models import SUSPICIONS, Action, Kind, NoteCode, Reason, Rekeyed, State
from incarts_pipeline.plan import (
    changes,
    digest_queries,
    figure_queries,
    guards,
    held_keys,
    odd_ids,
    queries,
)
from incarts_pipeline.plan.changed_rows import ChangedRows, changed_rows, replaced_lines
from incarts_pipeline.plan.digest import RowSum, digest_of, row_sum
from incarts_pipeline.plan.examples import missing_lines
from incarts_pipeline.plan.figures import Count, PlanFigures
from incarts_pipeline.plan.guards import SetFigures
from incarts_pipeline.plan.named_paths import NamedPath
from incarts_pipeline.plan.plan import Plan, PlanOptions
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.prepare import Chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What the steps of one plan work on."""

    kind: Kind
    options: PlanOptions
    workspace: Workspace
    ledger: LedgerReader
    now: Stamp
    warnings: tuple[str, ...] = ()  # of the catalog

    def set_ids(self) -> dict[str, int]:
        """Return the ids of those of the plan's link sets that the ledger has."""
        return self.ledger.set_ids(self.options.project_id, self.options.link_sets, self.kind)


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
    living = planning.ledger.living_runs(planning.now)
    rows = planning.workspace.db.execute(queries.OPEN_OPERATIONS).fetchall()
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
    planning.workspace.load_past(planning.ledger.path, planning.set_ids())


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
        planning.workspace, planning.ledger, planning.kind, planning.options, planning.set_ids()
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
        reads=_tables("open_request ledger_row"),
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
        run=_statement(queries.REKEYED),
    ),
    Step(
        name="find new rows whose key lost its zeros",
        reads=_tables("request open_request"),
        makes=_tables("zeroless"),
        run=_statement(queries.ZEROLESS),
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
) -> Plan:
    """Load requests (`schemas.link_request_schema`) and decide what to do with each.

    `catalog` is what they are read from. Without `options.link_sets`, they are those that the
    requests name.
    """
    planning = Planning(kind=kind, options=options, workspace=Workspace(), ledger=ledger, now=now)
    workspace = planning.workspace
    try:
        if options.link_sets:
            path, partition = ledger.path, options.partition
            workspace.load(schema, requests, path, planning.set_ids(), partition)
        else:
            workspace.load(schema, requests, None, {})
            options = replace(options, link_sets=workspace.link_sets())
            planning = replace(planning, options=options)
            _load_ledger(planning)
        planning = replace(planning, warnings=tuple(catalog.warnings))  # once it is read
        return Plan(
            kind=kind,
            options=options,
            figures=_decided(planning),
            workspace=workspace,
            ledger=ledger,
            read=read,
            chosen=chosen,
            fingerprint=catalog.fingerprint,
            warnings=planning.warnings,
        )
    except BaseException:
        workspace.close()
        raise


def replan(plan: Plan, now: Stamp) -> Plan:
    """Decide anew from the ledger as it is now, without reading the catalog again.

    The workspace is the plan's own: from now on, it holds what the new plan says of each row.
    """
    ledger = LedgerReader(plan.ledger.file)
    planning = Planning(
        kind=plan.kind,
        options=plan.options,
        workspace=plan.workspace,
        ledger=ledger,
        now=now,
        warnings=plan.warnings,
    )
    _load_ledger(planning)
    return replace(plan, ledger=ledger, figures=_decided(planning), signed_by=None)


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
        if _digest(workspace, plan.kind, plan.options, "begun_") != digest:
            return None
        figures = replace(figures, digest=digest)
    return replace(plan, figures=figures, saved=digest)


def _load_ledger(planning: Planning) -> None:
    workspace, path, set_ids = planning.workspace, planning.ledger.path, planning.set_ids()
    workspace.load_ledger(path, set_ids, planning.options.partition)
    if planning.kind.keeps_content:
        workspace.load_made_codes(path, set_ids)


def _decided(planning: Planning) -> PlanFigures:
    """Take all steps, and count what they come to."""
    for step in STEPS:
        if planning.kind.keeps_content or not step.keeps_content:
            step.run(planning)
    return _figures(planning)


def _figures(planning: Planning) -> PlanFigures:
    kind, options, db = planning.kind, planning.options, planning.workspace.db
    counts = [
        Count(link_set=s, action=Action(a), reason=Reason(r), rows=n, calls=calls)
        for s, a, r, n, calls in db.execute(queries.COUNTS).fetchall()
    ]
    found = db.execute(figure_queries.MISSING_COUNTS).fetchall() if kind.is_catalog else []
    made = db.execute(figure_queries.CALLS_BY_KIND).fetchall()
    scopes = guards.scopes_needed(kind, made)
    allowed = options.scopes
    lacking = sorted(scopes.keys() - allowed) if allowed is not None and scopes else []
    calls = sum(count.calls for count in counts)
    [(doubts,)] = db.execute(figure_queries.DOUBTS).fetchall()
    newly_missing = {s: new for s, _, new in found}
    changed = changed_rows(planning.workspace, kind)
    return PlanFigures(
        counts=counts,
        changed=changed,
        calls=calls,
        doubts=doubts,
        missing={s: n for s, n, _ in found},
        scopes=scopes,
        missing_scopes=lacking,
        warnings=[
            *(*planning.warnings, *guards.warnings(made), *odd_ids.warnings(db)),
            *_held(planning),
        ],
        refusals=guards.refusals(
            _set_figures(planning, counts, newly_missing, changed) if kind.is_catalog else (),
            refuse_over=options.refuse_over,
            allow_empty=options.allow_empty,
            missing_scopes=lacking,
        ),
        digest=_digest(planning.workspace, kind, options),
        seconds=options.seconds(calls + doubts),
        rows=sum(count.rows for count in counts),
    )


def _held(planning: Planning) -> list[str]:
    """Return what to know of rows that wait for a person's word."""
    db, codes = planning.workspace.db, [code.value for code in SUSPICIONS]
    [(n, pairs)] = db.execute(queries.LOOK_REKEYED).fetchall()
    [(lost,)] = db.execute("SELECT COUNT(*) FROM held").fetchall()
    held = db.execute(figure_queries.SUSPECTED, {"suspicions": codes}).fetchall()
    return [
        *([guards.looks_rekeyed(n, pairs)] if n else []),
        *([guards.look_wrong(held)] if held else []),
        *([guards.may_exist(lost)] if lost else []),
    ]


def _set_figures(
    planning: Planning,
    counts: Sequence[Count],
    newly_missing: Mapping[str, int],
    changed: Sequence[ChangedRows],
) -> list[SetFigures]:
    live = dict(planning.workspace.db.execute(figure_queries.LIVE).fetchall())
    complete = planning.ledger.complete_sets()
    calls: dict[tuple[str, Action], int] = {}
    rows: dict[str, int] = {}
    for count in counts:
        key = (count.link_set, count.action)
        calls[key] = calls.get(key, 0) + count.calls
        rows[count.link_set] = rows.get(count.link_set, 0) + count.rows
    return [
        SetFigures(
            link_set=name,
            rows=rows.get(name, 0),
            live=live.get(name, 0),
            create=calls.get((name, Action.CREATE), 0),
            replace=calls.get((name, Action.REPLACE), 0),
            newly_missing=newly_missing.get(name, 0),
            was_complete=name in complete,
            changes=replaced_lines(changed, name),
            missing_examples=missing_lines(planning.workspace, planning.ledger, name),
        )
        for name in planning.options.link_sets
    ]


def _digest(workspace: Workspace, kind: Kind, options: PlanOptions, prefix: str = "") -> str:
    """Return the digest of what is decided, or of what `begun_` tables say was decided."""
    db, decision = workspace.db, f"{prefix}decision"
    [(staying,)] = db.execute(digest_queries.STAYING.format(table=decision)).fetchall()
    rows = RowSum(rows=staying) + row_sum(db, digest_queries.DECIDED.format(table=decision))
    if kind.is_catalog:
        rows += row_sum(db, digest_queries.LEFT.format(table=f"{prefix}missing"))
    return digest_of({"kind": kind.name, **options.facts()}, rows)
