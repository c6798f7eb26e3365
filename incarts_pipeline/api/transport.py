"""Transport: httpx's interface over aiohttp's connections.

httpx's own pool looks at every connection for every request: beyond a few in flight, that is most
of what a request costs. `benchmarks/transports.py` measures side by side. CPU per request, in
relation to this transport, with so many requests in flight:

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

What decides is what an error means. Only a failure to get a connection (waiting for one, name, TCP,
TLS, proxy) may say so: as `httpx.ConnectError`, `ConnectTimeout` or `ProxyError`, the request
provably never left. Everything later, even a kept-alive connection that turned out to be closed,
may have arrived. httpx-aiohttp 0.2 and pyreqwest 0.15 are as fast, but report a server that read
the request and hung up as `ConnectTimeout` and `ConnectError`: a link that may exist would count
as never sent. aiohttp's own errors tell these apart, and it repeats only idempotent methods
(RFC 9110 section 9.2.2), so a POST leaves once. A transport of our own would save half of what is
left, for timeouts, proxies and TLS to look after.

A kept-alive connection may hold an answer that nobody asked for, or the late one to an earlier
request. So a connection that has bytes waiting is not sent on, and one whose answer leaves doubt is
closed (`Received.close`). httpx looks for waiting bytes by itself; aiohttp doesn't.
"""

from __future__ import annotations

import re
import ssl
import urllib.request
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.outgoing import keep_credentials, logger_of, safe

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 4 * 1024 * 1024  # bytes of an answer; a link takes about one thousand
# Loggers that write down what came over the network when they are asked for all that happens.
_TALKATIVE = ("httpcore.connection", "httpcore.http11", "httpcore.proxy", "aiohttp.client", "httpx")
_KEEP_ALIVE = 30.0  # seconds; servers and what stands before them mostly wait longer than this


