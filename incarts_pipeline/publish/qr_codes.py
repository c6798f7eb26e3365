"""Outcomes of QR codes → qr_codes.parquet, replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from incarts_pipeline.models import ProblemCode
from incarts_pipeline.plan import CodePlan
from incarts_pipeline.publish import queries
from incarts_pipeline.publish.output import Output, Published
from incarts_pipeline.publish.publish import key_columns, load_left_over, quote, write_rows
from incarts_pipeline.schemas import QR_CODES
from incarts_pipeline.write import LeftOver

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
    columns = queries.CODE_COLUMNS.format(
        key_columns=select,
        action=queries.ACTION,
        taken=ProblemCode.IDENTIFIER_TAKEN.value,
        taken_message=_TAKEN,
    )
    load_left_over(workspace, left)
    counts, _ = write_rows(workspace, queries.rows(columns), left.reason, facts, schema, target)
    return Published(output=Output(links=target), counts=counts)
