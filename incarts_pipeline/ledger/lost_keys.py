"""Lost keys: what a ledger that was restored doesn't know to have been sent.

A key that was marked as sent after the backup was taken may have made a link. Its row is not known,
only its digest; so it is looked for when a row is about to be sent under it. Then the operation is
recorded as one that needs review, and is never sent by itself.

Every function here runs inside one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.identity import key_digest
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.database import read_facts
from incarts_pipeline.ledger.queries import go_on_from
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.models import State
from incarts_pipeline.settings import LedgerPlace

ERROR_CODE = "ledger_restored"

_O = tables.operation.c
_L = tables.lost_key.c


def hold_lost(connection: sa.Connection, ledger: LedgerPlace) -> int:
    """Hold every key that was sent, as far as the witness of `ledger` knows, and isn't known here.

    An operation that is known, but was marked more often than it says, needs review at once. The
    count of transactions goes on from where the witness saw it last.

    Returns:
        How many keys are held.

    Raises:
        RefusedError: this ledger isn't the newest, and what was sent since is lost.
        LedgerError: it can't be told.
    """
    outside = store_at(ledger)
    marked = Counter(outside.sent_digests())
    if outside.last_count() > int(read_facts(connection)["commits"]):
        # Their keys were marked before they were recorded, and all that was sent since behind them.
        for key, number in connection.execute(_NEWEST_ATTEMPTS).all():
            if marked[key_digest(key)] < number:
                raise outside.sent_is_lost()
    for key, state, attempts, op_id in connection.execute(
        sa.select(_O.idempotency_key, _O.state, _O.attempts, _O.op_id)
    ):
        lost = marked.pop(key_digest(key), 0) - attempts
        if lost > 0 and state == State.INTENDED:
            _review(connection, op_id)
    # Enqueued by a plan that isn't the newest, perhaps: it is to be enqueued again.
    connection.execute(
        sa.update(tables.operation)
        .where(tables.IS_ENQUEUED, _O.state == State.INTENDED.value)
        .values(turn=None, run_id=None)
    )
    if marked:
        held = [{"digest": digest} for digest in marked]
        connection.execute(postgresql.insert(tables.lost_key).on_conflict_do_nothing(), held)
    go_on_from(connection, "commits", outside.last_count())
    return connection.scalar(sa.select(sa.func.count()).select_from(tables.lost_key)) or 0


_A = tables.attempt.c
_NEWEST_ATTEMPTS = (
    sa.select(_O.idempotency_key, _A.number)
    .join(tables.operation, _O.op_id == _A.op_id)
    .where(_A.sent_at == sa.select(sa.func.max(_A.sent_at)).scalar_subquery())
)


def hold_unless_newest(connection: sa.Connection, ledger: LedgerPlace) -> None:
    """Hold lost keys as `hold_lost` does, unless the ledger is known to be the newest.

    That one knows all that was sent; what it doesn't know was given up before it had an effect.
    """
    outside = store_at(ledger)
    known = outside.newest_known()
    if known is not None:
        with suppress(RefusedError):
            outside.check_newest(known, read_facts(connection))
            return
    hold_lost(connection, ledger)


def _review(connection: sa.Connection, op_id: int) -> None:
    connection.execute(
        sa.update(tables.operation)
        .where(_O.op_id == op_id)
        .values(state=State.NEEDS_REVIEW.value, error_code=ERROR_CODE, epoch=_O.epoch + 1)
    )


HAS_LOST = sa.select(_L.digest).limit(sa.literal_column("1"))


def has_lost(connection: sa.Connection) -> bool:
    """Say whether any key is held."""
    return connection.scalar(HAS_LOST) is not None


def lost_among(connection: sa.Connection, keys: Collection[str]) -> set[str]:
    """Return those of some keys that are held."""
    by_digest = {key_digest(key): key for key in keys}
    held = sa.select(_L.digest).where(_L.digest.in_(list(by_digest)))
    return {by_digest[digest] for digest in connection.scalars(held)}


def take_lost(connection: sa.Connection, key: str) -> bool:
    """Say whether a key is held; from now on its operation says so."""
    taken = connection.execute(sa.delete(tables.lost_key).where(_L.digest == key_digest(key)))
    return taken.rowcount > 0