class Received(NamedTuple):
    """An answer as it came, read to its end, and how to close the connection that it came on.

    The connection may be another request's by now. That one is broken off then, which is right:
    whatever it would have read there can't be trusted.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    close: Callable[[], Awaitable[None]]


class AnswerTooLargeError(httpx.ReadError):
    """The answer is larger than any answer of the API."""


def make_transport(base_url: str, max_connections: int) -> httpx.AsyncBaseTransport:
    """Return the fast transport, or httpx's own where aiohttp isn't installed.

    TLS is always verified: against SSL_CERT_FILE or SSL_CERT_DIR when one is set, as a corporate
    proxy needs it, else against certifi's authorities.

    Raises:
        SettingsError: the environment names a proxy of a kind that can't be used.
    """
    # Reading the authorities takes 20 ms. Plain http needs none, and this context trusts nobody.
    is_tls = urlsplit(base_url).scheme == "https"
    context = httpx.create_ssl_context() if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = proxy_for(base_url)
    for name in _TALKATIVE:
        logger_of(name)
    module = _aiohttp()
    if module is not None:
        return AiohttpTransport(module, context, max_connections, proxy)
    limits = httpx.Limits(
        max_connections=max_connections,
        max_keepalive_connections=max_connections,
        keepalive_expiry=_KEEP_ALIVE,
    )
    return httpx.AsyncHTTPTransport(verify=context, limits=limits, retries=0, proxy=proxy)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL: HTTPS_PROXY or ALL_PROXY, NO_PROXY.

    Plain http goes directly, as only loopback may use it and a proxy would see the key.

    Raises:
        SettingsError: it is not an http or https proxy.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or urllib.request.proxy_bypass(host):
        return None
    known = urllib.request.getproxies()
    proxy = known.get("https") or known.get("all")
    if not proxy:
        return None
    keep_credentials(proxy)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")):
        raise SettingsError(
            f"The proxy for {host} is of a kind that can't be used: {proxy.partition(':')[0]}.",
            fix="Let HTTPS_PROXY name an http proxy, or put the host into NO_PROXY.",
        )
    return proxy


def _aiohttp() -> ModuleType | None:
    try:
        import aiohttp
    except ImportError:
        return None
    return aiohttp


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests through one aiohttp session; follows nothing, keeps no cookies.

    Of the request's timeouts, `connect` bounds the time until there is a connection, waiting for a
    free one included, and `read` the time between two pieces of the answer; both in seconds.
    """

    def __init__(
        self,
        module: ModuleType,
        context: ssl.SSLContext,
        max_connections: int,
        proxy: str | None = None,
    ) -> None:
        self._aiohttp = module
        self._context = context
        self._max_connections = max_connections
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._request_class = _request_class(module)
        self._kept: tuple[tuple[float | None, float | None], aiohttp.ClientTimeout] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, once, and read its whole answer.

        Raises:
            httpx.TransportError: no whole answer came; the module's docstring says what it means.
        """
        timeout = request.extensions.get("timeout", {})
        try:
            received = await self.exchange(
                request.method,
                str(request.url),
                [
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in request.headers.raw
                ],
                request.content or None,
                (timeout.get("connect"), timeout.get("read")),
            )
        except httpx.TransportError as error:
            error.request = request
            raise
        return httpx.Response(
            received.status,
            headers=list(received.headers),
            stream=httpx.ByteStream(received.body),
            request=request,
        )

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeouts: tuple[float | None, float | None],
    ) -> Received:
        """Do the same without httpx's objects, which cost a fifth of what a request does.

        `timeouts` are those for `connect` and `read`; raises as `handle_async_request` does.
        """
        # Each one that is out of step is closed, so the pool runs out of them.
        for _ in range(self._max_connections):
            with suppress(_OutOfStepError):
                return await self._exchange(method, url, headers, body, timeouts)
        raise httpx.ConnectError("the server speaks before it is asked")

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeouts: tuple[float | None, float | None],
    ) -> Received:
        try:
            async with self._open().request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=self._timeout(timeouts),
            ) as response:
                content = await _read(response.content)
                if len(content) > MAX_BODY:
                    raise AnswerTooLargeError("the answer is too large")
                close = partial(_close, response.sent_over)  # type: ignore[attr-defined]
                return Received(response.status, response.raw_headers, content, close)
        except (self._aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._translate(error) from error

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _timeout(self, timeouts: tuple[float | None, float | None]) -> aiohttp.ClientTimeout:
        if self._kept is None or self._kept[0] != timeouts:
            connect, read = timeouts
            made = self._aiohttp.ClientTimeout(connect=connect, sock_read=read)
            self._kept = (timeouts, made)
        return self._kept[1]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            module = self._aiohttp
            self._session = module.ClientSession(
                connector=module.TCPConnector(
                    ssl=self._context, limit=self._max_connections, keepalive_timeout=_KEEP_ALIVE
                ),
                request_class=self._request_class,
                cookie_jar=module.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _translate(self, error: Exception) -> httpx.TransportError:
        """Return httpx's error for aiohttp's; see the module's docstring for what they mean."""
        module = self._aiohttp
        text = str(error) or type(error).__name__
        kind: type[httpx.TransportError] = httpx.ReadError
        if isinstance(error, module.ConnectionTimeoutError):
            kind = httpx.ConnectTimeout
        elif isinstance(error, module.ClientHttpProxyError):
            # Its own text has the proxy's URL, password included.
            kind, text = httpx.ProxyError, f"{error.status} {error.message}"
        elif isinstance(error, module.ClientProxyConnectionError):
            kind = httpx.ProxyError
        elif isinstance(error, module.ClientConnectorError):
            kind = httpx.ConnectError
        elif isinstance(error, module.InvalidURL):
            kind = httpx.UnsupportedProtocol
        elif isinstance(error, TimeoutError):
            kind = httpx.ReadTimeout
        elif isinstance(error, module.ServerDisconnectedError):
            kind = httpx.RemoteProtocolError
        return kind(text)


class _OutOfStepError(Exception):
    """A connection has bytes waiting, or is closed, before the request was written."""


def _request_class(module: ModuleType) -> type[aiohttp.ClientRequest]:
    """Return aiohttp's request, which looks at its connection first and remembers it."""

    class Request(module.ClientRequest):  # type: ignore[misc, name-defined]
        async def send(self, conn: Any) -> Any:
            protocol = conn.protocol
            if protocol.should_close or not protocol.is_connected():
                raise _OutOfStepError
            response = await super().send(conn)
            response.sent_over = protocol
            return response

    return Request


async def _close(protocol: Any) -> None:
    protocol.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return the answer's bytes, or a little more than are allowed."""
    body = await content.read(MAX_BODY + 1)
    while len(body) <= MAX_BODY and not content.at_eof():
        body += await content.read(MAX_BODY + 1 - len(body))
    return body


async def read_answer(response: httpx.Response) -> bytes:
    """Return an answer's body and give its connection back.

    Raises:
        AnswerTooLargeError: it has more than `MAX_BODY` bytes.
    """
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport is not an asynchronous one")
    content = b""
    try:
        async for part in stream:
            content += part
            if len(content) > MAX_BODY:
                raise AnswerTooLargeError("the answer is too large")
    finally:
        await stream.aclose()
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
