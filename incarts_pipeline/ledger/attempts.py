"""Attempts and outcomes: what is on disk before a request leaves, and after its answer came.

Every function here runs inside one transaction of the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.claims import Operation
from incarts_pipeline.ledger.link_owners import NewLink, links_of_others
from incarts_pipeline.ledger.state_machine import NOT_EFFECTED_STATES
from incarts_pipeline.ledger.statements import Statement, literal
from incarts_pipeline.ledger.store import Expected, database_of
from incarts_pipeline.models import Answer, AnswerKind, Dispute, Link, Proof, QrCode, State
from incarts_pipeline.outgoing import logger_of

logger = logger_of(__name__)

_MOST_LINKS_OF_OTHERS = 8  # answered for one operation, before a person has to look

_O = tables.operation.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An attempt that is about to leave; `number` counts from 1."""

    operation: Operation
    number: int
    correlation_id: str
    api_key_fingerprint: str | None
    at: Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An attempt's answer and the state that the operation goes into.

    `number` is None when no attempt was made, as for a doubt that has grown too old; `lets_go` is
    whether the run that has claimed it may claim it again.
    """

    operation: Operation
    state: State
    at: Stamp
    number: int | None = None
    answer: Answer | None = None
    error_code: str | None = None
    error_message: str | None = None
    lets_go: bool = False


_ID = sa.bindparam("id", type_=sa.BigInteger)
_NUMBER = sa.bindparam("number", type_=sa.Integer)
_CORRELATION = sa.bindparam("correlation", type_=sa.Text)
_SENT = Statement(
    sa.update(tables.operation)
    .where(
        _O.op_id == sa.bindparam("id", type_=sa.BigInteger),
        _O.run_id == sa.bindparam("run", type_=sa.Text),
        _O.epoch == sa.bindparam("in_epoch", type_=sa.Integer),
        sa.or_(_O.state == literal(State.INTENDED), _O.state == literal(State.IN_DOUBT)),
    )
    .values(
        state=literal(State.SENT),
        attempts=sa.bindparam("number", type_=sa.Integer),
        correlation_id=sa.bindparam("correlation", type_=sa.Text),
        api_key_fingerprint=sa.case(
            (_O.first_sent_at.is_(None), sa.bindparam("fingerprint", type_=sa.Text)),
            else_=_O.api_key_fingerprint,
        ),
        boot_id=sa.case(
            (_O.first_sent_at.is_(None), sa.bindparam("boot_id_", type_=sa.Text)), else_=_O.boot_id
        ),
        first_sent_boot=sa.func.coalesce(_O.first_sent_boot, sa.bindparam("boot", type_=sa.Float)),
        first_sent_at=sa.func.coalesce(_O.first_sent_at, sa.bindparam("wall", type_=sa.BigInteger)),
    ),
    key=["id"],
)


# Only of an operation that was marked just now, and not of one that another run has taken over.
_NEW_ATTEMPT = Statement(
    sa.insert(tables.attempt).from_select(
        ["op_id", "number", "run_id", "correlation_id", "sent_at"],
        sa.select(
            _ID,
            _NUMBER,
            sa.bindparam("run", type_=sa.Text),
            _CORRELATION,
            sa.bindparam("wall", type_=sa.BigInteger),
        ).where(
            # For each row by itself: of an EXISTS PostgreSQL makes a join with all operations.
            sa.select(_O.correlation_id)
            .where(_O.op_id == _ID, _O.state == literal(State.SENT))
            .scalar_subquery()
            == _CORRELATION
        ),
    ),
    key=["id", "number"],
)


def write_sent(connection: sa.Connection, run_id: str, sent: Sequence[Sent]) -> list[bool]:
    """Record attempts as about to leave; False for one whose claim is no longer this run's."""
    return mark(connection, run_id, sent).found(lambda look: look(connection))


def mark(connection: sa.Connection, run_id: str, sent: Sequence[Sent]) -> Expected[list[bool]]:
    """Record attempts as `write_sent` does, along with what comes next in the transaction."""
    values = [_sent_values(one, run_id) for one in sent]
    return Expected(
        changed=database_of(connection).run_later(
            connection, [(_SENT, values), (_NEW_ATTEMPT, values)]
        ),
        rows=len(sent),
        usual=[True] * len(sent),
        look=partial(_still_ours, sent=sent),
    )


def _sent_values(sent: Sent, run_id: str) -> dict[str, Any]:
    return {
        "id": sent.operation.op_id,
        "run": run_id,
        "in_epoch": sent.operation.epoch,
        "number": sent.number,
        "correlation": sent.correlation_id,
        "fingerprint": sent.api_key_fingerprint,
        "boot_id_": sent.at.boot_id,
        "boot": sent.at.boot,
        "wall": sent.at.micros,
    }


