"""The model of a ledger: the library's rules, kept in dictionaries.

It decides with the library's own `decide` and `OperationState`; what it adds is where rows are
kept. That SQLite does the same is shown by running the same schedules on both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import idempotency_key, key_digest
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import claims
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Call, Claim, Operation
from incarts_pipeline.ledger.rekeying import KeyChange
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES, OPEN_STATES, OperationState
from incarts_pipeline.models import Answer, AnswerKind, Link, Proof, State
from tests.end_to_end.simulation.ledgers import SET_ID, Known, Row

_MOST_LINKS_OF_OTHERS = 8
_UNPROVEN = (None, Proof.NOTHING_AGAINST_IT, Proof.DISPUTED)


@dataclass(slots=True)
class _Op:
    op_id: int
    call: Call
    key: str
    generation: int
    run_id: str | None
    operation_state: OperationState = field(default_factory=OperationState)
    epoch: int = 1
    earlier_ids: tuple[str, ...] = ()
    links: dict[str, Proof | None] = field(default_factory=dict)
    of_others: int = 0  # answers with links of other rows
    turn: int | None = None  # while it is enqueued
    for_history: bool = False

    @property
    def state(self) -> State:
        return self.operation_state.state

    @property
    def content_hash(self) -> bytes:
        return self.call.content_hash

    @property
    def first_sent_wall(self) -> float:
        return self.operation_state.first_sent.wall if self.operation_state.first_sent else 0.0

    def goes_into(self, state: State) -> None:
        self.operation_state = replace(self.operation_state, state=state)

    def known(self) -> Known:
        links = frozenset(self.links)
        disputed = frozenset(link for link in links if self.links[link] is Proof.DISPUTED)
        return Known(
            self.op_id,
            self.key,
            self.call.row_key,
            self.content_hash,
            self.generation,
            self.state,
            links,
            disputed,
        )

    def link_to_use(self) -> str | None:
        """Return the link that its row may use: the adopted one, else the first that came."""
        usable = {link: proof for link, proof in self.links.items() if proof is not Proof.DISPUTED}
        return min(usable, key=lambda link: usable[link] is not Proof.REVIEW, default=None)


@dataclass(slots=True)
class _Contents:
    """What is in the file; a backup has it too."""

    ops: dict[int, _Op] = field(default_factory=dict)
    rows: dict[str, tuple[int, str]] = field(default_factory=dict)  # operation and link in use
    lost: set[str] = field(default_factory=set)
    commits: int = 0

    def copied(self) -> _Contents:
        """Return a copy that shares nothing that changes."""
        ops = {op.op_id: replace(op, links=dict(op.links)) for op in self.ops.values()}
        return _Contents(ops, dict(self.rows), set(self.lost), self.commits)


class MemoryLedger:
    """The model; a test breaks one of its rules at a time."""

    def __init__(self) -> None:
        self._in = _Contents()
        self._backup = _Contents()
        self._marked: Counter[str] = Counter()  # what the witness keeps, beside the file
        self._witnessed = 0
        self.owns_links = True  # one link id belongs to one row
        self.moves_doubts = False  # a row is re-keyed although it may have a link of its own
        self.names_moves = True  # the witness knows of keys to which links were moved
        self.holds_lost = True  # a backup learns which keys it doesn't know
        self.holds_unsent = True  # and which were sent since that were not sent in it

    def back_up(self) -> None:
        """Keep a copy of all that the ledger has."""
        self._backup = self._in.copied()

    def roll_back(self) -> None:
        """Put the copy in its place."""
        self._in = self._backup.copied()

    def is_newest(self) -> bool:
        """Say whether it has all transactions of which the witness knows."""
        return self._in.commits >= self._witnessed

    def restore(self) -> None:
        """Hold what the witness knows to have been sent and the copy doesn't know."""
        known = {op.key: op for op in self._in.ops.values()}
        for key, marks in self._marked.items():
            if key not in known:
                if self.holds_lost:
                    self._in.lost.add(key)
            elif self.holds_unsent and known[key].state is State.INTENDED:
                op = known[key]
                if marks > op.operation_state.attempts:
                    op.goes_into(State.NEEDS_REVIEW)
                    op.epoch += 1
        for op in self._in.ops.values():  # by a plan that isn't the newest, perhaps
            if op.turn is not None and op.state is State.INTENDED:
                op.turn, op.run_id = None, None
        self._in.commits = self._witnessed
        self._changed()

    def held(self) -> set[str]:
        """Return the keys of which only the witness knows."""
        return {key_digest(key).hex() for key in self._in.lost}

    def _changed(self) -> None:
        self._in.commits += 1
        self._witnessed = max(self._witnessed, self._in.commits)

    def _of_row(self, row_key: str) -> list[_Op]:
        return [op for op in self._in.ops.values() if op.call.row_key == row_key]

    def _new_id(self) -> int:
        return 1 + max(self._in.ops, default=0)

    def doubts(self, run: str, living: Collection[str]) -> list[Operation]:
        """Hold what is disputed still; take on what is in doubt and nobody is at."""
        for op in list(self._in.ops.values()):
            self._hold(op)
        found = [
            op
            for op in self._in.ops.values()
            if op.state in DOUBTFUL_STATES and op.run_id != run and op.run_id not in living
        ]
        if found:
            self._changed()
        oldest_first = sorted(found, key=lambda op: (op.first_sent_wall, op.op_id))
        return [self._take(op, run) for op in oldest_first]

    def claim(
        self, call: Call, run: str, living: Collection[str], now: Stamp
    ) -> tuple[Claim, Operation | None]:
        """Record the intent, or say why not."""
        known = self._of_row(call.row_key)
        current = self._in.rows.get(call.row_key, (None, ""))[0]
        disputed = [op.op_id for op in known if op.state is State.DONE and not op.link_to_use()]
        verdict = claims.decide(
            call, known, current, run, living, retry_rejected=False, disputed=disputed
        )
        if verdict.hold is not None:
            self._review(self._in.ops[verdict.hold])
        if verdict.claim is not Claim.OURS:
            return verdict.claim, None
        self._changed()
        if verdict.take is not None:
            return Claim.OURS, self._take(self._in.ops[verdict.take], run)
        op_id = self._new_id()
        if verdict.drop is not None:
            del self._in.ops[verdict.drop]
        op = _Op(op_id, call, _key(call, verdict.generation), verdict.generation, run)
        self._in.ops[op.op_id] = op
        if op.key in self._in.lost:
            self._in.lost.remove(op.key)
            op.goes_into(State.NEEDS_REVIEW)
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
        op = self._in.ops.get(sent.operation.op_id)
        ours = op is not None and op.run_id == run and op.epoch == sent.operation.epoch
        if op is None or not ours or op.state not in (State.INTENDED, State.IN_DOUBT):
            return False
        self._changed()
        op.operation_state = op.operation_state.sent(sent.at, sent.api_key_fingerprint)
        op.earlier_ids += (sent.correlation_id,)
        return True

    def record(self, run: str, outcome: Outcome) -> None:
        """Record an answer; a link is always news, unless it is another row's."""
        self._changed()
        op = self._in.ops.get(outcome.operation.op_id)
        if op is None:  # `moves_doubts` gave its row to another link meanwhile
            return
        link = outcome.answer.made if outcome.answer else None
        proof = outcome.answer.proof if outcome.answer else None
        state, lets_go = outcome.state, False
        if link is not None and self._is_anothers(op, link.id, proof):
            op.of_others += 1
            lets_go = outcome.number is not None and op.of_others < _MOST_LINKS_OF_OTHERS
            link, state = None, State.IN_DOUBT if lets_go else State.NEEDS_REVIEW
        if op.state is not State.DONE and (link or op.epoch == outcome.operation.epoch):
            settled = op.operation_state
            if state in (State.INTENDED, State.REJECTED):
                settled = replace(settled, first_sent=None, api_key_fingerprint=None)
            op.operation_state = replace(settled, state=state)
            op.run_id = None if lets_go else op.run_id
        if link is None:
            return
        op.links.setdefault(link.id, proof)
        newer = op.op_id > self._in.rows.get(op.call.row_key, (0, ""))[0]
        if newer and not outcome.operation.for_history:
            self._in.rows[op.call.row_key] = (op.op_id, link.id)

    def _is_anothers(self, me: _Op, link_id: str, proof: Proof | None) -> bool:
        """Say whether a link leads elsewhere for another operation; dispute what proves nothing."""
        if not self.owns_links:
            return False
        others = [
            op
            for op in self._in.ops.values()
            if op is not me and link_id in op.links and op.call.groups != me.call.groups
            if op.links[link_id] is not Proof.DISPUTED or proof in _UNPROVEN
        ]
        for op in others:
            if op.links[link_id] in _UNPROVEN:
                self._dispute(op, link_id)
        return bool(others)

    def _dispute(self, op: _Op, link_id: str) -> None:
        op.links[link_id] = Proof.DISPUTED
        self._hold(op)

    def _hold(self, op: _Op) -> None:
        """Hold a row that uses a disputed link, unless it may get another one by what is open."""
        op_id, link_id = self._in.rows.get(op.call.row_key, (None, ""))
        in_use = op_id == op.op_id and op.links[link_id] is Proof.DISPUTED
        if in_use and op.state is State.DONE and not self._in_doubt(op.call.row_key):
            self._review(op)

    def _review(self, op: _Op) -> None:
        self._changed()
        for one in self._of_row(op.call.row_key):
            if one.state is State.INTENDED:
                del self._in.ops[one.op_id]
        op.goes_into(State.NEEDS_REVIEW)
        op.epoch += 1

    def _in_doubt(self, row_key: str) -> bool:
        return any(
            op.state in OPEN_STATES and op.state is not State.INTENDED
            for op in self._of_row(row_key)
        )

    def reuse(self, row_key: str, op_id: int, expected: int | None, run: str, now: Stamp) -> None:
        """Point a row back at a link that it had, unless it has another one by now."""
        link_id = self._in.ops[op_id].link_to_use()
        if self._in.rows.get(row_key, (None, ""))[0] == expected and link_id is not None:
            self._changed()
            self._in.rows[row_key] = (op_id, link_id)

    def rekey(self, change: KeyChange, run: str, living: Collection[str], now: Stamp) -> bool:
        """Move a link to its row's new key, unless one of the two rows has gone on."""
        there = self._of_row(change.row_key)
        opened = [op for op in there if op.state in OPEN_STATES]
        others = set(living) - {run}
        is_busy = any(op.state is not State.INTENDED or op.run_id in others for op in opened)
        old_id, link_id = self._in.rows.get(change.old_key, (None, ""))
        if old_id != change.op_id or change.row_key in self._in.rows:
            return False
        old = self._in.ops[change.op_id]
        same = [
            op.generation
            for op in there
            if op.content_hash == old.content_hash and op not in opened
        ]
        generation = 1 + max(same, default=-1)
        call = replace(old.call, row_key=change.row_key)
        key = _key(call, generation)
        if (is_busy and not self.moves_doubts) or key in self._in.lost:
            return False
        self._changed()
        for op in opened:
            del self._in.ops[op.op_id]
        new = _Op(
            self._new_id(),
            call,
            key,
            generation,
            old.run_id,
            replace(old.operation_state),
            old.epoch,
            old.earlier_ids,
            {link_id: old.links[link_id]},
        )
        self._in.ops[new.op_id] = new
        self._in.rows[change.row_key] = (new.op_id, link_id)
        del self._in.rows[change.old_key]
        old.goes_into(State.MOVED)
        if self.names_moves:
            self._marked[key] += 1
        return True

    def row(self, row_key: str) -> Row:
        """Return what planning needs of a row."""
        op_id, link_id = self._in.rows.get(row_key, (None, None))
        used = self._in.ops[op_id].content_hash if op_id is not None else None
        return Row(op_id, used, [op.known() for op in self._of_row(row_key)], link_id)

    def adopt(self, op_id: int, link_id: str, now: Stamp) -> None:
        """Do what a person does who knows the link."""
        op = self._in.ops[op_id]
        if link_id in op.links:
            op.links[link_id] = Proof.REVIEW
        answer = Answer(
            kind=AnswerKind.LINK, correlation_id="", made=Link(id=link_id), proof=Proof.REVIEW
        )
        outcome = Outcome(operation=_operation(op), state=State.DONE, at=now, answer=answer)
        self.record("review", outcome)
        if self._in.rows.get(op.call.row_key, (None, ""))[0] == op_id:
            self._in.rows[op.call.row_key] = (op_id, link_id)

    def recreate(self, op_id: int, now: Stamp) -> None:
        """Do what a person does who knows that there is no link."""
        self._changed()
        op = self._in.ops[op_id]
        op.goes_into(State.ABANDONED)
        op.epoch += 1
        if self._in.rows.get(op.call.row_key, (None, ""))[0] == op_id:
            del self._in.rows[op.call.row_key]

    def operations(self) -> list[Known]:
        """Return all operations."""
        return [op.known() for op in self._in.ops.values()]


def _key(call: Call, generation: int) -> str:
    return idempotency_key(
        endpoint=LINKS.endpoint,
        project_id=call.project_id,
        link_set=call.link_set,
        row_key=call.row_key,
        content_hash=call.content_hash,
        generation=generation,
    )


def _operation(op: _Op) -> Operation:
    return Operation(
        op_id=op.op_id,
        set_id=SET_ID,
        idempotency_key=op.key,
        row_key=op.call.row_key,
        retailer=op.call.retailer,
        intent=op.call.intent,
        content_hash=op.content_hash,
        body=op.call.body,
        epoch=op.epoch,
        operation_state=op.operation_state,
        earlier_ids=op.earlier_ids,
        for_history=op.for_history,
    )
