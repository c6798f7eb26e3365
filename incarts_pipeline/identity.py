"""Identity of links: hashes of a body's groups of fields, and the idempotency key.

A body is JSON as RFC 8785 (JSON Canonicalization Scheme) writes it; a content hash is the SHA-256
of its bytes. Whatever changes here would re-create every link, so golden vectors pin it, and
`RECIPE` is recorded in the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

RECIPE = 1  # goes into the ledger, so that a later version knows how its hashes came about

# What a change does is decided by group: where a link leads, how it counts, what it is called.
# `intent` and `retailer` are here because another one leads elsewhere; `projectId` is in no group,
# since a link never moves to another project.
_DESTINATION = (
    "retailer",
    "intent",
    "products",
    "location",
    "customUrl",
    "fallbackUrl",
    "options",
)
_TRACKING = ("tracking",)
_LABEL = ("name", "publicName", "metadata")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "destination": _DESTINATION,
    "tracking": _TRACKING,
    "label": _LABEL,
}
_PREFIX = "incarts1-"
_DIGITS = 40
KEY_DIGEST_BYTES = _DIGITS // 2
# 9,007,199,254,740,992, the first whole number that a double can't tell from the next, has 16.
_EXACT_DIGITS = 16


def idempotency_key(
    *,
    endpoint: str,
    project_id: str,
    link_set: str,
    row_key: str,
    content_hash: bytes,
    generation: int,
) -> str:
    """Return the key under which a row's content is sent: the same wherever it is computed.

    `incarts1-` and the first 40 hexadecimal digits of the SHA-256 over the six parts, each as its
    UTF-8 bytes behind their number (8 bytes, big-endian); the hash as 64 hexadecimal digits, the
    generation in decimal.

    Args:
        endpoint: method and path of the call, as its `Kind` has them.
        project_id: the project that the key belongs to.
        link_set: the name of the set.
        row_key: the canonical text of the unique key.
        content_hash: 32 bytes.
        generation: 0, and 1 more for each deliberate re-creation.

    Returns:
        49 characters: the prefix and 40 digits.
    """
    parts = (endpoint, project_id, link_set, row_key, content_hash.hex(), str(generation))
    # The endpoint is among the parts, so that a link and a QR code of one body differ. The prefix
    # names the recipe: a later one can't meet a key of this one. 40 digits are 160 bits, and the
    # whole stays within the 128 characters that the API takes.
    return _PREFIX + _hash_of([part.encode() for part in parts]).hex()[:_DIGITS]


def key_digest(key: str) -> bytes:
    """Return the 20 bytes of an idempotency key that its digits stand for."""
    return bytes.fromhex(key.removeprefix(_PREFIX))


def qr_content_hash(link_id: str, body: bytes) -> bytes:
    """Return the hash of what asking for a QR code says: which link, and the exact bytes.

    The SHA-256 over both, each behind its number of bytes (8 bytes, big-endian), so that the code
    of the link that replaces another one is something new to make.

    Args:
        link_id: the link that gets the code.
        body: the canonical body.

    Returns:
        32 bytes.
    """
    return _hash_of([link_id.encode(), body])


def joined_key(texts: Sequence[str]) -> str:
    r"""Return the row key of one row's key texts: joined by `|`, of several `\` and `|` escaped."""
    # Escaped only where there is something to tell apart, so that the key of one column is its
    # text, which people search for.
    if len(texts) == 1:
        return texts[0]
    return "|".join(text.replace("\\", "\\\\").replace("|", "\\|") for text in texts)


def qr_row_key(row_key: str, identifier: str) -> str:
    """Return what identifies a QR code in its set: the link's row key and the identifier."""
    return joined_key([row_key, identifier])


def _hash_of(parts: list[bytes]) -> bytes:
    # Without lengths, ("ab", "c") and ("a", "bc") would have one hash, and two rows one key.
    told = [piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)]
    return hashlib.sha256(b"".join(told)).digest()


def group_hashes(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the SHA-256 (32 bytes) of a body's destination, tracking and label.

    Destination is retailer, intent, products, location, URLs and options; label is name,
    public name and metadata. Each is hashed as the object of those members that the body has.
    """
    # The body is canonical already, but RFC 8785 knows doubles alone: it has to come out of the
    # parser as it will go into the encoder.
    content = _plain(body)
    hash_of = _hash if content is None else _hash_of_plain
    if content is None:
        content = json.loads(body, parse_int=_number)
    return (
        hash_of({name: content[name] for name in _DESTINATION if name in content}),
        hash_of(content.get("tracking", {})),
        hash_of({name: content[name] for name in _LABEL if name in content}),
    )


def _number(digits: str) -> int | float:
    # A double such as 1e17 is written without an exponent, but isn't among the exact integers.
    return int(digits) if len(digits) < _EXACT_DIGITS else float(digits)


def _hash(value: Any) -> bytes:
    return hashlib.sha256(rfc8785.dumps(value)).digest()


def _plain(body: bytes) -> dict[str, Any] | None:
    """Return the content that Python's own encoder writes as RFC 8785 does, None for another.

    The two differ in doubles, in large integers, and in the order of names beyond ASCII. Python's
    is compiled, and each row is hashed.
    """
    if not body.isascii() or b"\\" in body:
        return None
    try:
        content: dict[str, Any] = _PLAIN_DECODER.decode(body.decode())
    except _NotPlainError:
        return None
    return content


class _NotPlainError(Exception):
    """A number that the two encoders write in different ways."""


def _exact(digits: str) -> int:
    if len(digits) >= _EXACT_DIGITS:
        raise _NotPlainError
    return int(digits)


def _no_double(_digits: str) -> float:
    raise _NotPlainError


_PLAIN_DECODER = json.JSONDecoder(
    parse_int=_exact, parse_float=_no_double, parse_constant=_no_double
)
_PLAIN_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _hash_of_plain(value: Any) -> bytes:
    return hashlib.sha256(_PLAIN_ENCODER.encode(value).encode()).digest()
