"""Link requests against the ledger: one action per row, guards, scopes, and the plan's digest.

Planning reads only. The same catalog, mapping and ledger give the same plan and the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import group_hashes
from incarts_pipeline.ledger import (
    Call,
    Content,
    LedgerReader,
    Move,
    Replay,
    ReplayRule,
    bodies_of,
    links_used_for,
)
from incarts_pipeline.models import Action, Policy, Reason, State
from incarts_pipeline.plan import changes, guards, queries
from incarts_pipeline.plan.figures import Count, Example, PlanFigures, example_of
from incarts_pipeline.plan.guards import SetFigures
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.prepare import Chosen
from incarts_pipeline.rate_limit import ExpectedPace

_CALL_BATCH = 256
_MOVED_BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What a plan depends on beside the catalog and the ledger.

    `scopes` None means that nobody said what the key may do, `pace` None that nobody knows it.
    """

    project_id: str
    link_sets: tuple[str, ...]
    on_change: Mapping[str, Policy]
    rule: ReplayRule
    retry_rejected: bool = False
    scopes: frozenset[str] | None = None
    refuse_over: int | None = None
    allow_empty: bool = False
    pace: ExpectedPace | None = None
    partition: str | None = None  # of the catalog, when only that is planned


class Plan:
    """A plan over staged requests; close it (or use `with`) to drop its workspace."""

    call_columns = ""  # SQL: what a call needs of its request beside what every call does
    row_number = "catalog_row"  # SQL: the row that examples name

    def __init__(self, workspace: Workspace, ledger: LedgerReader, options: PlanOptions) -> None:
        self.workspace = workspace
        self.options = options
        self._ledger = ledger
        self.figures: PlanFigures
        self.chosen: Chosen | None = None  # what was read of the catalog
        self.saved: str | None = None  # the digest of the plan file that this carries out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the plan's workspace."""
        self.workspace.close()

    def refresh(self, now: Stamp) -> None:
        """Decide anew from the ledger as it is now, without reading the catalog again."""
        self._ledger = LedgerReader(self._ledger.file)
        self.load_ledger()
        self.decide(now)

    def carry_on(self, digest: str) -> bool:
        """Make this the plan of a file, or the rest of it; False when it is neither.

        It is the rest when the file's own runs have done what is missing: put back as the file had
        it, beside what is still to be made, the whole has the file's digest.
        """
        if self.figures.digest != digest:
            self.workspace.load_begun(self._ledger.path, self._set_ids(), digest)
            self.workspace.db.execute(queries.BEGUN)
            if self._digest("begun_decision") != digest:
                return False
            self.figures = replace(self.figures, digest=digest)
        self.saved = digest
        return True

    def load_ledger(self) -> None:
        """Read the ledger into the workspace."""
        self.workspace.load_ledger(self._ledger.path, self._set_ids(), self.options.partition)

    def load(self, schema: pa.Schema, requests: Iterable[pa.RecordBatch]) -> None:
        """Store the requests and read the ledger."""
        self.workspace.load(
            schema, requests, self._ledger.path, self._set_ids(), self.options.partition
        )

    def decide(self, now: Stamp) -> None:
        """Fill the decision table and the figures."""
        self.workspace.compare(self.options.link_sets, self.options.partition)
        self._judge_doubts(now, self._ledger.living_runs(now))
        self.workspace.load_past(self._ledger.path, self._set_ids())
        self.workspace.db.execute(queries.SHARED)
        changes.tell_clashes(self.workspace)
        changes.compare(self.workspace, self._ledger.path, self.options.on_change)
        self.workspace.db.execute(queries.DECISION, {"retry_rejected": self.options.retry_rejected})
        self.workspace.db.execute(queries.JUDGED)
        self.workspace.db.execute(queries.NO_CALLS)
        self.workspace.db.execute(queries.MISSING)
        self.figures = self._figures()

    def calls(
        self,
        set_ids: Mapping[str, int],
        *,
        limit: int | None = None,
        sample_per: Sequence[str] = (),
    ) -> Iterator[list[Call]]:
        """Yield the calls in sending order, a small batch at a time.

        With `limit`, the first so many; `sample_per` (of `retailer`, `intent`, `link_set`) takes
        them in turn from each kind.
        """
        kinds = ", ".join(sample_per) if sample_per else "1"
        order = "rank," if sample_per else ""
        query = queries.CALLS.format(sample_per=kinds, order=order, columns=self.call_columns)
        self.workspace.db.execute(query)
        cut = f"WHERE turn <= {int(limit)}" if limit is not None else ""
        reader = self.workspace.stream(f"SELECT * FROM call {cut} ORDER BY turn", _CALL_BATCH)  # noqa: S608
        for batch in reader:
            rows = batch.to_pylist()
            for start in range(0, len(rows), _CALL_BATCH):
                yield [self._call(row, set_ids) for row in rows[start : start + _CALL_BATCH]]

    def reuses(self, set_ids: Mapping[str, int]) -> list[Move]:
        """Return the rows that go back to an earlier link."""
        rows = self.workspace.db.execute(
            "SELECT link_set, row_key, past_op, current_op FROM decision WHERE is_reuse"
        ).fetchall()
        return [Move(set_ids[name], *rest) for name, *rest in rows]

    def rows_at_home(self, set_ids: Mapping[str, int]) -> set[tuple[int, str]]:
        """Return (set id, row key) of the rows in doubt that keep the link that they use."""
        rows = self.workspace.db.execute(queries.AT_HOME).fetchall()
        return {(set_ids[name], row_key) for name, row_key in rows}

    def unknown_contents(self) -> Iterator[list[Content]]:
        """Yield the catalog's content of rows whose link was imported without any."""
        for batch in self.workspace.stream(queries.UNKNOWN, _CALL_BATCH):
            yield [
                Content(
                    op_id=row["current_op"],
                    content_hash=row["content_hash"],
                    groups=group_hashes(row["body"].encode()),
                    body=row["body"].encode(),
                )
                for row in batch.to_pylist()
            ]

    def missing_changes(
        self, set_ids: Mapping[str, int]
    ) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        """Return (set id, row key) of the rows that newly left the catalog, and that came back."""
        newly = self.workspace.db.execute(
            "SELECT link_set, row_key FROM missing WHERE is_missing = 0"
        ).fetchall()
        back = self.workspace.db.execute(queries.BACK).fetchall()
        return [(set_ids[s], k) for s, k in newly], [(set_ids[s], k) for s, k in back]

    def moved_rows(self, set_ids: Mapping[str, int]) -> Iterator[list[tuple[int, str]]]:
        """Yield (set id, row key) of the rows that are new to the plan's partition."""
        partition = self.options.partition
        if partition is not None:
            found = self.workspace.db.execute(queries.MOVED, {"partition": partition})
            while rows := found.fetchmany(_MOVED_BATCH):
                yield [(set_ids[name], row_key) for name, row_key in rows]

    def examples(
        self,
        action: Action,
        reason: Reason | None = None,
        link_set: str | None = None,
        n: int = 3,
    ) -> list[Example]:
        """Return the first `n` rows with an action; replaced and held ones say what changed."""
        asked = {
            "action": action.value,
            "reason": reason.value if reason else None,
            "link_set": link_set,
            "n": n,
        }
        rows = self.workspace.db.execute(
            queries.EXAMPLES.format(row=self.row_number), asked
        ).fetchall()
        op_ids = [row[4] for row in rows if row[4] is not None and row[5] is not None]
        old = self._ledger.read(lambda c: bodies_of(c, op_ids)) if op_ids else {}
        return [example_of(row, old.get(row[4])) for row in rows]

    def _set_ids(self) -> dict[str, int]:
        return self._ledger.set_ids(self.options.project_id, self.options.link_sets)

    def _call(self, row: dict[str, Any], set_ids: Mapping[str, int]) -> Call:
        body = row["body"].encode()
        return Call(
            project_id=self.options.project_id,
            link_set=row["link_set"],
            set_id=set_ids[row["link_set"]],
            row_key=row["row_key"],
            action=Action(row["action"]),
            retailer=row["retailer"],
            intent=row["intent"],
            content_hash=row["content_hash"],
            groups=group_hashes(body),
            body=body,
            expected_op_id=row["current_op"],
        )

    def _judge_doubts(self, now: Stamp, living: Collection[str]) -> None:
        """Fill the table `doubt`: whether each open operation may still be settled by replaying."""
        rows = self.workspace.db.execute(
            "SELECT op_id, state, run_id, first_sent_at, first_sent_boot, boot_id, "
            "api_key_fingerprint FROM unlinked WHERE state IN ('sent', 'in_doubt', 'needs_review')"
        ).fetchall()
        rule = self.options.rule
        judged = [
            {
                "op_id": op_id,
                "may_settle": state != State.NEEDS_REVIEW
                and (
                    run_id in living
                    or rule.judge(
                        Stamp(wall=at / 1e6, boot=boot, boot_id=boot_id), now, fingerprint
                    )
                    is Replay.ALLOWED
                ),
            }
            for op_id, state, run_id, at, boot, boot_id, fingerprint in rows
        ]
        schema = pa.schema([("op_id", pa.int64()), ("may_settle", pa.bool_())])
        self.workspace.fill("doubt", schema, judged)

    def _figures(self) -> PlanFigures:
        db = self.workspace.db
        counts = [
            Count(link_set=s, action=Action(a), reason=Reason(r), rows=n, calls=calls)
            for s, a, r, n, calls in db.execute(queries.COUNTS).fetchall()
        ]
        missing = {s: (n, new) for s, n, new in db.execute(queries.MISSING_COUNTS).fetchall()}
        kinds = db.execute(queries.CALLS_BY_KIND).fetchall()
        scopes = guards.scopes_needed(kinds)
        allowed = self.options.scopes
        lacking = sorted(scopes.keys() - allowed) if allowed is not None and scopes else []
        calls = sum(count.calls for count in counts)
        [(doubts,)] = db.execute("SELECT COUNT(*) FROM doubt WHERE may_settle").fetchall()
        pace = self.options.pace
        return PlanFigures(
            counts=counts,
            calls=calls,
            doubts=doubts,
            missing={s: n for s, (n, _) in missing.items()},
            scopes=scopes,
            missing_scopes=lacking,
            warnings=guards.warnings(kinds),
            refusals=guards.refusals(
                self._set_figures(counts, {s: new for s, (_, new) in missing.items()}),
                refuse_over=self.options.refuse_over,
                allow_empty=self.options.allow_empty,
                missing_scopes=lacking,
            ),
            digest=self._digest(),
            seconds=pace.seconds(calls + doubts) if pace else None,
            rows=sum(count.rows for count in counts),
        )

    def _set_figures(
        self, counts: Sequence[Count], newly_missing: Mapping[str, int]
    ) -> list[SetFigures]:
        live = dict(self.workspace.db.execute(queries.LIVE).fetchall())
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
                examples=self._guard_examples(name, calls.get((name, Action.REPLACE), 0)),
            )
            for name in self.options.link_sets
        ]

    def _guard_examples(self, link_set: str, replaced: int) -> list[str]:
        shown = [str(e) for e in self.examples(Action.REPLACE, link_set=link_set)]
        if replaced and shown:
            return shown
        rows = self.workspace.db.execute(
            "SELECT row_key, op_id FROM missing WHERE link_set = $name AND is_missing = 0 "
            "ORDER BY row_key LIMIT 3",
            {"name": link_set},
        ).fetchall()
        op_ids = [op_id for _, op_id in rows]
        links = self._ledger.read(lambda c: links_used_for(c, op_ids)) if rows else {}
        return [f"missing from the catalog: {key} ({links[op_id]})" for key, op_id in rows]

    def _digest(self, decision: str = "decision") -> str:
        rows = self.workspace.db.execute(queries.DIGEST.format(decision=decision)).fetchall()
        facts = [self.options.project_id, [list(map(str, row)) for row in rows]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def make_plan(
    schema: pa.Schema,
    requests: Iterable[pa.RecordBatch],
    *,
    ledger: LedgerReader,
    options: PlanOptions,
    now: Stamp,
) -> Plan:
    """Stage link requests (`schemas.link_request_schema`) and decide what to do with each."""
    plan = Plan(Workspace(), ledger, options)
    try:
        plan.load(schema, requests)
        plan.decide(now)
    except BaseException:
        plan.close()
        raise
    return plan
