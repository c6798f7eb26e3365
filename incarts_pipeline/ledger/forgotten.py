"""Forgotten records: what a run was told is on disk, and the ledger's database doesn't know.

It went back to an earlier state: another server took over which had not heard of all. The run still
has its last groups in memory. Its operations have other ids now, or none, and their ids may be
given to others; so all goes by idempotency keys, as with what is imported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.attempts import Outcome, Sent, link_values
from incarts_pipeline.ledger.claims import Operation
from incarts_pipeline.ledger.lost_keys import ERROR_CODE
from incarts_pipeline.ledger.restore import Entry, restore
from incarts_pipeline.ledger.state_machine import OPEN_STATES
from incarts_pipeline.models import Answer, Link, QrCode, State

_MOST_RECORDS = 20_000  # in memory, with the bodies of their operations

_O = tables.operation.c
_S = tables.link_set.c


class Group(NamedTuple):
    """What one transaction recorded: attempts about to leave, and answers."""

    sent: Sequence[Sent]
    outcomes: Sequence[Outcome]


@dataclass(slots=True, kw_only=True)
class Memory:
    """The last groups of a run that are on disk."""

    _groups: deque[Group] = field(default_factory=deque)
    _records: int = 0

    def add(self, group: Group) -> None:
        """Remember a group; the oldest ones make room for it."""
        self._groups.append(group)
        self._records += _size(group)
        while self._records > _MOST_RECORDS and len(self._groups) > 1:
            self._records -= _size(self._groups.popleft())

    def last(self, count: int) -> list[Group]:
        """Return the last so many groups, oldest first; fewer where more are not remembered."""
        return list(self._groups)[-count:] if count > 0 else []


def _size(group: Group) -> int:
    return len(group.sent) + len(group.outcomes)


def write_forgotten(
    connection: sa.Connection, run_id: str, groups: Sequence[Group]
) -> list[Operation]:
    """Bring the records of groups back, oldest first; return operations that have no place.

    What was sent and has no answer is in doubt, and the next run settles it, or says that a person
    must. Those without a place are of a link set that is forgotten, too.
    """
    sent = {one.operation.idempotency_key: one for group in groups for one in group.sent}
    told = {one.operation.idempotency_key: one for group in groups for one in group.outcomes}
    operations = {one.operation.idempotency_key: one.operation for one in sent.values()}
    operations |= {one.operation.idempotency_key: one.operation for one in told.values()}
    ids = {one.set_id for one in operations.values()}
    known = set(connection.scalars(sa.select(_S.set_id).where(_S.set_id.in_(ids))))
    of_known = {key: one for key, one in operations.items() if one.set_id in known}
    found = [
        (key, _entry(one, run_id, sent.get(key), told.get(key))) for key, one in of_known.items()
    ]
    entries = [entry for _, entry in found if entry is not None]
    if entries:
        stamps = [*(one.at for one in sent.values()), *(one.at for one in told.values())]
        at = max(stamps, key=lambda at: at.wall)
        restore(connection, {str(set_id): set_id for set_id in known}, entries, at)
        _let_settle(
            connection, [sent[key] for key, one in found if one and one.is_open and key in sent]
        )
    return [one for one in operations.values() if one.set_id not in known]


def _entry(
    operation: Operation, run_id: str, sent: Sent | None, told: Outcome | None
) -> Entry | None:
    """Return what is known of an operation; None when provably nothing came of it."""
    state = told.state if told is not None else State.IN_DOUBT
    if state is State.INTENDED:
        return None
    answer = told.answer if told is not None else None
    made = answer.made if answer is not None else None
    at = told.at if told is not None else None
    return Entry(
        link_set=str(operation.set_id),
        row_key=operation.row_key,
        idempotency_key=operation.idempotency_key,
        state=state,
        retailer=operation.retailer,
        intent=operation.intent,
        content_hash=operation.content_hash,
        body=operation.body,
        attempts=sent.number if sent is not None else operation.operation_state.attempts,
        http_status=answer.status if answer is not None else None,
        correlation_id=sent.correlation_id if sent is not None else operation.correlation_id,
        error_code=ERROR_CODE if state in OPEN_STATES else _error_code(answer),
        first_sent_at=_first_sent(sent).micros if sent is not None else None,
        settled_at=at.micros if at is not None else None,
        run_id=run_id,
        link=_link(answer, made, run_id, at) if made is not None and at is not None else None,
        in_use=not operation.for_history,
        for_link_id=operation.for_link_id,
    )


def _error_code(answer: Answer | None) -> str | None:
    return answer.error_code if answer is not None else None


def _link(answer: Answer | None, made: Link | QrCode, run_id: str, at: Stamp) -> dict[str, Any]:
    values = link_values(0, made, run_id, at, answer.proof if answer is not None else None)
    del values["op_id"]
    return values


def _first_sent(sent: Sent) -> Stamp:
    return sent.operation.operation_state.first_sent or sent.at


def _let_settle(connection: sa.Connection, sent: Sequence[Sent]) -> None:
    """Let the next run settle what is in doubt: how old it is, and under which key, is known."""
    for one in sent:
        first = _first_sent(one)
        before = one.operation.operation_state.api_key_fingerprint
        connection.execute(
            sa.update(tables.operation)
            .where(
                _O.idempotency_key == one.operation.idempotency_key,
                _O.state == State.NEEDS_REVIEW.value,
                _O.error_code == ERROR_CODE,
            )
            .values(
                state=State.IN_DOUBT.value,
                first_sent_at=first.micros,
                first_sent_boot=first.boot,
                boot_id=first.boot_id,
                api_key_fingerprint=before or one.api_key_fingerprint,
                settled_at=None,
                settled_run_id=None,
            )
        )
