"""Link requests as plain rows, and a mapping with little in it."""

from typing import Any

import pyarrow as pa

from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare


def prepared(table: pa.Table, mapping: object, *, batch_rows: int = 1000) -> list[dict[str, Any]]:
    batches = prepare(
        table.to_batches(max_chunksize=batch_rows),
        load_mapping(mapping),
        schema=table.schema,
        project_id="project",
        limits=Limits(),
    )
    return [row for batch in batches for row in batch.to_pylist()]


def simple(**fields: object) -> dict[str, Any]:
    link = {"name": {"column": "name"}, "retailer": "walmart", "intent": "custom_url"}
    return {
        "link_set": "set",
        "unique_key": ["sku"],
        "link": {**link, "custom_url": "https://a.b", **fields},
    }
