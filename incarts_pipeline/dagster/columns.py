"""Columns of links.parquet in words, as Dagster shows them beside their types."""

from __future__ import annotations

KEY_COLUMN = "Of the catalog: part of the unique key, which names the row."

MEANINGS = {
    "catalog_row": "The row's place in the catalog, from 0.",
    "link_set": "The family of links that the row belongs to.",
    "row_key": "The unique key as one text: what the row is, today and next year.",
    "status": "What became of the row: created, replaced, reused, unchanged, held, rejected, "
    "pending, in_doubt or skipped.",
    "action": "What the plan wanted to do with the row.",
    "reason": "Why, as a short code.",
    "link_id": "The link to use now, also where today's row has none of its own.",
    "short_link": "The link as people get it: short, and what codes lead to.",
    "short_id": "The end of the short link, by which Incarts knows it.",
    "target_url": "Where the link leads to.",
    "qr_code_id": "The link's own QR code, by Incarts' id.",
    "qr_image_url": "Where Incarts has the picture of the QR code.",
    "qr_encoded_url": "What the QR code says when it is read.",
    "is_stale": "Whether the link is of older content than the catalog's.",
    "link_created_at": "When the link was made, in UTC.",
    "replaces_link_id": "The link that this one follows.",
    "content_hash": "The hash of what today's row asks for.",
    "link_content_hash": "The hash of what the link was made from.",
    "idempotency_key": "What the request was sent under; Incarts' support will ask for it.",
    "correlation_id": "What Incarts called the request; its support will ask for it.",
    "attempts": "How often the request was sent.",
    "http_status": "The last answer's status.",
    "generation": "0, and 1 more each time that a person said: make it anew.",
    "problems": "Every broken rule, suspicion and note, each with its field, code and fix.",
    "error_code": "Incarts' code for a refusal.",
    "error_message": "What Incarts said to a refusal.",
    "settled_at": "When the last answer was known, in UTC.",
    "settled_run_id": "The run that got it.",
}
