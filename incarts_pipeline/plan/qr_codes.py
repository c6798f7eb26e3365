"""Requests for QR codes against the ledger: what is planned is a `Plan`, as for links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import qr_content_hash
from incarts_pipeline.ledger import Call, LedgerReader
from incarts_pipeline.models import Kind, NoteCode, Policy
from incarts_pipeline.plan import guards, queries
from incarts_pipeline.plan.figures import PlanFigures
from incarts_pipeline.plan.plan import Plan, PlanOptions
from incarts_pipeline.plan.workspace import Workspace

SCOPE = "qr-codes:write"

# All groups lead to a new code: what differs after `queries.KEEP_MADE` is the link, which was
# replaced.
ON_CHANGE = dict.fromkeys(("destination", "tracking", "label"), Policy.REPLACE)


class CodePlan(Plan):
    """A plan over staged requests for QR codes; `key_fields` are the catalog's key columns."""

    call_columns = "request.key.link_id AS for_link_id,"
    row_number = 'key."row"'
    key_fields: list[pa.Field]

    def load_ledger(self) -> None:
        """Read the ledger into the workspace, and which codes the links have."""
        super().load_ledger()
        self.workspace.load_made_codes(self._ledger.path, self._set_ids())

    def decide(self, now: Stamp) -> None:
        """Fill the decision table and the figures."""
        self.workspace.db.execute(queries.KEEP_MADE, {"code": NoteCode.KEPT.value})
        super().decide(now)

    def missing_changes(
        self,
        set_ids: Mapping[str, int],  # noqa: ARG002 (as for links)
    ) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        """Return nothing: a table asks for some codes, and says nothing of the others."""
        return [], []

    def _set_ids(self) -> dict[str, int]:
        names, project_id = self.options.link_sets, self.options.project_id
        return self._ledger.set_ids(project_id, names, Kind.QR_CODES)

    def _call(self, row: dict[str, Any], set_ids: Mapping[str, int]) -> Call:
        call, link_id = super()._call(row, set_ids), row["for_link_id"]
        # A group that `group_hashes` never gives: a link that was replaced is a new destination.
        groups = (qr_content_hash(link_id, b""), *call.groups[1:])
        return replace(call, for_link_id=link_id, groups=groups)

    def _figures(self) -> PlanFigures:
        figures = super()._figures()
        allowed = self.options.scopes
        lacking = [SCOPE] if figures.calls and allowed is not None and SCOPE not in allowed else []
        return replace(
            figures,
            missing={},
            scopes={SCOPE: figures.calls} if figures.calls else {},
            missing_scopes=lacking,
            refusals=guards.refusals(
                (), refuse_over=None, allow_empty=True, missing_scopes=lacking
            ),
        )


def make_code_plan(
    schema: pa.Schema,
    requests: Iterable[pa.RecordBatch],
    *,
    ledger: LedgerReader,
    options: PlanOptions,
    now: Stamp,
) -> CodePlan:
    """Stage requests (`qr_requests.request_schema`) and decide what to do with each.

    The link sets are those that the requests name.
    """
    plan = CodePlan(Workspace(), ledger, options)
    try:
        plan.workspace.load(schema, requests, None, {})
        names = plan.workspace.db.execute(
            "SELECT DISTINCT link_set FROM request WHERE link_set <> '' ORDER BY ALL"
        ).fetchall()
        plan.options = replace(options, link_sets=tuple(name for (name,) in names))
        plan.load_ledger()
        plan.decide(now)
    except BaseException:
        plan.close()
        raise
    return plan
