"""The Arrow schemas of what passes between the stages and of what is published."""

from __future__ import annotations

import pyarrow as pa

PROBLEM = pa.struct(
    [
        pa.field("field", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)
PROBLEMS = pa.list_(PROBLEM)

# What prepare hands to plan: one row per catalog row and entry of the mapping.
# `row_key` is null when a key column is; `body` and `content_hash` are null when there are problems
# or nothing is wanted (`wanted` false). `notes` are remarks that don't reject, like a truncated name.
# Last follows `key`: a struct of the key columns as the catalog has them.
LINK_REQUEST_FIELDS = [
    pa.field("catalog_row", pa.int64(), nullable=False),
    pa.field("link_set", pa.string(), nullable=False),
    pa.field("row_key", pa.string()),
    pa.field("retailer", pa.string()),
    pa.field("intent", pa.string()),
    pa.field("wanted", pa.bool_(), nullable=False),
    pa.field("body", pa.string()),
    pa.field("content_hash", pa.binary()),
    pa.field("priority", pa.float64()),
    pa.field("pinned", pa.bool_(), nullable=False),
    pa.field("problems", PROBLEMS, nullable=False),
    pa.field("notes", PROBLEMS, nullable=False),
]


def link_request_schema(key_fields: list[pa.Field]) -> pa.Schema:
    """Return the schema of a link-request batch whose key columns are `key_fields`."""
    return pa.schema([*LINK_REQUEST_FIELDS, pa.field("key", pa.struct(key_fields), nullable=False)])
