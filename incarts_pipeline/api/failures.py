"""Failures on the way: what it means that no answer came. Pure."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from enum import StrEnum

import httpx

from incarts_pipeline.outgoing import safe

# Raised only before the first byte of a request is written, by this transport and by httpx's own.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


# What aiohttp adds of its own: which check of certificates, and what the system said, as a list.
_QUIET = re.compile(r" ssl:\S+(?= \[)| \[(?:Connect call failed .*|None)\]$")


class FailureKind(StrEnum):
    """What went wrong on the way."""

    DNS = "dns"  # the host name can't be resolved
    TLS = "tls"  # no encrypted connection, mostly because of the certificate
    PROXY = "proxy"  # the proxy can't be reached, or refuses
    CONNECT = "connect"  # refused, unreachable, or not connected in time
    TIMEOUT = "timeout"  # no whole answer in time
    BROKEN = "broken"  # the connection broke, or what came back is not HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why no answer came; `not_sent` is true when the request provably never left."""

    kind: FailureKind
    not_sent: bool
    message: str


def explain(error: httpx.RequestError | TimeoutError) -> Failure:
    """Say what a failed exchange means; a bare TimeoutError is the attempt's deadline."""
    causes = _causes(error)
    not_sent = isinstance(error, _NOT_SENT)
    said = safe(" ".join(str(error).split()))  # before it is cut, and a password in it too
    text = _QUIET.sub("", said)[:200].rstrip(".") or type(error).__name__
    certificate = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        why = safe(getattr(certificate, "verify_message", "")) or text
        kind, message = FailureKind.TLS, f"the host's certificate is not trusted: {why}"
    elif any(isinstance(cause, ssl.SSLError) for cause in causes):
        kind, message = FailureKind.TLS, f"TLS failed: {text}"
    elif isinstance(error, httpx.ProxyError):
        kind, message = FailureKind.PROXY, f"the proxy doesn't let the request through: {text}"
    elif not_sent and any(type(c).__name__ in _DNS for c in causes):
        kind, message = FailureKind.DNS, f"the host name can't be resolved: {text}"
    elif not_sent:
        kind, message = FailureKind.CONNECT, f"connecting failed: {text}"
    elif isinstance(error, TimeoutError | httpx.TimeoutException):
        kind, message = FailureKind.TIMEOUT, "no answer in time"
    else:
        kind, message = FailureKind.BROKEN, f"the connection broke: {text}"
    return Failure(kind=kind, not_sent=not_sent, message=message)


_DNS = frozenset({"gaierror", "ClientConnectorDNSError"})


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and len(causes) < 8:
        causes.append(cause)
    return causes
