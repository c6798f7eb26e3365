"""Outcomes of QR codes → qr_codes.parquet, replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from incarts_pipeline.models import ProblemCode
from incarts_pipeline.plan import CodePlan
from incarts_pipeline.publish import outcomes
from incarts_pipeline.publish.output import Output, Published
from incarts_pipeline.publish.publish import key_columns, load_left_over, quote, write_rows
from incarts_pipeline.schemas import QR_CODES
from incarts_pipeline.write import LeftOver

# `m` is the code that the row's identifier has now; it is the one only while it is of the row's
# link, for a replaced link's code still leads to the old one.
_COLUMNS = """
{key_columns}
       r.key."row" AS catalog_row, NULLIF(r.link_set, '') AS link_set,
       r.key.link_row_key AS row_key, r.key.link_id AS link_id, r.key.identifier AS identifier,
       r.key.name AS name, SPLIT_PART("incarts.status", ' ', 1) AS status,
       {action} AS action, SPLIT_PART("incarts.status", ' ', 2) AS reason,
       CASE WHEN "incarts.ours" THEN m.link_id END AS qr_code_id,
       CASE WHEN "incarts.ours" THEN NULLIF(m.qr_image_url, '') END AS qr_image_url,
       CASE WHEN "incarts.ours" THEN NULLIF(m.qr_encoded_url, '') END AS encoded_url,
       CASE WHEN "incarts.ours" THEN NULLIF(m.created_at, -1) END AS created_at,
       CASE WHEN "incarts.ours" THEN NULLIF(m.replaces_link_id, '') ELSE m.link_id END
           AS replaces_qr_code_id,
       CASE WHEN "incarts.latest" THEN u.idempotency_key
            WHEN "incarts.ours" THEN m.idempotency_key END
           AS idempotency_key,
       NULLIF(CASE WHEN "incarts.latest" THEN u.correlation_id
            WHEN "incarts.ours" THEN m.correlation_id END, '')
           AS correlation_id,
       CASE WHEN "incarts.latest" THEN u.attempts
            WHEN "incarts.ours" THEN m.attempts END AS attempts,
       NULLIF(CASE WHEN "incarts.latest" THEN u.http_status
            WHEN "incarts.ours" THEN m.http_status END, -1)
           AS http_status,
       CASE WHEN "incarts.latest" THEN u.generation
            WHEN "incarts.ours" THEN m.generation END AS generation,
       LIST_CONCAT(r.problems, r.notes,
           CASE WHEN s.kinds > 1 THEN [{{
               'field': 'identifier', 'code': 'duplicate_key',
               'message': 'rows of this link ask for this identifier with different names or '
                   || 'metadata: keep one, or give each an identifier of its own'
           }}] ELSE [] END,
           CASE WHEN "incarts.latest" AND u.state = 'needs_review' AND u.http_status = 409 THEN [{{
               'field': 'identifier', 'code': '{taken}',
               'message': '{taken_message}'
           }}] ELSE [] END) AS problems,
       CASE WHEN "incarts.latest" THEN NULLIF(u.error_code, '') END AS error_code,
       CASE WHEN "incarts.latest" THEN NULLIF(u.error_message, '') END AS error_message,
       NULLIF(CASE WHEN "incarts.latest" THEN u.settled_at
            WHEN "incarts.ours" THEN m.changed_at END, -1)
           AS settled_at,
       NULLIF(CASE WHEN "incarts.latest" THEN u.settled_run_id
            WHEN "incarts.ours" THEN m.changed_run_id END, '')
           AS settled_run_id
"""

_TAKEN = (
    "the link has a QR code of this identifier that this ledger does not know: take another "
    "identifier, or adopt the code with `incarts review adopt KEY QR_CODE_ID`"
)


def publish_codes(
    plan: CodePlan,
    target: str,
    *,
    ledger: Path,
    set_ids: Mapping[str, int],
    left: LeftOver,
    facts: Mapping[str, str],
) -> Published:
    """Write the table of codes from the ledger as it is now.

    Raises:
        PublishError: it can't be written; the old one is untouched.
    """
    workspace = plan.workspace
    workspace.load_links(ledger, set_ids)
    names = key_columns(plan.key_fields, QR_CODES)
    select = "".join(f"r.key.key_{at} AS {quote(name)}, " for at, name in enumerate(names))
    schema = pa.schema([*(field.with_name(name) for name, field in names.items()), *QR_CODES])
    columns = _COLUMNS.format(
        key_columns=select,
        action=outcomes.ACTION,
        taken=ProblemCode.IDENTIFIER_TAKEN.value,
        taken_message=_TAKEN,
    )
    load_left_over(workspace, left)
    counts, _ = write_rows(workspace, outcomes.rows(columns), left.reason, facts, schema, target)
    return Published(output=Output(links=target), counts=counts)
