"""Review: operations whose link may exist, and the two ways in which a person settles them.

The functions that take a connection run inside one transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp, from_micros
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.kinds import kind_for
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.attempts import Outcome, write_outcomes
from incarts_pipeline.ledger.claims import operation_of
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES, Replay, ReplayRule
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import Answer, AnswerKind, Link, Proof, QrCode, State

REVIEWER = "review"  # in place of a run, where a person decided

_O = tables.operation.c
_A = tables.attempt.c
_R = tables.row.c
_REVIEWABLE = (*DOUBTFUL_STATES, State.NEEDS_REVIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation whose link may exist, or whose QR code for the link `for_link_id`.

    `needs_person` says whether no run may settle it by itself any more. `first_sent_at` is in
    microseconds since 1970 UTC.
    """

    op_id: int
    idempotency_key: str
    project_id: str
    link_set: str
    row_key: str
    state: State
    reason: str
    attempts: int
    first_sent_at: int | None
    http_status: int | None
    correlation_id: str | None
    needs_person: bool
    for_link_id: str | None = None
    settles_until: int | None = None  # microseconds; None when a person must
    run_id: str | None = None  # of the living run that is at it, and settles it

    @property
    def is_taken(self) -> bool:
        """Whether the link has a QR code of this identifier that the ledger doesn't know."""
        conflict = self.state is State.NEEDS_REVIEW and self.http_status == 409
        return conflict and self.for_link_id is not None


def wait_for_claims(connection: sa.Connection) -> None:
    """Wait until no other transaction claims anything, and keep it so until this one ends."""
    sets = connection.scalars(sa.select(tables.link_set.c.set_id)).all()
    database_of(connection).locked(connection, sets)


def cases(
    connection: sa.Connection,
    rule: ReplayRule,
    now: Stamp,
    living: Collection[str] = (),
    keys: Sequence[str] = (),
) -> list[Case]:
    """Return what is in flight, in doubt or needs review, oldest first; with `keys`, only those.

    `living` are the runs that may still be sending.
    """
    s = tables.link_set.c
    query = (
        sa.select(tables.operation, s.project_id, s.name)
        .join(tables.link_set, s.set_id == _O.set_id)
        .where(tables.IS_OPEN, _O.state.in_([state.value for state in _REVIEWABLE]))
        .order_by(_O.first_sent_at, _O.op_id)
    )
    if keys:
        query = query.where(_O.idempotency_key.in_(keys))
    return [_case(row, rule, now, living) for row in connection.execute(query)]


def _case(row: Any, rule: ReplayRule, now: Stamp, living: Collection[str]) -> Case:
    operation_state = operation_of(row, b"").operation_state
    reason = row.error_code or f"status {row.http_status}" if row.http_status else row.error_code
    person, until = row.state == State.NEEDS_REVIEW, None
    is_running = not person and row.run_id in living
    if not person and not is_running and operation_state.first_sent is not None:
        verdict = rule.judge(operation_state.first_sent, now, operation_state.api_key_fingerprint)
        person = verdict is not Replay.ALLOWED
        reason = verdict.value if person else reason
        until = None if person else round((operation_state.first_sent.wall + rule.deadline) * 1e6)
    return Case(
        op_id=row.op_id,
        idempotency_key=row.idempotency_key,
        project_id=row.project_id,
        link_set=row.name,
        row_key=row.row_key,
        state=State(row.state),
        reason=reason or "answer lost",
        attempts=row.attempts,
        first_sent_at=row.first_sent_at,
        http_status=row.http_status,
        correlation_id=row.correlation_id,
        needs_person=person,
        for_link_id=row.for_link_id,
        settles_until=until,
        run_id=row.run_id if is_running else None,
    )


