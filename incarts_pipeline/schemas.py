"""Arrow schemas of what passes between the folders and of what is published."""

from __future__ import annotations

import pyarrow as pa

# The message is in the table, not only its code: it quotes the value and names the fix.
PROBLEM = pa.struct(
    [
        pa.field("severity", pa.string()),  # null in tables of earlier versions
        pa.field("field", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)
PROBLEMS = pa.list_(PROBLEM)

# What prepare hands to plan: one row per catalog row and entry of the mapping.
# `row_key` is null when a key column is; `body` and `content_hash` are null when there are errors
# or nothing is wanted (`wanted` false). `problems` are the errors, then suspicions, then notes.
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
]


def link_request_schema(key_fields: list[pa.Field]) -> pa.Schema:
    """Return the schema of a link-request batch whose key columns are `key_fields`."""
    return pa.schema([*LINK_REQUEST_FIELDS, pa.field("key", pa.struct(key_fields), nullable=False)])


OUTPUT_VERSION = 4  # +1 when something is added; in the metadata of every published table
_UTC = pa.timestamp("us", tz="UTC")

# links.parquet behind the key columns; see docs for what each one means.
LINKS = pa.schema(
    [
        pa.field("catalog_row", pa.int64(), nullable=False),
        pa.field("link_set", pa.string(), nullable=False),
        pa.field("row_key", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("link_id", pa.string()),
        pa.field("short_link", pa.string()),
        pa.field("short_id", pa.string()),
        pa.field("target_url", pa.string()),
        pa.field("qr_code_id", pa.string()),
        pa.field("qr_image_url", pa.string()),
        pa.field("qr_encoded_url", pa.string()),
        pa.field("is_stale", pa.bool_()),
        pa.field("link_created_at", _UTC),
        pa.field("replaces_link_id", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("link_content_hash", pa.string()),
        pa.field("idempotency_key", pa.string()),
        pa.field("correlation_id", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("http_status", pa.int32()),
        pa.field("generation", pa.int32()),
        pa.field("problems", PROBLEMS),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("settled_at", _UTC),
        pa.field("settled_run_id", pa.string()),
    ]
)

MISSING = pa.schema(
    [
        pa.field("link_set", pa.string(), nullable=False),
        pa.field("row_key", pa.string(), nullable=False),
        pa.field("link_id", pa.string(), nullable=False),
        pa.field("short_link", pa.string()),
        pa.field("target_url", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("link_created_at", _UTC),
        pa.field("idempotency_key", pa.string()),
        pa.field("missing_since", _UTC),
    ]
)

# Everything that was ever sent for the sets: `state` is done where there is a link; in_doubt and
# needs_review where there may be one, rejected where there is none, abandoned where a person said
# so. With the bodies, and with what proved each link, a ledger can be rebuilt from it.
HISTORY = pa.schema(
    [
        pa.field("link_set", pa.string(), nullable=False),
        pa.field("row_key", pa.string(), nullable=False),
        pa.field("link_id", pa.string()),
        pa.field("is_current", pa.bool_(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("retailer", pa.string()),
        pa.field("intent", pa.string()),
        pa.field("action", pa.string()),
        pa.field("short_link", pa.string()),
        pa.field("short_id", pa.string()),
        pa.field("target_url", pa.string()),
        pa.field("qr_code_id", pa.string()),
        pa.field("qr_image_url", pa.string()),
        pa.field("qr_encoded_url", pa.string()),
        pa.field("replaces_link_id", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("body", pa.string()),
        pa.field("idempotency_key", pa.string(), nullable=False),
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("correlation_id", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("http_status", pa.int32()),
        pa.field("error_code", pa.string()),
        pa.field("first_sent_at", _UTC),
        pa.field("link_created_at", _UTC),
        pa.field("received_at", _UTC),
        pa.field("run_id", pa.string()),
        pa.field("proof", pa.string()),
        pa.field("link_status", pa.string()),
    ]
)

# qr_codes.parquet behind the key columns: a row per link and identifier. `name` is the one asked
# for; the code's own columns are null until it is made.
QR_CODES = pa.schema(
    [
        pa.field("catalog_row", pa.int64(), nullable=False),
        pa.field("link_set", pa.string()),
        pa.field("row_key", pa.string()),
        pa.field("link_id", pa.string()),
        pa.field("identifier", pa.string()),
        pa.field("name", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("qr_code_id", pa.string()),
        pa.field("qr_image_url", pa.string()),
        pa.field("encoded_url", pa.string()),
        pa.field("created_at", _UTC),
        pa.field("replaces_qr_code_id", pa.string()),
        pa.field("idempotency_key", pa.string()),
        pa.field("correlation_id", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("http_status", pa.int32()),
        pa.field("generation", pa.int32()),
        pa.field("problems", PROBLEMS),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("settled_at", _UTC),
        pa.field("settled_run_id", pa.string()),
    ]
)

# Columns of published tables whose texts are all different: a dictionary of them takes time and
# room, and is given up in the end.
DISTINCT = frozenset(
    {
        "row_key",
        "link_id",
        "short_link",
        "short_id",
        "target_url",
        "qr_code_id",
        "qr_image_url",
        "qr_encoded_url",
        "encoded_url",
        "replaces_link_id",
        "replaces_qr_code_id",
        "content_hash",
        "link_content_hash",
        "idempotency_key",
        "correlation_id",
        "body",
    }
)

# What verifying found: a row per link that was to be read back, `verdict` one of `Verdict`.
VERIFIED = pa.schema(
    [
        pa.field("link_set", pa.string()),
        pa.field("row_key", pa.string()),
        pa.field("link_id", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field(
            "differences",
            pa.list_(
                pa.struct(
                    [
                        pa.field("field", pa.string(), nullable=False),
                        pa.field("sent", pa.string(), nullable=False),
                        pa.field("found", pa.string(), nullable=False),
                    ]
                )
            ),
            nullable=False,
        ),
        pa.field("status", pa.string()),
        pa.field("http_status", pa.int32()),
        pa.field("checked_at", _UTC),
    ]
)

# What `incarts check` writes, a row per URL that links would lead to.
DESTINATIONS = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),  # a `Reach`
        pa.field("http_status", pa.int32()),
        pa.field("reason", pa.string()),  # why there is no status
        pa.field("redirects", pa.list_(pa.string()), nullable=False),  # where it was led, in order
        pa.field("fields", pa.list_(pa.string()), nullable=False),  # of the link: which it fills
        pa.field("links", pa.int64(), nullable=False),  # how many have it
        pa.field("catalog_row", pa.int64(), nullable=False),  # the first one, from 0
        pa.field("checked_at", _UTC, nullable=False),
    ],
    metadata={"incarts.table": "destinations"},
)
