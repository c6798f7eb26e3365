"""The library's own statements on a ledger's database, as a simulated run needs them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import sqlalchemy as sa

from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.ledger import (
    attempts as records,
    claims,
    current_links as pointers,
    link_owners,
    rekeying,
    review,
    tables,
)
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Call, Claim, Operation
from incarts_pipeline.ledger.doubts import claim_doubts
from incarts_pipeline.ledger.rekeying import KeyChange
from incarts_pipeline.models import Link, State
from tests.end_to_end.simulation.ledgers import SET_ID, Known, Row

T = TypeVar("T")

_NOW = Clock().now()  # nothing depends on when a row was held

# Made once: schedules ask them after each step.
_o, _k, _r = tables.operation.c, tables.link.c, tables.row.c
_ROW = sa.select(_r.op_id, _r.content_hash, _r.link_id).where(
    _r.set_id == SET_ID, _r.row_key == sa.bindparam("key")
)
_OPERATIONS = (
    sa.select(
        _o.op_id,
        _o.idempotency_key,
        _o.row_key,
        _o.content_hash,
        _o.generation,
        _o.state,
        sa.func.aggregate_strings(_k.link_id, ","),
        sa.func.aggregate_strings(_k.link_id, ",").filter(tables.IS_DISPUTED),
    )
    .outerjoin(tables.link, _k.op_id == _o.op_id)
    .group_by(_o.op_id)
    .order_by(_o.op_id)
)


class StatementLedger:
    """The statements; each of its databases adds what it knows outside of them."""

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        raise NotImplementedError

    def _about_to_send(self, key: str) -> None:
        """Note a key outside of the ledger."""

    def doubts(self, run: str, living: Collection[str]) -> list[Operation]:
        """Hold what is disputed still; take on what is in doubt and nobody is at."""
        self._do(lambda c: link_owners.hold_disputed(c, [SET_ID], _NOW))
        return self._do(lambda c: claim_doubts(c, [SET_ID], run, living))

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
        self._about_to_send(sent.operation.idempotency_key)
        [ours] = self._do(lambda c: records.write_sent(c, run, [sent]))
        return ours

    def record(self, run: str, outcome: Outcome) -> None:
        """Record an answer; a link is always news, unless it is another row's."""
        self._do(lambda c: records.write_outcomes(c, run, [outcome]))

    def reuse(self, row_key: str, op_id: int, expected: int | None, run: str, now: Stamp) -> None:
        """Point a row back at a link that it had, unless it has another one by now."""
        move = pointers.Move(SET_ID, row_key, op_id, expected)
        self._do(lambda c: pointers.reuse(c, [move], run, now))

    def rekey(self, change: KeyChange, run: str, living: Collection[str], now: Stamp) -> bool:
        """Move a link to its row's new key, unless one of the two rows has gone on."""
        return not self._do(lambda c: rekeying.rekey(c, [change], run, living, now))

    def row(self, row_key: str) -> Row:
        """Return what planning needs of a row."""
        found = self._do(lambda c: c.execute(_ROW, {"key": row_key}).first())
        known = [op for op in self.operations() if op.row_key == row_key]
        if found is None:
            return Row(None, None, known, None)
        return Row(found.op_id, found.content_hash, known, found.link_id)

    def adopt(self, op_id: int, link_id: str, now: Stamp) -> None:
        """Do what a person does who knows the link."""
        self._do(lambda c: review.adopt(c, op_id, Link(id=link_id), now))

    def recreate(self, op_id: int, now: Stamp) -> None:
        """Do what a person does who knows that there is no link."""
        self._do(lambda c: review.recreate(c, op_id, now))

    def operations(self) -> list[Known]:
        """Return all operations."""
        rows: list[Any] = self._do(lambda c: c.execute(_OPERATIONS).all())  # type: ignore[arg-type]
        return [
            Known(r[0], r[1], r[2], r[3], r[4], State(r[5]), _listed(r[6]), _listed(r[7]))
            for r in rows
        ]


def _listed(links: str | None) -> frozenset[str]:
    return frozenset(links.split(",")) if links else frozenset()
