"""The library's own statements on a ledger file, as a simulated run needs them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.errors import RefusedError
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
from incarts_pipeline.ledger.database import read_facts
from incarts_pipeline.ledger.doubts import claim_doubts
from incarts_pipeline.ledger.lost_keys import hold_lost
from incarts_pipeline.ledger.rekeying import KeyChange
from incarts_pipeline.ledger.sqlite.ledger_file import beside
from incarts_pipeline.ledger.sqlite.witness import Witness, check_mark, last_mark
from incarts_pipeline.models import Link, State
from tests.end_to_end.simulation.ledgers import SET_ID, Known, Row

T = TypeVar("T")

_NOW = Clock().now()  # nothing depends on when a row was held
_TABLES = ("link", "attempt", "body", "row", "operation", "lost_key")


class SqliteLedger:
    """Begins empty, whatever was in the file; close it when done."""

    def __init__(self, engine: sa.Engine, file: Path) -> None:
        self._engine = engine
        self._file = file
        with engine.begin() as connection:
            for table in _TABLES:
                connection.exec_driver_sql(f"DELETE FROM {table}")
        for suffix in (".sent", ".witness"):
            beside(file, suffix).unlink(missing_ok=True)
        self._witness = Witness(file)
        self._backup = sqlite3.connect(":memory:")
        self.back_up()

    def close(self) -> None:
        """Close what it has beside the engine."""
        self._backup.close()
        self._witness.close()

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.connect() as connection:
            with connection.begin():
                result = work(connection)
            self._witness.committed(connection)
        return result

    def back_up(self) -> None:
        """Keep a copy of all that the ledger has."""
        with self._engine.connect() as connection:
            _raw(connection).backup(self._backup)

    def roll_back(self) -> None:
        """Put the copy in its place."""
        with self._engine.connect() as connection:
            self._backup.backup(_raw(connection))

    def is_newest(self) -> bool:
        """Say whether it has all transactions of which the witness knows."""
        try:
            check_mark(self._file, last_mark(self._file), self._do(read_facts))
        except RefusedError:
            return False
        return True

    def restore(self) -> None:
        """Hold what the witness knows to have been sent and the copy doesn't know."""
        self._do(lambda c: hold_lost(c, self._file))

    def held(self) -> set[str]:
        """Return the keys of which only the witness knows."""
        found = self._do(lambda c: c.execute(sa.select(tables.lost_key)).scalars().all())
        return {digest.hex() for digest in found}

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
        self._witness.keep_keys([sent.operation.idempotency_key])
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
        r = tables.row.c
        found = self._do(
            lambda c: c.execute(
                sa.select(r.op_id, r.content_hash, r.link_id).where(
                    r.set_id == SET_ID, r.row_key == row_key
                )
            ).first()
        )
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
                    sa.func.group_concat(k.link_id).filter(tables.IS_DISPUTED),
                )
                .outerjoin(tables.link, k.op_id == o.op_id)
                .group_by(o.op_id)
            ).all()  # type: ignore[arg-type]
        )
        return [
            Known(r[0], r[1], r[2], r[3], r[4], State(r[5]), _listed(r[6]), _listed(r[7]))
            for r in rows
        ]


def _listed(links: str | None) -> frozenset[str]:
    return frozenset(links.split(",")) if links else frozenset()


def _raw(connection: sa.Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw
