"""Plan: what a run is to do, as a value over the workspace that holds it row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from incarts_pipeline.catalog import Fingerprint, TableVersion
from incarts_pipeline.identity import group_hashes, qr_content_hash
from incarts_pipeline.kinds import Kind
from incarts_pipeline.ledger import Call, Content, KeyChange, LedgerReader, Move, ReplayRule
from incarts_pipeline.models import Action, Policy, Reason, Rekeyed
from incarts_pipeline.plan import digest_queries, queries
from incarts_pipeline.plan.examples import Example, examples_of
from incarts_pipeline.plan.figures import PlanFigures
from incarts_pipeline.plan.named_paths import NamedPath
from incarts_pipeline.plan.planned_rows import PlannedRow, planned_rows
from incarts_pipeline.plan.quiet import Seen
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.prepare import Chosen
from incarts_pipeline.rate_limit import ExpectedPace

CALL_BATCH = 256  # rows
_MOVED_BATCH = 10_000  # rows

Rows = list[tuple[int, str]]  # (set id, row key)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What a plan depends on beside the catalog and the ledger.

    `scopes` None means that nobody said what the key may do, `pace` None that nobody knows it;
    without `is_pace_learned` it is the ceiling's. `mapping` is the mapping as text, None where
    there is none.
    """

    project_id: str
    link_sets: tuple[str, ...]
    on_change: Mapping[str, Policy]
    rule: ReplayRule
    base_url: str | None = None
    mapping: str | None = None
    retry_rejected: bool = False
    scopes: frozenset[str] | None = None
    refuse_over: int | None = None
    allow_empty: bool = False
    rekeyed: Rekeyed = Rekeyed.HOLD
    accepted: Sequence[str] = ()  # suspicions, which `mapping` names as well
    pace: ExpectedPace | None = None
    is_pace_learned: bool = True
    partition: str | None = None  # of the catalog, when only that is planned

    def seconds(self, calls: int) -> float | None:
        """Return how long so many calls are expected to take, None when nobody knows."""
        return self.pace.seconds(calls) if self.pace else None

    def facts(self) -> dict[str, Any]:
        """Return what makes it another plan when it differs: where, of what, how careful."""
        return {
            "base_url": self.base_url,
            "project_id": self.project_id,
            "link_sets": sorted(self.link_sets),
            "partition": self.partition,
            "mapping": self.mapping,
            "on_change": {group: policy.value for group, policy in self.on_change.items()},
            "retry_rejected": self.retry_rejected,
            "refuse_over": self.refuse_over,
            "allow_empty": self.allow_empty,
            "rekeyed": self.rekeyed.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do with each row, and what that comes to; close it (or use `with`) when done.

    Attributes:
        kind: what it makes.
        options: what it depends on beside the catalog and the ledger.
        figures: what it would do, in numbers, with the guards that stand against it.
        workspace: the temporary database with a decision for each row, shared by the plans that
            `replan` makes of this one.
        ledger: the ledger as it was when this was decided.
        read: the places that it was made from, which nothing may be written to.
        chosen: what was read of the catalog.
        fingerprint: the catalog's files before they were read, None where it has none.
        version: the version of a lake table, which a plan file names.
        warnings: what to know about the catalog's rows.
        saved: the digest of the plan file that this carries out.
        signed_by: the public key that the file is signed with.
        seen: what was seen of the catalog, for a dataset to keep; None where nothing is kept.
        output: the dataset beside whose rows this was planned, None where all rows were.
    """

    kind: Kind
    options: PlanOptions
    figures: PlanFigures
    workspace: Workspace
    ledger: LedgerReader
    read: Sequence[NamedPath] = ()
    chosen: Chosen | None = None
    fingerprint: Fingerprint | None = None
    version: TableVersion | None = None
    warnings: tuple[str, ...] = ()
    saved: str | None = None
    signed_by: str | None = None
    seen: Seen | None = None
    output: str | None = None

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
        """Drop the plan's workspace, and what was seen."""
        self.workspace.close()
        if self.seen is not None:
            self.seen.close()

    @property
    def is_part(self) -> bool:
        """Whether the rows that are planned are a part of the catalog, whose others are quiet."""
        return self.workspace.is_part

    def unsettled_keys(self) -> pa.Array:
        """Return the keys that the next night has to look at whatever becomes of their rows."""
        return (
            self.workspace.stream(queries.UNSETTLED, _MOVED_BATCH)
            .read_all()["row_key"]
            .combine_chunks()
        )

    def requests_sha256(self) -> str:
        """Return the SHA-256 of all that the catalog asks for, in whatever order its rows are."""
        return self.workspace.digest(digest_queries.REQUESTS)

    def within(self, limit: int | None, max_duration: float | None = None) -> Self:
        """Return the plan as a run carries it out that is held to so many calls and seconds.

        It is the same plan, of the same digest: what the run leaves is for the next one.
        """
        pace, doubts, in_time, guessed = self.options.pace, self.figures.doubts, None, None
        if pace is not None and max_duration is not None:
            in_time = max(0, pace.requests(max_duration) - doubts)
            guessed = None if self.options.is_pace_learned else pace.rate
        figures = replace(
            self.figures,
            limit=limit,
            max_duration=max_duration,
            in_time=in_time,
            guessed_rate=guessed,
        )
        seconds = self.options.seconds(figures.to_make + doubts)
        return replace(self, figures=replace(figures, seconds=seconds))

    @property
    def key_fields(self) -> list[pa.Field]:
        """The unique key's columns, as the catalog has them."""
        return self.workspace.key_fields

    def calls(
        self,
        set_ids: Mapping[str, int],
        *,
        limit: int | None = None,
        sample_per: Sequence[str] = (),
    ) -> Iterator[list[Call]]:
        """Yield the calls in sending order, a small batch at a time.

        Before them come those that a restored ledger holds: claimed, they are in review.
        With `limit`, the first so many; `sample_per` (of `retailer`, `intent`, `link_set`) takes
        them in turn from each kind.
        """
        held = queries.HELD_CALLS.format(made_for=self.kind.made_for)
        for batch in self.workspace.stream(held, CALL_BATCH):
            yield [self._call(row, set_ids) for row in batch.to_pylist()]
        kinds = ", ".join(sample_per) if sample_per else "1"
        order = "rank," if sample_per else ""
        query = queries.CALLS.format(sample_per=kinds, order=order, made_for=self.kind.made_for)
        self.workspace.db.execute(query)
        cut = f"WHERE turn <= {int(limit)}" if limit is not None else ""
        reader = self.workspace.stream(f"SELECT * FROM call {cut} ORDER BY turn", CALL_BATCH)  # noqa: S608
        for batch in reader:
            rows = batch.to_pylist()
            for start in range(0, len(rows), CALL_BATCH):
                yield [self._call(row, set_ids) for row in rows[start : start + CALL_BATCH]]

    def _call(self, row: dict[str, Any], set_ids: Mapping[str, int]) -> Call:
        body, for_link_id = row["body"].encode(), row["for_link_id"]
        groups = group_hashes(body)
        if for_link_id is not None:
            # What `group_hashes` never gives: a link that was replaced is a new destination.
            groups = (qr_content_hash(for_link_id, b""), *groups[1:])
        return Call(
            project_id=self.options.project_id,
            link_set=row["link_set"],
            set_id=set_ids[row["link_set"]],
            row_key=row["row_key"],
            action=Action(row["action"]),
            retailer=row["retailer"],
            intent=row["intent"],
            content_hash=row["content_hash"],
            groups=groups,
            body=body,
            expected_op_id=row["current_op"],
            for_link_id=for_link_id,
        )

    def reuses(self, set_ids: Mapping[str, int]) -> list[Move]:
        """Return the rows that go back to an earlier link."""
        rows = self.workspace.db.execute(queries.REUSES).fetchall()
        return [Move(set_ids[name], *rest) for name, *rest in rows]

    def rekeys(self, set_ids: Mapping[str, int]) -> list[KeyChange]:
        """Return the rows that take over the link of one that left the catalog."""
        rows = self.workspace.db.execute(queries.REKEYS).fetchall()
        return [KeyChange(set_ids[name], *rest) for name, *rest in rows]

    def rows_that_stay(self, set_ids: Mapping[str, int]) -> set[tuple[int, str]]:
        """Return the rows in doubt that keep the link that they use."""
        return set(_with_ids(self.workspace.db.execute(queries.THAT_STAY).fetchall(), set_ids))

    def unknown_contents(self) -> Iterator[list[Content]]:
        """Yield the catalog's content of rows whose link was imported without any."""
        [(has_some,)] = self.workspace.db.execute(queries.HAS_UNKNOWN).fetchall()
        if not has_some:
            return
        for batch in self.workspace.stream(queries.UNKNOWN, CALL_BATCH):
            yield [
                Content(
                    op_id=row["current_op"],
                    content_hash=row["content_hash"],
                    groups=group_hashes(row["body"].encode()),
                    body=row["body"].encode(),
                )
                for row in batch.to_pylist()
            ]

    def missing_changes(self, set_ids: Mapping[str, int]) -> tuple[Rows, Rows]:
        """Return the rows that newly left the catalog, and those that came back.

        Both are empty for a table that says nothing of the rows that it doesn't have.
        """
        if not self.kind.is_catalog:
            return [], []
        newly = self.workspace.db.execute(queries.NEWLY_MISSING).fetchall()
        back = self.workspace.db.execute(queries.BACK).fetchall()
        return _with_ids(newly, set_ids), _with_ids(back, set_ids)

    def moved_rows(self, set_ids: Mapping[str, int]) -> Iterator[Rows]:
        """Yield the rows that are new to the plan's partition."""
        partition = self.options.partition
        if partition is not None:
            found = self.workspace.db.execute(queries.MOVED, {"partition": partition})
            while rows := found.fetchmany(_MOVED_BATCH):
                yield _with_ids(rows, set_ids)

    def examples(
        self,
        action: Action,
        reason: Reason | None = None,
        link_set: str | None = None,
        n: int = 3,
    ) -> list[Example]:
        """Return the first `n` rows with an action; replaced and held ones say what changed."""
        return examples_of(
            self.workspace,
            self.kind,
            action=action.value,
            reason=reason.value if reason else None,
            link_set=link_set,
            n=n,
        )

    def rows(self, most: int) -> Iterator[PlannedRow]:
        """Yield the rows with what is decided of each, at most so many: replaced ones first."""
        return planned_rows(self.workspace, self.kind, most)


def _with_ids(rows: Sequence[tuple[str, str]], set_ids: Mapping[str, int]) -> Rows:
    """Return (link set, row key) pairs with the sets' ids in the ledger."""
    return [(set_ids[name], row_key) for name, row_key in rows]
