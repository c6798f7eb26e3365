"""Canonical form: hashes of content and the idempotency key made from them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785

RECIPE = 1
ENDPOINT_LINKS = "POST /v1/links"

_DESTINATION = (
    "retailer",
    "intent",
    "products",
    "location",
    "customUrl",
    "fallbackUrl",
    "options",
)
_LABEL = ("name", "publicName", "metadata")


def idempotency_key(
    *,
    endpoint: str,
    project_id: str,
    link_set: str,
    row_key: str,
    content_hash: bytes,
    generation: int,
) -> str:
    parts = (endpoint, project_id, link_set, row_key, content_hash.hex(), str(generation))
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return "incarts1-" + digest.hexdigest()[:40]


def group_hashes(body: bytes) -> tuple[bytes, bytes, bytes]:
    content: dict[str, Any] = json.loads(body)
    return (
        _hash({n: content[n] for n in _DESTINATION if n in content}),
        _hash(content.get("tracking", {})),
        _hash({n: content[n] for n in _LABEL if n in content}),
    )


def _hash(value: Any) -> bytes:
    return hashlib.sha256(rfc8785.dumps(value)).digest()


def changed_fields(old: bytes, new: bytes) -> list[str]:
    a, b = json.loads(old), json.loads(new)
    return sorted(n for n in {*a, *b} if a.get(n) != b.get(n))
