"""Keys that a restored ledger holds: rows that may have been sent since its backup was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from incarts_pipeline.kinds import Kind
from incarts_pipeline.ledger import UNKNOWN_GROUPS, Call, LedgerReader
from incarts_pipeline.models import Action
from incarts_pipeline.plan import queries
from incarts_pipeline.plan.plan import PlanOptions
from incarts_pipeline.plan.workspace import Workspace

_AT_ONCE = 5_000  # rows
_SCHEMA = pa.schema(
    [("link_set", pa.string()), ("row_key", pa.string()), ("content_hash", pa.binary())]
)


def hold(
    workspace: Workspace,
    ledger: LedgerReader,
    kind: Kind,
    options: PlanOptions,
    set_ids: Mapping[str, int],
) -> None:
    """Fill the table `held`, and hold in `decision` what was to be sent under such a key."""
    calls = _calls(workspace, kind, options, set_ids)
    held = ledger.held(calls, retry_rejected=options.retry_rejected)
    workspace.fill("held", _SCHEMA, held)
    if held:
        workspace.db.execute(queries.HOLD)


def _calls(
    workspace: Workspace, kind: Kind, options: PlanOptions, set_ids: Mapping[str, int]
) -> Iterator[list[Call]]:
    """Yield calls of which no more is right than what their keys depend on."""
    query = queries.NEW_KEYS.format(made_for=kind.made_for)
    found = workspace.db.cursor().execute(query)
    while rows := found.fetchmany(_AT_ONCE):
        yield [
            Call(
                project_id=options.project_id,
                link_set=name,
                set_id=set_ids.get(name, -1),  # the backup may be older than the set
                row_key=row_key,
                action=Action.CREATE,
                retailer="",
                intent="",
                content_hash=content_hash,
                groups=UNKNOWN_GROUPS,
                body=b"",
                expected_op_id=current_op,
                for_link_id=for_link_id,
            )
            for name, row_key, content_hash, current_op, for_link_id in rows
        ]
