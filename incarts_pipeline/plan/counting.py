"""Counting: a plan's figures, of what is decided of each row and of the rows that are quiet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from incarts_pipeline.kinds import Kind
from incarts_pipeline.models import SUSPICIONS, Action, Reason
from incarts_pipeline.plan import digest_queries, figure_queries, guards, odd_ids, queries
from incarts_pipeline.plan.changed_rows import ChangedRows, changed_rows, replaced_lines
from incarts_pipeline.plan.digest import RowSum, digest_of, row_sum
from incarts_pipeline.plan.examples import missing_lines
from incarts_pipeline.plan.figures import Count, PlanFigures
from incarts_pipeline.plan.guards import SetFigures
from incarts_pipeline.plan.plan import PlanOptions
from incarts_pipeline.plan.planning import Planning
from incarts_pipeline.plan.workspace import Workspace


def figures_of(planning: Planning) -> PlanFigures:
    """Count what all that is decided comes to."""
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
    enqueued = {(s, Action(a)): n for s, a, n in db.execute(figure_queries.ENQUEUED).fetchall()}
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
            *_held(planning, counts),
        ],
        refusals=guards.refusals(
            _set_figures(planning, counts, enqueued, newly_missing, changed)
            if kind.is_catalog
            else (),
            refuse_over=options.refuse_over,
            allow_empty=options.allow_empty,
            missing_scopes=lacking,
        ),
        digest=plan_digest(planning.workspace, kind, options),
        seconds=options.seconds(calls + doubts),
        rows=sum(count.rows for count in counts),
        enqueued=sum(enqueued.values()),
        catalog_version=planning.catalog_version,
    )


def _held(planning: Planning, counts: Sequence[Count]) -> list[str]:
    """Return what to know of rows that wait for a person's word."""
    db = planning.workspace.db
    held: Counter[Reason] = Counter()
    for count in counts:
        if count.action is Action.HOLD:
            held[count.reason] += count.rows
    told = []
    if n := held[Reason.LOOKS_REKEYED]:
        [(pairs,)] = db.execute(queries.LOOK_REKEYED).fetchall()
        told.append(guards.looks_rekeyed(n, pairs))
    suspected = [(reason.value, n) for reason, n in held.items() if reason in SUSPICIONS]
    if suspected:
        told.append(guards.look_wrong(sorted(suspected, key=lambda one: (-one[1], one[0]))))
    [(lost,)] = db.execute("SELECT COUNT(*) FROM held").fetchall()
    return [*told, *([guards.may_exist(lost)] if lost else [])]


def _set_figures(
    planning: Planning,
    counts: Sequence[Count],
    enqueued: Mapping[tuple[str, Action], int],
    newly_missing: Mapping[str, int],
    changed: Sequence[ChangedRows],
) -> list[SetFigures]:
    live = dict(planning.workspace.db.execute(figure_queries.LIVE).fetchall())
    # Whether they were is asked for new links beside those that there are.
    complete = planning.ledger.complete_sets() if live and any(c.calls for c in counts) else ()
    # What is enqueued was let through then; the same content needs no second word.
    calls = {key: -n for key, n in enqueued.items()}
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
            missing_examples=missing_lines(planning.workspace, planning.ledger, name)
            if newly_missing.get(name)
            else (),
        )
        for name in planning.options.link_sets
    ]


def plan_digest(workspace: Workspace, kind: Kind, options: PlanOptions, prefix: str = "") -> str:
    """Return the digest of what is decided, or of what `begun_` tables say was decided."""
    db, decision = workspace.db, f"{prefix}decision"
    [(staying,)] = db.execute(digest_queries.STAYING.format(table=decision)).fetchall()
    looked_at = digest_queries.DECIDED.format(table=decision)
    if kind.is_catalog:
        looked_at += " UNION ALL " + digest_queries.LEFT.format(table=f"{prefix}missing")
    rows = RowSum(rows=staying) + row_sum(db, looked_at)
    return digest_of({"kind": kind.name, **options.facts()}, rows)
