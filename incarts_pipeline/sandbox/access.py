"""Access to the sandbox: which requests are from this machine's own programs, not from a web page.

A browser on this machine reaches the sandbox too, on behalf of any page that is open in it: by a
form, or by a name that its owner turns to 127.0.0.1 (DNS rebinding). Both say so, in `Origin` and
`Host`. The sandbox's controls want a token beyond that, which no page knows.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from starlette.types import Scope

CONTROLS = "/_sandbox/"
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What a request is answered that may not be here."""

    status: int
    message: str


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def refused(scope: Scope, token: str) -> Refused | None:
    """Return why a request is refused, None when it isn't.

    Args:
        scope: the request's, of ASGI.
        token: what the controls want, as `Authorization: Bearer TOKEN`.
    """
    headers = dict(scope["headers"])
    host = _text(headers, b"host")  # which every browser sends
    if host is not None and _name(host) not in _HOSTS:
        return Refused(status=403, message=f"this is a sandbox on 127.0.0.1, not {host!r}")
    origin = _text(headers, b"origin")
    if origin is not None and origin != f"http://{host}":
        return Refused(status=403, message=f"a page of {origin!r} may not call the sandbox")
    if not scope["path"].startswith(CONTROLS):
        return None
    if not hmac.compare_digest(headers.get(b"authorization", b""), f"Bearer {token}".encode()):
        return Refused(
            status=401,
            message="the sandbox's controls want `Authorization: Bearer TOKEN`, with the "
            "INCARTS_SANDBOX_TOKEN that it printed when it started",
        )
    if scope["method"] == "POST" and not _is_json(_text(headers, b"content-type") or ""):
        return Refused(status=415, message="the body must be JSON, and say so in Content-Type")
    return None


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _name(host: str) -> str:
    """Return a host without its port: what stands before it may be a proxy with another."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