def _still_ours(connection: sa.Connection, sent: Sequence[Sent]) -> list[bool]:
    """Return which of the attempts were recorded: another run may have taken the others over."""
    op_ids = [one.operation.op_id for one in sent]
    recorded = {
        tuple(row)
        for row in connection.execute(
            sa.select(_O.op_id, _O.correlation_id).where(
                _O.op_id.in_(op_ids), _O.state == State.SENT.value
            )
        )
    }
    return [(one.operation.op_id, one.correlation_id) in recorded for one in sent]


_OUTCOME = Statement(
    sa.update(tables.operation)
    .where(
        _O.op_id == sa.bindparam("id", type_=sa.BigInteger),
        _O.state != literal(State.DONE),
        # Another run that took the operation over knows more than we do; a link id is always news.
        sa.or_(
            _O.epoch == sa.bindparam("in_epoch", type_=sa.Integer),
            sa.bindparam("is_link", type_=sa.Boolean) == sa.true(),
        ),
    )
    .values(
        state=sa.bindparam("to_state", type_=sa.Text),
        run_id=sa.case((sa.bindparam("lets_go", type_=sa.Boolean), None), else_=_O.run_id),
        http_status=sa.func.coalesce(sa.bindparam("status", type_=sa.Integer), _O.http_status),
        error_code=sa.bindparam("code", type_=sa.Text),
        error_message=sa.bindparam("message", type_=sa.Text),
        settled_at=sa.bindparam("at", type_=sa.BigInteger),
        settled_run_id=sa.bindparam("run", type_=sa.Text),
        first_sent_at=sa.case(
            (sa.bindparam("undone", type_=sa.Boolean), None), else_=_O.first_sent_at
        ),
        first_sent_boot=sa.case(
            (sa.bindparam("undone", type_=sa.Boolean), None), else_=_O.first_sent_boot
        ),
    ),
    key=["id"],
)

_ATTEMPT = Statement(
    sa.update(tables.attempt)
    .where(
        tables.attempt.c.op_id == sa.bindparam("id", type_=sa.BigInteger),
        tables.attempt.c.number == sa.bindparam("in_number", type_=sa.Integer),
    )
    .values(
        answered_at=sa.bindparam("at", type_=sa.BigInteger),
        echoed_id=sa.bindparam("echoed", type_=sa.Text),
        kind=sa.bindparam("in_kind", type_=sa.Text),
        http_status=sa.bindparam("status", type_=sa.Integer),
        error_code=sa.bindparam("code", type_=sa.Text),
        error_message=sa.bindparam("message", type_=sa.Text),
    ),
    key=["id", "in_number"],
)


def write_outcomes(connection: sa.Connection, run_id: str, outcomes: Sequence[Outcome]) -> None:
    """Record answers: the operation's state, the attempt's answer, and the link if there is one.

    An answer with the link of another row leaves a doubt instead.
    """
    record(connection, run_id, outcomes).found(lambda look: look(connection))


def record(connection: sa.Connection, run_id: str, outcomes: Sequence[Outcome]) -> Expected[None]:
    """Record answers as `write_outcomes` does, along with what comes next in the transaction."""
    outcomes = _without_links_of_others(connection, outcomes)
    attempts = [_attempt_values(o, o.answer) for o in outcomes if o.answer is not None]
    links = [
        (o, o.answer.made) for o in outcomes if o.answer is not None and o.answer.made is not None
    ]
    changed = database_of(connection).run_later(
        connection,
        [
            (_OUTCOME, [_outcome_values(o, run_id) for o in outcomes]),
            (_ATTEMPT, attempts),
            *_links_and_rows(run_id, links),
        ],
    )
    # Where fewer are changed, something was done already: by the same link?
    ids = [o.operation.op_id for o, _ in links]
    look = partial(_raise_alarm, op_ids=ids)
    return Expected(changed=changed, rows=len(outcomes), usual=None, look=look)


def _without_links_of_others(
    connection: sa.Connection, outcomes: Sequence[Outcome]
) -> Sequence[Outcome]:
    new = [
        NewLink(op_id=o.operation.op_id, link_id=o.answer.made.id, proof=o.answer.proof, at=o.at)
        for o in outcomes
        if o.answer is not None and o.answer.made is not None
    ]
    refused = links_of_others(connection, new) if new else {}
    if not refused:
        return outcomes
    before = _links_of_others_before(connection, list(refused))
    return [
        _doubted(o, o.answer, refused[o.operation.op_id], before.get(o.operation.op_id, 0))
        if o.answer is not None and o.operation.op_id in refused
        else o
        for o in outcomes
    ]


