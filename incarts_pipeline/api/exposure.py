"""Exposure of secrets: none is sent but in the header that is for it, and none is taken back.

A server, or what stands before it, may put the key that it was sent into its answer. What an answer
says gets into the ledger, tables, reports and logs, so it is cleaned here, once, behind every
decoding. Nearly all answers are clean, and looking costs them a few microseconds.
"""

from __future__ import annotations

import json

from incarts_pipeline.api.attribution import Request
from incarts_pipeline.api.received import Received
from incarts_pipeline.api.responses import Reply
from incarts_pipeline.api.transport import unpacked
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.outgoing import holds_secret, without_secrets

_ECHO = "x-correlation-id"
_KINDS = (b"ic_live_", b"ic_test_")


def refuse_secrets(request: Request, idempotency_key: str | None) -> None:
    """Refuse a request that has a live secret, or what has a key's shape, in any spelling.

    Raises:
        RefusedError: says where; nothing was sent.
    """
    told = {
        "body": (request.body or b"").decode("utf-8", "replace"),
        "idempotency key": idempotency_key,
        "correlation id": request.correlation_id,
        "link's id": request.link_id,
    }
    for what, text in told.items():
        if text and holds_secret(text):
            raise _refused(what)


def refuse_plain_secret(body: bytes, secret: bytes) -> None:
    """Refuse a body that has the key as it is; `prepare` has looked for it in any spelling.

    Raises:
        RefusedError: nothing was sent.
    """
    if secret in body or (b"ic_" in body and any(kind in body for kind in _KINDS)):
        raise _refused("body")


def reply_of(received: Received, ours: str = "") -> Reply:
    """Return an answer decoded, and without what secrets it has; `ours` is the id that was sent."""
    told = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in received.headers
    }
    # Of the headers the one whose text is kept; the others are read as numbers.
    if told.get(_ECHO, ours) != ours:
        told[_ECHO] = without_secrets(told[_ECHO])
    body = unpacked(received.body, told.get("content-encoding"))
    return Reply(status=received.status, headers=told, body=_clean(body))


def _refused(what: str) -> RefusedError:
    return RefusedError(
        f"The request's {what} has an API key in it, or another secret; it was not sent.",
        fix="Take it out, and have the key replaced if others may have seen it.",
        guard="secret_in_request",
    )


def _clean(body: bytes) -> bytes:
    # `replace`: a letter that isn't UTF-8 is no letter of a key.
    if not holds_secret(body.decode("utf-8", "replace")):
        return body
    try:
        return json.dumps(_masked(json.loads(body))).encode()
    except (ValueError, RecursionError):
        text = body.decode(json.detect_encoding(body), "replace")
        return without_secrets(text).encode("utf-8", "replace")


def _masked(value: object) -> object:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {without_secrets(name): _masked(item) for name, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value
