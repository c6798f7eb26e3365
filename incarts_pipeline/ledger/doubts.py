"""Claims of doubts: operations that may have had an effect, taken on with their bytes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import sqlalchemy as sa

from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.claims import Operation, operation_of
from incarts_pipeline.ledger.queries import earlier_ids
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import State

_O = tables.operation.c

_DOUBTS_AT_ONCE = 500


def claim_doubts(
    connection: sa.Connection,
    set_ids: Collection[int],
    run_id: str,
    living: Collection[str],
) -> list[Operation]:
    """Take on up to 500 operations in doubt that no living run is at, with their bytes.

    Ones that this run has taken before are left out, so that calling again brings the next.
    """
    database_of(connection).locked(connection, set_ids)
    found = connection.execute(
        sa.select(tables.operation, tables.body.c.body)
        .join(tables.body, tables.body.c.op_id == _O.op_id)
        .where(
            tables.IS_OPEN,
            tables.SET_ID.in_(set_ids),
            _O.state.in_([state.value for state in DOUBTFUL_STATES]),
            sa.or_(_O.run_id.is_(None), _O.run_id.not_in([*living, run_id])),
        )
        .order_by(_O.first_sent_at, _O.op_id)
        .limit(_DOUBTS_AT_ONCE)
        .with_for_update(of=tables.operation)  # see `claims._read_rows`
    ).all()
    if found:
        connection.execute(
            sa.update(tables.operation)
            .where(_O.op_id.in_([o.op_id for o in found]))
            .values(run_id=run_id, epoch=_O.epoch + 1, state=State.IN_DOUBT.value)
        )
    earlier = earlier_ids(connection, [o.op_id for o in found])
    return [replace(operation_of(o, o.body), earlier_ids=earlier.get(o.op_id, ())) for o in found]
