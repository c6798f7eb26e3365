"""Two ledgers with one face: a model in memory, and the real statements on real SQLite.

The model decides with the library's own `decide` and `OperationState`; what it adds is where rows
are kept. That SQLite does the same is shown by running the same schedules on both.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import idempotency_key, key_digest
from incarts_pipeline.ledger import (
    attempts as records,
    claims,
    current_links as pointers,
    review,
    tables,
)
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Call, Claim, Operation
from incarts_pipeline.ledger.lost_keys import hold_lost
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES, OperationState
from incarts_pipeline.ledger.witness import Witness
from incarts_pipeline.models import LINKS, Action, Answer, AnswerKind, Link, State

T = TypeVar("T")

_GROUPS = (b"d" * 32, b"t" * 32, b"l" * 32)


def call_for(row_key: str, body: bytes, expected_op_id: int | None) -> Call:
    """Return the call that makes a row's link."""
    return Call(
        project_id="demo",
        link_set="s",
        set_id=1,
        row_key=row_key,
        action=Action.CREATE if expected_op_id is None else Action.REPLACE,
        retailer="walmart",
        intent="add_to_cart",
        content_hash=hashlib.sha256(body).digest(),
        groups=_GROUPS,
        body=body,
        expected_op_id=expected_op_id,
    )


