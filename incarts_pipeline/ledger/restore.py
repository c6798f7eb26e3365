"""Restoring: operations and links that were made without a ledger, brought into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import RECIPE
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.link_owners import dispute
from incarts_pipeline.ledger.rekeying import close_moved
from incarts_pipeline.ledger.state_machine import ENDED_STATES, OPEN_STATES
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import Proof, State

IMPORTED = "import"  # in place of a run that nobody knows

UNKNOWN_GROUPS = (b"", b"", b"")

_CHUNK = 5_000
_O = tables.operation.c
_K = tables.link.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One operation to bring in, with its link if it has one.

    `content_hash` is 32 bytes, empty when nobody knows what the link holds; `link` has the columns
    of the table `link` but for `op_id`. Times are microseconds since 1970 UTC.
    """

    link_set: str
    row_key: str
    idempotency_key: str
    generation: int = 0
    state: State = State.DONE
    action: str = "create"
    retailer: str = ""
    intent: str = ""
    content_hash: bytes = b""
    body: bytes | None = None
    groups: tuple[bytes, bytes, bytes] = UNKNOWN_GROUPS  # destination, tracking and label hash
    attempts: int = 0
    http_status: int | None = None
    correlation_id: str | None = None
    error_code: str | None = None
    first_sent_at: int | None = None
    settled_at: int | None = None
    run_id: str | None = None
    link: Mapping[str, Any] | None = None
    replaces_link_id: str | None = None
    in_use: bool = True
    missing_since: int | None = None
    for_link_id: str | None = None  # whose QR code it is; None for a link

    @property
    def is_open(self) -> bool:
        """Whether its link may exist without anybody knowing it."""
        return self.state in OPEN_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What an import brought in: links, operations that need review, and what was known before."""

    links: int = 0
    needs_review: int = 0
    known: int = 0


def restore(
    connection: sa.Connection, set_ids: Mapping[str, int], entries: Sequence[Entry], now: Stamp
) -> Restored:
    """Bring entries in, oldest first; what the ledger knows already stays as it is.

    What was given up, or moved to another row, is so for good: a table that was published before
    gives its row no link again. A link that is disputed here stays so, and one that the table says
    was disputed is disputed here, too, unless a person adopted it.
    Entries in doubt come last: an older one of their row that is open here is settled by then.
    What was in doubt needs review: how old it is in the eyes of the server can't be known.
    """
    database_of(connection).locked(connection, set(set_ids.values()))
    chunks = []
    ordered = sorted(entries, key=lambda entry: (entry.is_open, entry.settled_at or 0))
    for start in range(0, len(ordered), _CHUNK):
        chunk = _Chunk(connection, set_ids, ordered[start : start + _CHUNK], now)
        chunk.write()
        chunks.append(chunk)
    return Restored(
        links=sum(chunk.new_links for chunk in chunks),
        needs_review=sum(chunk.needs_review for chunk in chunks),
        known=sum(chunk.known for chunk in chunks),
    )


class _Chunk:
    """Some entries beside what the ledger has of their keys and rows."""

    def __init__(
        self,
        connection: sa.Connection,
        set_ids: Mapping[str, int],
        entries: Sequence[Entry],
        now: Stamp,
    ) -> None:
        self.new_links = self.needs_review = self.known = 0
        self._connection = connection
        self._now = now
        self._operations: list[dict[str, Any]] = []
        self._bodies: list[dict[str, Any]] = []
        self._links: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._disputed: list[tuple[int, str]] = []
        self._new_ids = database_of(connection).new_ids(connection, len(entries))
        self._own: set[int] = set()  # operations that are new here
        self._look_up(set_ids, entries)
        for entry in entries:
            self._add(entry, set_ids[entry.link_set])

    def _look_up(self, set_ids: Mapping[str, int], entries: Sequence[Entry]) -> None:
        link_ids = [entry.link["link_id"] for entry in entries if entry.link]
        link_ids += [entry.replaces_link_id for entry in entries if entry.replaces_link_id]
        columns = (_O.op_id, _O.set_id, _O.row_key, _O.idempotency_key, _O.state)
        by_key = sa.select(*columns).where(
            _O.idempotency_key.in_([entry.idempotency_key for entry in entries])
        )
        by_row = sa.select(*columns).where(
            _O.set_id.in_(list(set_ids.values())),
            _O.row_key.in_([entry.row_key for entry in entries]),
            tables.IS_OPEN,
        )
        links = sa.select(_K.link_id, _K.op_id, _K.proof).where(_K.link_id.in_(link_ids))
        execute = self._connection.execute
        self._by_key = {o.idempotency_key: (o.op_id, o.state) for o in execute(by_key)}
        self._open_rows = {(o.set_id, o.row_key): (o.op_id, o.state) for o in execute(by_row)}
        found = execute(links).all()
        self._link_ops = {k.link_id: k.op_id for k in found}
        self._proofs = {(k.op_id, k.link_id): k.proof for k in found}

    def _add(self, entry: Entry, set_id: int) -> None:
        op_id, state = self._by_key.get(entry.idempotency_key, (None, None))
        if op_id is None or (state == State.INTENDED and entry.is_open):
            op_id = self._new_operation(entry, set_id)
        elif entry.state is State.MOVED:
            close_moved(self._connection, set_id, entry.row_key, op_id, {})
        elif state not in ENDED_STATES and self._is_news(entry, op_id, state):
            self._settle(op_id, set_id, entry)
        if entry.link is not None and op_id is not None:
            self._add_link(entry, entry.link, set_id, op_id)
        elif op_id not in self._own:
            self.known += 1

    def _add_link(self, entry: Entry, link: Mapping[str, Any], set_id: int, op_id: int) -> None:
        its = (op_id, link["link_id"])
        is_known = its in self._proofs
        self.known += is_known
        self.new_links += not is_known
        self._links.append({**link, "op_id": op_id})
        if link.get("proof") == Proof.DISPUTED and self._proofs.get(its) != Proof.REVIEW:
            self._disputed.append(its)
        self._link_ops[link["link_id"]] = op_id
        self._proofs.setdefault(its, link.get("proof"))
        if entry.in_use and self._by_key[entry.idempotency_key][1] not in ENDED_STATES:
            self._rows.append(_row(entry, link["link_id"], set_id, op_id, self._now))

    def _is_news(self, entry: Entry, op_id: int, state: str) -> bool:
        """Say whether an entry tells more of an operation than this older ledger knows."""
        if entry.link is None:
            return state in OPEN_STATES and not entry.is_open
        # One that is open although it has its link is disputed: only a person settles that.
        is_known = (op_id, entry.link["link_id"]) in self._proofs
        if entry.state is State.ABANDONED:
            return is_known or state in OPEN_STATES
        return not is_known and state != State.DONE

    def _new_operation(self, entry: Entry, set_id: int) -> int | None:
        """Return the id of a new operation, None when an open one of its row is there already."""
        if entry.is_open:
            op_id, state = self._open_rows.get((set_id, entry.row_key), (None, None))
            if op_id is not None and state != State.INTENDED:
                return None  # one is enough to keep the row from being sent
            if op_id is not None:
                self._drop(op_id)
            self.needs_review += 1
        op_id = next(self._new_ids)
        self._own.add(op_id)
        if entry.is_open:
            self._open_rows[set_id, entry.row_key] = (op_id, State.NEEDS_REVIEW)
        self._operations.append(_operation(entry, set_id, op_id, self._link_ops, self._now))
        if entry.body is not None:
            self._bodies.append({"op_id": op_id, "body": entry.body})
        self._by_key[entry.idempotency_key] = (op_id, entry.state)
        return op_id

    def _settle(self, op_id: int, set_id: int, entry: Entry) -> None:
        """Record what became of an operation that was open here; its row may have another one."""
        open_id, _ = self._open_rows.get((set_id, entry.row_key), (None, None))
        if open_id == op_id:
            del self._open_rows[set_id, entry.row_key]
        state = State.DONE if entry.is_open else entry.state  # its link may be disputed then
        self._by_key[entry.idempotency_key] = (op_id, state)
        if state is State.ABANDONED:
            self._connection.execute(sa.delete(tables.row).where(tables.row.c.op_id == op_id))
        self._connection.execute(
            sa.update(tables.operation)
            .where(_O.op_id == op_id)
            .values(
                state=state.value,
                epoch=_O.epoch + 1,
                settled_at=self._now.micros,
                settled_run_id=IMPORTED,
            )
        )

    def _drop(self, op_id: int) -> None:
        tables.drop_operations(self._connection, [op_id])

    def write(self) -> None:
        """Insert what is new."""
        new = [one["link_id"] for one in self._links]
        database_of(self._connection).reserve_links(self._connection, new)
        for statement, values in (
            (sa.insert(tables.operation), self._operations),
            (sa.insert(tables.body), self._bodies),
            (postgresql.insert(tables.link).on_conflict_do_nothing(), self._links),
            (_ROW, self._rows),
        ):
            if values:
                self._connection.execute(statement, values)
        for op_id, link_id in self._disputed:
            dispute(self._connection, op_id, link_id, self._now)


def _operation(
    entry: Entry, set_id: int, op_id: int, links: Mapping[str, int], now: Stamp
) -> dict[str, Any]:
    settled = entry.settled_at or now.micros
    return {
        "op_id": op_id,
        "idempotency_key": entry.idempotency_key,
        "set_id": set_id,
        "row_key": entry.row_key,
        "generation": entry.generation,
        "action": entry.action,
        "retailer": entry.retailer,
        "intent": entry.intent,
        "content_hash": entry.content_hash,
        **dict(zip(("destination_hash", "tracking_hash", "label_hash"), entry.groups, strict=True)),
        "recipe": RECIPE,
        "follows_op_id": links.get(entry.replaces_link_id or ""),
        "state": (State.NEEDS_REVIEW if entry.is_open else entry.state).value,
        "attempts": entry.attempts,
        "first_sent_at": entry.first_sent_at,
        "http_status": entry.http_status,
        "correlation_id": entry.correlation_id,
        "error_code": entry.error_code or ("imported" if entry.is_open else None),
        "intended_at": entry.first_sent_at or settled,
        "settled_at": settled,
        "settled_run_id": entry.run_id or IMPORTED,
        "for_link_id": entry.for_link_id,
    }


def _row(entry: Entry, link_id: str, set_id: int, op_id: int, now: Stamp) -> dict[str, Any]:
    return tables.row_values(
        (set_id, entry.row_key),
        op_id,
        entry.content_hash,
        link_id,
        changed_at=entry.settled_at or now.micros,
        run_id=entry.run_id or IMPORTED,
        missing_since=entry.missing_since,
    )


# The newer knowledge wins: a ledger may have moved on since the table was published.
_ROW = tables.replace_row_by("changed_at")
