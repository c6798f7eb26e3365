"""Entries of published rows: what a ledger that is rebuilt takes from each of them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.identity import group_hashes, idempotency_key, qr_content_hash, qr_row_key
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import UNKNOWN_GROUPS, Entry
from incarts_pipeline.models import QR_CODE, Dispute, Proof, Reason, State, Status

LINK_COLUMNS = {  # as published, and as the ledger names them
    "short_link": "short_link",
    "short_id": "short_id",
    "target_url": "target_url",
    "qr_code_id": "qr_code_id",
    "qr_image_url": "qr_image_url",
    "qr_encoded_url": "encoded_url",
}
_DOUBTS = (Reason.ANSWER_UNKNOWN, Reason.NEEDS_REVIEW)


def codes_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """Yield the codes of a published table, and what of them is in doubt.

    A refused one has no code, so that asking for it again under the same key harms nothing.
    """
    for row in rows:
        doubtful = row["status"] == Status.IN_DOUBT and row["reason"] in _DOUBTS
        if row["idempotency_key"] is None or not (doubtful or row["qr_code_id"]):
            continue
        yield Entry(
            link_set=row["link_set"],
            row_key=qr_row_key(row["row_key"], row["identifier"]),
            idempotency_key=row["idempotency_key"],
            generation=row["generation"] or 0,
            state=State.NEEDS_REVIEW if doubtful else State.DONE,
            intent=QR_CODE,
            # The bytes are not in the table; which link it is of is all that planning looks at.
            content_hash=qr_content_hash(row["link_id"], b""),
            attempts=row["attempts"] or 0,
            http_status=row["http_status"],
            correlation_id=row["correlation_id"],
            error_code=row["error_code"],
            settled_at=_micros(row["settled_at"]),
            run_id=row["settled_run_id"],
            link=None if doubtful else _code(row),
            for_link_id=row["link_id"],
        )


def _code(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "link_id": row["qr_code_id"],
        "qr_code_id": row["qr_code_id"],
        "qr_image_url": row["qr_image_url"],
        "encoded_url": row["encoded_url"],
        "created_at": _micros(row["created_at"]),
        "received_at": _micros(row["settled_at"] or row["created_at"]) or 0,
        "run_id": row["settled_run_id"] or "import",
    }


def of_history(row: Mapping[str, Any], missing: Mapping[str, Mapping[str, Any]]) -> Entry:
    """Return the entry of a history's row; `missing` are the missing links by their ids.

    Raises:
        CatalogError: the body isn't that of its hash.
    """
    body = row["body"].encode() if row.get("body") else None
    content = bytes.fromhex(row["content_hash"] or "")
    if body is not None and content and hashlib.sha256(body).digest() != content:
        raise CatalogError(
            f"The history of row {row['row_key']} was changed: its body doesn't have its hash.",
            fix="Use the file as it was published.",
            column="body",
        )
    left = missing.get(row["link_id"] or "")
    return Entry(
        link_set=row["link_set"],
        row_key=row["row_key"],
        idempotency_key=row["idempotency_key"],
        generation=row["generation"],
        state=State(row.get("state") or State.DONE),
        action=row["action"] or "create",
        retailer=row["retailer"] or "",
        intent=row["intent"] or "",
        content_hash=content,
        body=body,
        groups=group_hashes(body) if body is not None else UNKNOWN_GROUPS,
        attempts=row["attempts"] or 0,
        http_status=row.get("http_status"),
        correlation_id=row["correlation_id"],
        error_code=row.get("error_code"),
        first_sent_at=_micros(row.get("first_sent_at")),
        settled_at=_micros(row["received_at"]),
        run_id=row["run_id"],
        link=link_of(row) if row["link_id"] else None,
        replaces_link_id=row["replaces_link_id"],
        in_use=row["is_current"],
        missing_since=_micros(left["missing_since"]) if left else None,
    )


def of_links(row: Mapping[str, Any], project: str) -> Iterator[Entry]:
    """Yield a row's link, and what is in doubt beside it, as far as links.parquet tells."""
    if row["row_key"] is None:
        return
    doubtful = row["status"] == Status.IN_DOUBT and row["reason"] in _DOUBTS
    refused = row["status"] == Status.REJECTED and row["reason"] == Reason.REFUSED_BY_API
    disputed = doubtful and row["link_id"] and row["error_code"] == Dispute.LINK_DISPUTED
    if row["link_id"]:
        content = bytes.fromhex(row["link_content_hash"] or "")
        yield Entry(
            link_set=row["link_set"],
            row_key=row["row_key"],
            idempotency_key=_link_key(row, project, content),
            content_hash=content,
            settled_at=_micros(row["link_created_at"]),
            link=link_of(row) | ({"proof": Proof.DISPUTED.value} if disputed else {}),
        )
    if (doubtful or refused) and row["idempotency_key"] and not disputed:
        yield Entry(
            link_set=row["link_set"],
            row_key=row["row_key"],
            idempotency_key=row["idempotency_key"],
            generation=row["generation"] or 0,
            state=State.NEEDS_REVIEW if doubtful else State.REJECTED,
            content_hash=bytes.fromhex(row["content_hash"]),
            attempts=row["attempts"] or 0,
            http_status=row["http_status"],
            correlation_id=row["correlation_id"],
            error_code=row["error_code"],
            settled_at=_micros(row["settled_at"]),
            run_id=row["settled_run_id"],
        )


def _link_key(row: Mapping[str, Any], project: str, content: bytes) -> str:
    """Return the key that a row's link was made under.

    The published key is that of the newest operation: for a link of older content, often another's.
    """
    names = (project, row["link_set"], row["row_key"])
    wanted = bytes.fromhex(row["content_hash"] or "")
    newest: str = row["idempotency_key"]
    if wanted != content and newest == first_key(*names, wanted, row["generation"] or 0):
        return first_key(*names, content)
    return newest


def of_missing(row: Mapping[str, Any]) -> Entry:
    """Return the entry of a missing link's row."""
    return Entry(
        link_set=row["link_set"],
        row_key=row["row_key"],
        idempotency_key=row["idempotency_key"],
        content_hash=bytes.fromhex(row["content_hash"] or ""),
        settled_at=_micros(row["link_created_at"]),
        link=link_of(row),
        missing_since=_micros(row["missing_since"]),
    )


def link_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's link, as far as its columns say."""
    return {
        "link_id": row["link_id"],
        **{own: row.get(name) or None for name, own in LINK_COLUMNS.items()},
        "created_at": _micros(row.get("link_created_at")),
        "received_at": _micros(row.get("received_at") or row.get("link_created_at")) or 0,
        "run_id": row.get("run_id") or "import",
        "proof": row.get("proof"),
        "status": row.get("link_status"),
    }


def _micros(at: dt.datetime | None) -> int | None:
    return round(at.timestamp() * 1e6) if at is not None else None


def first_key(
    project: str, link_set: str, row_key: str, content: bytes, generation: int = 0
) -> str:
    """Return the idempotency key of a row's content."""
    return idempotency_key(
        endpoint=LINKS.endpoint,
        project_id=project,
        link_set=link_set,
        row_key=row_key,
        content_hash=content,
        generation=generation,
    )