class Ledger(Protocol):
    """What a run needs of a ledger; every call is one transaction."""

    def doubts(self, run: str, living: Collection[str]) -> list[Operation]: ...
    def claim(
        self, call: Call, run: str, living: Collection[str], now: Stamp
    ) -> tuple[Claim, Operation | None]: ...
    def mark_sent(self, run: str, sent: Sent) -> bool: ...
    def record(self, run: str, outcome: Outcome) -> None: ...
    def reuse(
        self, row_key: str, op_id: int, expected: int | None, run: str, now: Stamp
    ) -> None: ...
    def row(self, row_key: str) -> Row: ...
    def adopt(self, op_id: int, link_id: str, now: Stamp) -> None: ...
    def recreate(self, op_id: int, now: Stamp) -> None: ...
    def operations(self) -> list[Known]: ...
    def held(self) -> set[str]: ...
    def back_up(self) -> None: ...
    def roll_back(self, *, witnessed: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """One operation as the checks see it."""

    op_id: int
    key: str
    row_key: str
    content_hash: bytes
    generation: int
    state: State
    links: frozenset[str]


@dataclass(frozen=True, slots=True)
class Row:
    """What planning reads of a row: its link, and its operations."""

    op_id: int | None
    content_hash: bytes | None
    operations: list[Known]


@dataclass(slots=True)
class _Op:
    op_id: int
    call: Call
    key: str
    generation: int
    run_id: str | None
    operation_state: OperationState = field(default_factory=OperationState)
    epoch: int = 1
    links: set[str] = field(default_factory=set)

    @property
    def state(self) -> State:
        return self.operation_state.state

    @property
    def content_hash(self) -> bytes:
        return self.call.content_hash

    @property
    def first_sent_wall(self) -> float:
        return self.operation_state.first_sent.wall if self.operation_state.first_sent else 0.0


class MemoryLedger:
    """The model: the same rules, kept in dictionaries."""

    def __init__(self) -> None:
        self._ops: dict[int, _Op] = {}
        self._pointers: dict[str, int] = {}
        self._last = 0
        self._marked: Counter[str] = Counter()  # what the witness keeps, beside the ledger
        self._lost: set[str] = set()
        self._backup: tuple[dict[int, _Op], dict[str, int], set[str]] = ({}, {}, set())

    def back_up(self) -> None:
        """Keep a copy of all that the ledger has."""
        ops = {op.op_id: replace(op, links=set(op.links)) for op in self._ops.values()}
        self._backup = (ops, dict(self._pointers), set(self._lost))

    def roll_back(self, *, witnessed: bool) -> None:
        """Go back to the copy; with a witness, hold what it doesn't know."""
        self._ops, self._pointers, self._lost = self._backup
        self.back_up()
        if not witnessed:
            return
        known = {op.key: op for op in self._ops.values()}
        for key, marks in self._marked.items():
            if key not in known:
                self._lost.add(key)
            elif known[key].state is State.INTENDED:
                op = known[key]
                if marks > op.operation_state.attempts:
                    op.operation_state = replace(op.operation_state, state=State.NEEDS_REVIEW)
                    op.epoch += 1

    def held(self) -> set[str]:
        """Return the keys of which only the witness knows."""
        return {key_digest(key).hex() for key in self._lost}

    def doubts(self, run: str, living: Collection[str]) -> list[Operation]:
        """Take on what is in doubt and nobody is at."""
        found = [
            op
            for op in self._ops.values()
            if op.state in DOUBTFUL_STATES and op.run_id != run and op.run_id not in living
        ]
        oldest_first = sorted(found, key=lambda op: (op.first_sent_wall, op.op_id))
        return [self._take(op, run) for op in oldest_first]

    def claim(
        self, call: Call, run: str, living: Collection[str], now: Stamp
    ) -> tuple[Claim, Operation | None]:
        """Record the intent, or say why not."""
        known = [op for op in self._ops.values() if op.call.row_key == call.row_key]
        current = self._pointers.get(call.row_key)
        verdict = claims.decide(call, known, current, run, living, retry_rejected=False)
        if verdict.claim is not Claim.OURS:
            return verdict.claim, None
        if verdict.drop is not None:
            del self._ops[verdict.drop]
        if verdict.take is not None:
            return Claim.OURS, self._take(self._ops[verdict.take], run)
        self._last += 1
        key = idempotency_key(
            endpoint=LINKS.endpoint,
            project_id=call.project_id,
            link_set=call.link_set,
            row_key=call.row_key,
            content_hash=call.content_hash,
            generation=verdict.generation,
        )
        op = _Op(self._last, call, key, verdict.generation, run)
        self._ops[op.op_id] = op
        if key in self._lost:
            self._lost.remove(key)
            op.operation_state = replace(op.operation_state, state=State.NEEDS_REVIEW)
            return Claim.DOUBT, None
        return Claim.OURS, _operation(op)

    def _take(self, op: _Op, run: str) -> Operation:
        op.run_id = run
        op.epoch += 1
        op.operation_state = op.operation_state.claimed()
        return _operation(op)

    def mark_sent(self, run: str, sent: Sent) -> bool:
        """Record an attempt unless the claim was lost."""
        self._marked[sent.operation.idempotency_key] += 1
        op = self._ops.get(sent.operation.op_id)
        ours = op is not None and op.run_id == run and op.epoch == sent.operation.epoch
        if op is None or not ours or op.state not in (State.INTENDED, State.IN_DOUBT):
            return False
        op.operation_state = op.operation_state.sent(sent.at, sent.api_key_fingerprint)
        return True

    def record(self, run: str, outcome: Outcome) -> None:
        """Record an answer; a link is always news."""
        op = self._ops[outcome.operation.op_id]
        link = outcome.answer.made if outcome.answer else None
        if op.state is not State.DONE and (link or op.epoch == outcome.operation.epoch):
            settled = op.operation_state
            if outcome.state in (State.INTENDED, State.REJECTED):
                settled = replace(settled, first_sent=None, api_key_fingerprint=None)
            op.operation_state = replace(settled, state=outcome.state)
        if link is None:
            return
        op.links.add(link.id)
        newer = op.op_id > self._pointers.get(op.call.row_key, 0)
        if newer and not outcome.operation.for_history:
            self._pointers[op.call.row_key] = op.op_id

    def reuse(self, row_key: str, op_id: int, expected: int | None, run: str, now: Stamp) -> None:
        """Point a row back at a link that it had, unless it has another one by now."""
        if self._pointers.get(row_key) == expected:
            self._pointers[row_key] = op_id

    def row(self, row_key: str) -> Row:
        """Return what planning needs of a row."""
        op_id = self._pointers.get(row_key)
        used = self._ops[op_id].content_hash if op_id is not None else None
        return Row(op_id, used, [op for op in self.operations() if op.row_key == row_key])

    def adopt(self, op_id: int, link_id: str, now: Stamp) -> None:
        """Do what a person does who knows the link."""
        op = self._ops[op_id]
        answer = Answer(kind=AnswerKind.LINK, correlation_id="", made=Link(id=link_id))
        outcome = Outcome(operation=_operation(op), state=State.DONE, at=now, answer=answer)
        self.record("review", outcome)

    def recreate(self, op_id: int, now: Stamp) -> None:
        """Do what a person does who knows that there is no link."""
        op = self._ops[op_id]
        op.operation_state = replace(op.operation_state, state=State.ABANDONED)

    def operations(self) -> list[Known]:
        """Return all operations."""
        return [
            Known(
                op.op_id,
                op.key,
                op.call.row_key,
                op.content_hash,
                op.generation,
                op.state,
                frozenset(op.links),
            )
            for op in self._ops.values()
        ]


def _operation(op: _Op) -> Operation:
    return Operation(
        op_id=op.op_id,
        set_id=1,
        idempotency_key=op.key,
        row_key=op.call.row_key,
        retailer=op.call.retailer,
        intent=op.call.intent,
        content_hash=op.content_hash,
        body=op.call.body,
        epoch=op.epoch,
        operation_state=op.operation_state,
    )


def _raw(connection: sa.Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


class SqliteLedger:
    """The library's own statements on a ledger file."""

    def __init__(self, engine: sa.Engine, file: Path) -> None:
        self._engine = engine
        self._file = file
        self._witness = Witness(file)
        self._backup = sqlite3.connect(":memory:")
        self.back_up()

    def close(self) -> None:
        """Close what it has beside the engine."""
        self._backup.close()
        self._witness.close()

    def back_up(self) -> None:
        """Keep a copy of all that the ledger has."""
        with self._engine.connect() as connection:
            _raw(connection).backup(self._backup)

    def roll_back(self, *, witnessed: bool) -> None:
        """Go back to the copy; with a witness, hold what it doesn't know."""
        with self._engine.connect() as connection:
            self._backup.backup(_raw(connection))
        if witnessed:
            self._do(lambda c: hold_lost(c, self._file))

    def held(self) -> set[str]:
        """Return the keys of which only the witness knows."""
        found = self._do(lambda c: c.execute(sa.select(tables.lost_key)).scalars().all())
        return {digest.hex() for digest in found}

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    def doubts(self, run: str, living: Collection[str]) -> list[Operation]:
        """Take on what is in doubt and nobody is at."""
        return self._do(lambda c: claims.claim_doubts(c, [1], run, living))

    def claim(
        self, call: Call, run: str, living: Collection[str], now: Stamp
    ) -> tuple[Claim, Operation | None]:
        """Record the intent, or say why not."""
        [answer] = self._do(
            lambda c: claims.claim_calls(c, [call], run, living, now, retry_rejected=False)
        )
        return answer

    def mark_sent(self, run: str, sent: Sent) -> bool:
        """Record an attempt unless the claim was lost."""
        self._witness.keep_keys([sent.operation.idempotency_key])
        [ours] = self._do(lambda c: records.write_sent(c, run, [sent]))
        return ours

    def record(self, run: str, outcome: Outcome) -> None:
        """Record an answer; a link is always news."""
        self._do(lambda c: records.write_outcomes(c, run, [outcome]))

    def reuse(self, row_key: str, op_id: int, expected: int | None, run: str, now: Stamp) -> None:
        """Point a row back at a link that it had, unless it has another one by now."""
        move = pointers.Move(1, row_key, op_id, expected)
        self._do(lambda c: pointers.reuse(c, [move], run, now))

    def row(self, row_key: str) -> Row:
        """Return what planning needs of a row."""
        r = tables.row.c
        found = self._do(
            lambda c: c.execute(
                sa.select(r.op_id, r.content_hash).where(r.set_id == 1, r.row_key == row_key)
            ).first()
        )
        known = [op for op in self.operations() if op.row_key == row_key]
        return Row(found.op_id if found else None, found.content_hash if found else None, known)

    def adopt(self, op_id: int, link_id: str, now: Stamp) -> None:
        """Do what a person does who knows the link."""
        self._do(lambda c: review.adopt(c, op_id, Link(id=link_id), now))

    def recreate(self, op_id: int, now: Stamp) -> None:
        """Do what a person does who knows that there is no link."""
        self._do(lambda c: review.recreate(c, op_id, now))

    def operations(self) -> list[Known]:
        """Return all operations."""
        o, k = tables.operation.c, tables.link.c
        rows: list[Any] = self._do(
            lambda c: c.execute(
                sa.select(
                    o.op_id,
                    o.idempotency_key,
                    o.row_key,
                    o.content_hash,
                    o.generation,
                    o.state,
                    sa.func.group_concat(k.link_id),
                )
                .outerjoin(tables.link, k.op_id == o.op_id)
                .group_by(o.op_id)
            ).all()  # type: ignore[arg-type]
        )
        return [
            Known(
                r[0], r[1], r[2], r[3], r[4], State(r[5]), frozenset((r[6] or "").split(",")) - {""}
            )
            for r in rows
        ]