def adopt(connection: sa.Connection, op_id: int, made: Link | QrCode, now: Stamp) -> None:
    """Record what an operation made: its link, or its QR code, which a person found.

    A disputed link may be the one after all, or its row gets this one instead.

    Raises:
        RefusedError: it is another operation's already, which leads elsewhere.
    """
    k, own = tables.link.c, _open(connection, op_id)
    database_of(connection).reserve_links(connection, [made.id])
    leads_to_the_same = sa.and_(
        sa.literal(own.for_link_id is None),
        _O.for_link_id.is_(None),
        _O.retailer == own.retailer,
        _O.intent == own.intent,
        _O.destination_hash == own.destination_hash,
    )
    owner = connection.execute(
        sa.select(_O.row_key, _O.idempotency_key)
        .join(tables.link, k.op_id == _O.op_id)
        .where(
            sa.or_(k.link_id == made.id, k.qr_code_id == made.id),
            _O.op_id != op_id,
            ~leads_to_the_same,
            k.proof.is_distinct_from(Proof.DISPUTED.value),
        )
    ).first()
    if owner is not None:
        raise RefusedError(
            f"{made.id} is already the link of row {owner.row_key} ({owner.idempotency_key}).",
            fix="Look again at which one belongs to this key.",
            guard="adopted_twice",
        )
    answer = Answer(kind=AnswerKind.LINK, correlation_id="", made=made, proof=Proof.REVIEW)
    operation = operation_of(own, b"")
    outcome = Outcome(operation=operation, state=State.DONE, at=now, answer=answer)
    connection.execute(
        sa.update(tables.link)
        .where(k.op_id == op_id, k.link_id == made.id)
        .values(proof=Proof.REVIEW.value)
    )
    write_outcomes(connection, REVIEWER, [outcome])
    connection.execute(
        sa.update(tables.row)
        .where(_R.op_id == op_id, _R.link_id != made.id)
        .values(link_id=made.id, changed_at=now.micros, run_id=REVIEWER)
    )


def recreate(connection: sa.Connection, op_id: int, now: Stamp) -> None:
    """Give an operation up: a person knows that it has no link, or a wrong one.

    The next run makes a new one.
    """
    _open(connection, op_id)
    connection.execute(sa.delete(tables.row).where(_R.op_id == op_id))
    connection.execute(
        sa.update(tables.operation)
        .where(_O.op_id == op_id)
        .values(
            state=State.ABANDONED.value,
            epoch=_O.epoch + 1,
            settled_at=now.micros,
            settled_run_id=REVIEWER,
        )
    )


def _open(connection: sa.Connection, op_id: int) -> Any:
    own = sa.select(tables.operation).where(_O.op_id == op_id).with_for_update()
    row = connection.execute(own).one()
    if row.state not in _REVIEWABLE:
        raise RefusedError(
            f"{row.idempotency_key} is {row.state}: there is nothing to decide.",
            fix="`incarts review list` shows what is open.",
            guard="not_in_review",
        )
    return row


def evidence(connection: sa.Connection, found: Sequence[Case]) -> list[dict[str, Any]]:
    """Return all that Incarts needs to find out whether each operation's link exists."""
    op_ids = [case.op_id for case in found]
    attempts: dict[int, list[Any]] = {}
    for start in range(0, len(op_ids), 10_000):
        chunk = op_ids[start : start + 10_000]
        for row in connection.execute(
            sa.select(tables.attempt).where(_A.op_id.in_(chunk)).order_by(_A.op_id, _A.number)
        ):
            attempts.setdefault(row.op_id, []).append(row)
    return [_evidence(connection, case, attempts.get(case.op_id, [])) for case in found]


def _evidence(connection: sa.Connection, case: Case, attempts: Sequence[Any]) -> dict[str, Any]:
    b, k = tables.body.c, tables.link.c
    body = connection.scalar(sa.select(b.body).where(b.op_id == case.op_id))
    row = connection.execute(sa.select(tables.operation).where(_O.op_id == case.op_id)).one()
    return {
        "idempotency_key": case.idempotency_key,
        "project_id": case.project_id,
        "link_set": case.link_set,
        "row_key": case.row_key,
        "state": case.state.value,
        "reason": case.reason,
        "endpoint": kind_for(case.for_link_id).endpoint.replace("{linkId}", case.for_link_id or ""),
        "body": json.loads(body) if body else None,
        "body_bytes": len(body) if body else None,
        "body_sha256": hashlib.sha256(body).hexdigest() if body else row.content_hash.hex(),
        "attempts": [_attempt(one) for one in attempts],
        "links": [
            {"id": link.link_id, "proof": link.proof, "status": link.status}
            for link in connection.execute(sa.select(tables.link).where(k.op_id == case.op_id))
        ],
    }


def _attempt(row: Any) -> Mapping[str, Any]:
    return {
        "number": row.number,
        "correlation_id": row.correlation_id,
        "echoed_correlation_id": row.echoed_id,
        "sent_at": from_micros(row.sent_at).isoformat(),
        "answered_at": from_micros(row.answered_at).isoformat() if row.answered_at else None,
        "http_status": row.http_status,
        "error_code": row.error_code,
        "error_message": row.error_message,
    }