def _links_of_others_before(connection: sa.Connection, op_ids: Sequence[int]) -> dict[int, int]:
    """Count the attempts at operations that were answered with links of other rows."""
    a = tables.attempt.c
    counted = (
        sa.select(a.op_id, sa.func.count().label("n"))
        .where(a.op_id.in_(op_ids), a.error_code == Dispute.LINK_OF_ANOTHER_ROW.value)
        .group_by(a.op_id)
    )
    return {row.op_id: row.n for row in connection.execute(counted)}


def _doubted(outcome: Outcome, answer: Answer, owner: str, before: int) -> Outcome:
    """Return an outcome as the doubt that it is when the link is of another operation.

    `before` counts such answers that it had.
    """
    is_last = outcome.number is None or before + 1 >= _MOST_LINKS_OF_OTHERS
    answered = answer.made.id if answer.made is not None else ""
    doubt = replace(
        answer,
        kind=AnswerKind.UNKNOWN,
        made=None,
        error_code=Dispute.LINK_OF_ANOTHER_ROW.value,
        error_message=f"{answered} was answered, which is the link of {owner}",
    )
    state = State.NEEDS_REVIEW if is_last else State.IN_DOUBT
    return replace(outcome, state=state, answer=doubt, lets_go=not is_last)


def _outcome_values(outcome: Outcome, run_id: str) -> dict[str, Any]:
    answer = outcome.answer
    return {
        "id": outcome.operation.op_id,
        "in_epoch": outcome.operation.epoch,
        "is_link": answer is not None and answer.kind is AnswerKind.LINK,
        "to_state": outcome.state.value,
        "status": answer.status if answer else None,
        "code": answer.error_code if answer else outcome.error_code,
        "message": answer.error_message if answer else outcome.error_message,
        "at": outcome.at.micros,
        "run": run_id,
        "undone": outcome.state in NOT_EFFECTED_STATES,
        "lets_go": outcome.lets_go,
    }


def _attempt_values(outcome: Outcome, answer: Answer) -> dict[str, Any]:
    return {
        "id": outcome.operation.op_id,
        "in_number": outcome.number,
        "at": outcome.at.micros,
        "echoed": answer.echoed_id,
        "in_kind": answer.kind.value,
        "status": answer.status,
        "code": answer.error_code,
        "message": answer.error_message,
    }


_LINK = Statement(
    postgresql.insert(tables.link).on_conflict_do_nothing(),
    [c.name for c in tables.link.c],
    key=["op_id", "link_id"],
)
# A link of an older operation that arrives late belongs to the history, not to the row.
_ROW = Statement(
    tables.replace_row_by("op_id"), [c.name for c in tables.row.c], key=["set_id", "row_key"]
)


def _links_and_rows(
    run_id: str, links: Sequence[tuple[Outcome, Link | QrCode]]
) -> list[tuple[Statement, list[dict[str, Any]]]]:
    """Return what keeps links, and what lets their rows use them."""
    made = [
        link_values(o.operation.op_id, k, run_id, o.at, o.answer.proof if o.answer else None)
        for o, k in links
    ]
    used = [
        tables.row_values(
            (o.operation.set_id, o.operation.row_key),
            o.operation.op_id,
            o.operation.content_hash,
            k.id,
            changed_at=o.at.micros,
            run_id=run_id,
        )
        for o, k in links
        if not o.operation.for_history
    ]
    return [(_LINK, made), (_ROW, used)]


def link_values(
    op_id: int, made: Link | QrCode, run_id: str, at: Stamp, proof: Proof | None = None
) -> dict[str, Any]:
    """Return what was made as the ledger keeps it: its id is in `link_id`, whatever it is."""
    link, code = (made, made.qr_code) if isinstance(made, Link) else (None, made)
    return {
        "link_id": made.id,
        "op_id": op_id,
        "short_link": link.short_link if link else None,
        "short_id": link.short_id if link else None,
        "target_url": link.target_url if link else None,
        "qr_code_id": code.id if code else None,
        "qr_image_url": code.image_url if code else None,
        "encoded_url": code.encoded_url if code else None,
        "created_at": round(made.created_at.timestamp() * 1e6) if made.created_at else None,
        "received_at": at.micros,
        "run_id": run_id,
        "proof": proof,
        "status": link.status if link else None,
    }


def _raise_alarm(connection: sa.Connection, op_ids: Sequence[int]) -> None:
    """Say loudly when one key has two link ids: Incarts did not honour it. Both are kept."""
    if not op_ids:
        return
    link = tables.link.c
    twice = connection.execute(
        sa.select(_O.idempotency_key, sa.func.aggregate_strings(link.link_id, ", "))
        .join(tables.link, link.op_id == _O.op_id)
        .where(_O.op_id.in_(op_ids))
        .group_by(_O.op_id)
        .having(sa.func.count() > 1)
    )
    for key, ids in twice:
        logger.critical("Incarts made two links under one idempotency key %s: %s", key, ids)
