"""Transport: how requests leave, and what their errors mean.

httpx's own pool looks at every connection for every request: beyond a few in flight, that is most
of what a request costs. `benchmarks/transports.py` measures side by side. CPU per request, in
relation to aiohttp's session, with so many requests in flight:

=================================  ====  ====  ====  ====
                                      1     8    32   128
=================================  ====  ====  ====  ====
httpx's AsyncHTTPTransport          3.6   4.9    23    29
httpx2's AsyncHTTPTransport         2.2   2.7   3.3   5.5
httpx's, one connection each        3.6   4.1   4.4   4.4
httpx-aiohttp                       1.1   1.0   1.0   1.2
pyreqwest                           1.2   1.1   1.1   0.8
asyncio and llhttp, nothing else    0.4   0.4   0.5   0.4
=================================  ====  ====  ====  ====

What decides is what an error means; httpx's are the words for it. Only a failure to get a
connection (waiting for one, name, TCP, TLS, proxy) may say so: as `httpx.ConnectError`,
`ConnectTimeout` or `ProxyError`, the request provably never left. Everything later, even a
kept-alive connection that turned out to be closed, may have arrived. httpx-aiohttp 0.2 and
pyreqwest 0.15 are as fast as the session, but report a server that read the request and hung up as
`ConnectTimeout` and `ConnectError`: a link that may exist would count as never sent. So only
aiohttp's connections are used (`aiohttp_transport`), and the request is written here.

A kept-alive connection may hold an answer that nobody asked for, or the late one to an earlier
request. So a connection that has bytes waiting is not sent on, one whose answer leaves doubt is
closed (`Received.let_go`), and what is sent again after a doubt goes over a connection of its own,
which nobody can have left an answer on. httpx looks for waiting bytes by itself; aiohttp doesn't.
"""

from __future__ import annotations

import re
import ssl
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from incarts_pipeline.api.aiohttp_transport import AiohttpTransport
from incarts_pipeline.api.proxy import proxy_for
from incarts_pipeline.api.received import MAX_BODY, AnswerTooLargeError, Received
from incarts_pipeline.outgoing import logger_of, safe
from incarts_pipeline.settings import tls_context

# Loggers that write down what came over the network when they are asked for all that happens.
_TALKATIVE = ("httpcore.connection", "httpcore.http11", "httpcore.proxy", "aiohttp.client", "httpx")
_KEEP_ALIVE = 30.0  # seconds; servers and what stands before them mostly wait longer than this


class Transport(Protocol):
    """Sends requests, each once, and reads their whole answers."""

    def prepare(self) -> None:
        """Load what requests need, lest it count to the time that the first of them takes."""

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        *,
        fresh: bool = False,
    ) -> Received:
        """Send one request; with `fresh`, over a connection on which nothing was sent before.

        Raises:
            httpx.TransportError: no whole answer came; the module's docstring says what it means.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class HttpxTransport:
    """Sends through httpx; `kept` and `fresh` may be the same. Timeouts are in seconds."""

    def __init__(
        self,
        kept: httpx.AsyncBaseTransport,
        fresh: httpx.AsyncBaseTransport,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
    ) -> None:
        self._kept, self._fresh = kept, fresh
        self._timeouts = {"connect": connect_timeout, "pool": connect_timeout}
        self._timeouts |= {"read": read_timeout, "write": read_timeout}

    def prepare(self) -> None:
        """Do nothing: all is loaded."""

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        *,
        fresh: bool = False,
    ) -> Received:
        """Send one request, as `Transport` says."""
        # As bytes, because httpx looks much longer at text.
        request = httpx.Request(
            method,
            url,
            headers=[(name.encode(), value.encode()) for name, value in headers],
            content=body,
            extensions={"timeout": self._timeouts},
        )
        response = await (self._fresh if fresh else self._kept).handle_async_request(request)
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the transport is not an asynchronous one")
        try:
            content = await read_all(stream)
        except BaseException:
            await stream.aclose()
            raise
        let_go = partial(_let_go, stream, response.extensions.get("network_stream"))
        return Received(response.status_code, response.headers.raw, content, let_go)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._kept.aclose()
        await self._fresh.aclose()


async def _let_go(stream: httpx.AsyncByteStream, connection: Any, in_step: bool) -> None:
    if connection is not None and not in_step:
        await connection.aclose()
    await stream.aclose()  # which gives the connection back


def make_transport(
    base_url: str,
    max_connections: int,
    *,
    connect_timeout: float = 5.0,
    read_timeout: float = 30.0,
) -> Transport:
    """Return the fast transport, or httpx's own where aiohttp isn't installed.

    TLS is always verified: against SSL_CERT_FILE, SSL_CERT_DIR or REQUESTS_CA_BUNDLE when one is
    set, as a corporate proxy needs it, else against certifi's authorities.

    Raises:
        SettingsError: the environment names authorities or a proxy that can't be used.
    """
    # Reading the authorities takes 20 ms. Plain http needs none, and this context trusts nobody.
    is_tls = urlsplit(base_url).scheme == "https"
    context = tls_context() if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = proxy_for(base_url)
    for name in _TALKATIVE:
        logger_of(name)
    if find_spec("aiohttp") is not None:
        return AiohttpTransport(context, max_connections, proxy, connect_timeout)

    told = None if proxy is None else httpx.Proxy(proxy.url, headers=proxy.headers)

    def through(kept: int) -> httpx.AsyncBaseTransport:
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=kept,
            keepalive_expiry=_KEEP_ALIVE,
        )
        return httpx.AsyncHTTPTransport(verify=context, limits=limits, retries=0, proxy=told)

    return HttpxTransport(through(max_connections), through(0), connect_timeout, read_timeout)


async def read_all(stream: httpx.AsyncByteStream) -> bytes:
    """Return an answer's body; whoever reads it closes the stream.

    Raises:
        AnswerTooLargeError: it has more than `MAX_BODY` bytes.
    """
    content = b""
    async for part in stream:
        content += part
        if len(content) > MAX_BODY:
            raise AnswerTooLargeError("the answer is too large")
    return content


def unpacked(content: bytes, encoding: str | None) -> bytes:
    """Undo a compression that nobody asked for, up to `MAX_BODY`; else return it as it came."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return content
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, MAX_BODY)
    except zlib.error:
        return content


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
