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

import ssl
import urllib.request
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from incarts_pipeline.api.aiohttp_transport import AiohttpTransport
from incarts_pipeline.api.received import Received, read_all
from incarts_pipeline.errors import SettingsError
from incarts_pipeline.outgoing import keep_credentials, logger_of

# Loggers that write down what came over the network when they are asked for all that happens.
_TALKATIVE = ("httpcore.connection", "httpcore.http11", "httpcore.proxy", "aiohttp.client", "httpx")
_KEEP_ALIVE = 30.0  # seconds; servers and what stands before them mostly wait longer than this


class Transport(Protocol):
    """Sends requests, each once, and reads their whole answers."""

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
        return AiohttpTransport(module, context, max_connections, proxy, connect_timeout)

    def through(kept: int) -> httpx.AsyncBaseTransport:
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=kept,
            keepalive_expiry=_KEEP_ALIVE,
        )
        return httpx.AsyncHTTPTransport(verify=context, limits=limits, retries=0, proxy=proxy)

    return HttpxTransport(through(max_connections), through(0), connect_timeout, read_timeout)


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
