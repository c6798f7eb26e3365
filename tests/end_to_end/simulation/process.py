"""What one run does, a step at a time: between two yields it is atomic, at a yield it can die."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from incarts_pipeline.api.attribution import Request
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Claim, Operation
from incarts_pipeline.ledger.rekeying import KeyChange
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.state_machine import OperationState, Replay
from incarts_pipeline.models import Answer, AnswerKind, Link, State
from tests.end_to_end.simulation.ledgers import SET_ID, Row, call_for
from tests.end_to_end.simulation.server import Reply

if TYPE_CHECKING:
    from tests.end_to_end.simulation.world import Process, World

_PATIENCE = 4  # attempts for one operation within one run
_OPEN = (State.INTENDED, State.IN_DOUBT)
_DOUBTS = (State.SENT, State.IN_DOUBT, State.NEEDS_REVIEW)


def run(world: World, me: Process) -> Iterator[str]:
    """Settle doubts, move links, make what the catalog wants: the order of the library's writer."""
    yield "begun"
    if world.is_refused:
        world.count("refused to run")
        return
    yield from _settle_doubts(world, me)
    for row_key, body in sorted(world.catalog.items()):
        yield from move_link(world, me, row_key, body)
    rows = sorted(world.catalog.items())
    yield from at_once(world, [_make(world, me, row_key, body) for row_key, body in rows])
    yield from _settle_doubts(world, me)
    me.ended = True


def at_once(world: World, tasks: list[Iterator[str]]) -> Iterator[str]:
    """Let tasks go on in an order that the dice decide, over the same connection."""
    while tasks:
        task = tasks[int(world.chance() * len(tasks))]
        try:
            yield next(task)
        except StopIteration:
            tasks.remove(task)


def _settle_doubts(world: World, me: Process) -> Iterator[str]:
    while found := world.ledger.doubts(me.run_id, world.living(me)):
        yield "claimed doubts"
        tasks = []
        for operation in found:
            row = world.ledger.row(operation.row_key)
            wanted = world.catalog.get(operation.row_key)
            stays = wanted is not None and row.content_hash == content_hash(wanted)
            tasks.append(carry(world, me, replace(operation, for_history=stays)))
        yield from at_once(world, tasks)


def move_link(world: World, me: Process, row_key: str, body: bytes) -> Iterator[str]:
    """Move the link of a row that a person said is this one, while neither has gone on."""
    old_key = world.rekeyed.get(row_key)
    if old_key is None or old_key in world.catalog:
        return
    old = world.ledger.row(old_key)
    if old.op_id is None or old.content_hash != content_hash(body):
        return
    yield "planned"
    world.rekey(me, KeyChange(SET_ID, old_key, row_key, old.op_id), body)


def content_hash(body: bytes | None) -> bytes | None:
    """Return the hash of a row's content, None when it left the catalog."""
    return hashlib.sha256(body).digest() if body is not None else None


def _make(world: World, me: Process, row_key: str, body: bytes) -> Iterator[str]:
    for _ in range(3):
        row = world.ledger.row(row_key)
        past = past_link(row, body)
        yield "planned"
        if past is not None:
            world.ledger.reuse(row_key, past, row.op_id, me.run_id, world.now(me))
            return
        if not wants_call(row, body):
            return
        call = call_for(row_key, body, row.op_id)
        claim, operation = world.ledger.claim(call, me.run_id, world.living(me), world.now(me))
        yield "claimed"
        if operation is not None:
            yield from carry(world, me, operation)
        if claim is not Claim.BUSY:
            return


def past_link(row: Row, body: bytes) -> int | None:
    """Return the operation of an earlier link with this content, when the row may go back to it."""
    wanted = content_hash(body)
    if row.content_hash == wanted or any(op.state in _DOUBTS for op in row.operations):
        return None
    done = [o for o in row.operations if o.state is State.DONE and o.content_hash == wanted]
    return max((o.op_id for o in done if o.links - o.disputed), default=None)


def wants_call(row: Row, body: bytes) -> bool:
    wanted = content_hash(body)
    if row.content_hash == wanted or any(op.state in _DOUBTS for op in row.operations):
        return False
    return not any(
        op.state is State.REJECTED and op.content_hash == wanted for op in row.operations
    )


def carry(world: World, me: Process, operation: Operation) -> Iterator[str]:
    """Send one operation until it is settled or this run's patience ends."""
    operation_state = operation.operation_state
    attempts = list(operation.earlier_ids)
    for _ in range(_PATIENCE):
        now = world.now(me)
        if operation_state.first_sent is not None:
            verdict = world.rule(me).judge(
                operation_state.first_sent, now, operation_state.api_key_fingerprint
            )
            if verdict is not Replay.ALLOWED:
                yield "judged"
                outcome = Outcome(operation=operation, state=State.NEEDS_REVIEW, at=now)
                world.record(me, outcome)
                return
        operation_state = operation_state.sent(now, me.fingerprint)
        sent = Sent(
            operation=operation,
            number=operation_state.attempts,
            correlation_id=f"{me.run_id}-{operation.op_id}-{operation_state.attempts}",
            api_key_fingerprint=me.fingerprint,
            at=now,
        )
        operation_state = yield from _attempt(world, me, sent, operation_state, attempts)
        attempts.append(sent.correlation_id)
        if operation_state is None or operation_state.state not in _OPEN:
            return
        world.pass_time(world.chance() * 20)
        yield "backed off"


def _attempt(
    world: World, me: Process, sent: Sent, operation_state: OperationState, earlier: list[str]
) -> Generator[str, None, OperationState | None]:
    """Mark, send, hear, record; return where the operation stands, None when it isn't ours."""
    if world.writer.marks_first:
        yield "about to mark"
        if not world.ledger.mark_sent(me.run_id, sent):
            return None
    yield "marked"
    overslept = world.now(me).boot - sent.at.boot > LEASE_SECONDS
    reply = Reply(AnswerKind.NOT_SENT) if overslept else world.send(me, sent)
    answer = _answer(world, sent, reply, earlier)
    if not world.writer.is_in_step(answer):
        me.connection.close()
    yield "in flight"
    if not world.writer.marks_first and not world.ledger.mark_sent(me.run_id, sent):
        return None
    operation_state = world.writer.answered(operation_state, answer.kind)
    yield "answered"
    world.record(
        me,
        Outcome(
            operation=sent.operation,
            state=operation_state.state,
            at=world.now(me),
            number=sent.number,
            answer=answer,
        ),
    )
    yield "recorded"
    return operation_state


def _answer(world: World, sent: Sent, reply: Reply, earlier: Sequence[str]) -> Answer:
    """Return the answer as the client gives it: only when it is the request's."""
    content = {"customUrl": reply.content.decode()} if reply.content else {}
    made = Link(id=reply.link_id, raw=dict(content)) if reply.link_id else None
    answer = Answer(
        kind=reply.kind, correlation_id=sent.correlation_id, made=made, echoed_id=reply.echo
    )
    body = json.dumps({"customUrl": sent.operation.body.decode()}).encode()
    request = Request(correlation_id=sent.correlation_id, body=body, earlier=tuple(earlier))
    return world.writer.attribute(answer, request)
