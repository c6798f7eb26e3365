"""The lean httpx transport: httpx's interface over aiohttp's connections.

httpx's own pool looks at every connection for every request, which costs milliseconds at 32 in
flight; aiohttp's does not. Measured side by side by `benchmarks/transports.py`. aiohttp repeats
only idempotent methods, so a POST leaves once.

What matters here is what an error means. Only a failure to connect (name, TCP, TLS, proxy) is
raised as `httpx.ConnectError` or `httpx.ConnectTimeout`: the request provably never left.
Everything later, even a kept-alive connection that turned out to be closed, may have arrived.
"""

from __future__ import annotations

import ssl
import urllib.request
from types import ModuleType
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import aiohttp

_MAX_BODY = 4 * 1024 * 1024  # bytes of an answer; a link takes about one thousand
_KEEP_ALIVE = 30.0


class AnswerTooLargeError(httpx.ReadError):
    """The answer is larger than any answer of the API."""


def make_transport(max_connections: int) -> httpx.AsyncBaseTransport:
    """Return the fast transport, or httpx's own where aiohttp isn't installed."""
    context = httpx.create_ssl_context()
    module = _aiohttp()
    if module is None:
        limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        return httpx.AsyncHTTPTransport(verify=context, limits=limits, retries=0)
    return AiohttpTransport(module, context, max_connections)


def _aiohttp() -> ModuleType | None:
    try:
        import aiohttp
    except ImportError:
        return None
    return aiohttp


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests through one aiohttp session; follows nothing, keeps no cookies.

    A proxy is taken from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
    """

    def __init__(self, module: ModuleType, context: ssl.SSLContext, max_connections: int) -> None:
        self._aiohttp = module
        self._context = context
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str, str | None] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, once, and read its whole answer."""
        timeout = request.extensions.get("timeout", {})
        try:
            async with self._open().request(
                request.method,
                str(request.url),
                headers=[
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in request.headers.raw
                ],
                data=request.content or None,
                allow_redirects=False,
                proxy=self._proxy(request.url),
                timeout=self._aiohttp.ClientTimeout(
                    sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            ) as response:
                body = await response.content.read(_MAX_BODY + 1)
                while len(body) <= _MAX_BODY and not response.content.at_eof():
                    body += await response.content.read(_MAX_BODY + 1 - len(body))
                if len(body) > _MAX_BODY:
                    raise AnswerTooLargeError("the answer is larger than 4 MiB", request=request)
                return httpx.Response(
                    response.status, headers=response.raw_headers, content=body, request=request
                )
        except (self._aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._translate(error, request) from error

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            module = self._aiohttp
            self._session = module.ClientSession(
                connector=module.TCPConnector(
                    ssl=self._context, limit=self._max_connections, keepalive_timeout=_KEEP_ALIVE
                ),
                cookie_jar=module.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _proxy(self, url: httpx.URL) -> str | None:
        if url.host not in self._proxies:
            bypass = urllib.request.proxy_bypass(url.host)
            found = None if bypass else urllib.request.getproxies().get(url.scheme)
            self._proxies[url.host] = found
        return self._proxies[url.host]

    def _translate(self, error: Exception, request: httpx.Request) -> httpx.TransportError:
        """Return httpx's error for aiohttp's; see the module's docstring for what they mean."""
        module = self._aiohttp
        text = str(error) or type(error).__name__
        if isinstance(error, module.ConnectionTimeoutError):
            return httpx.ConnectTimeout(text, request=request)
        if isinstance(error, module.ClientConnectorError | module.ClientHttpProxyError):
            return httpx.ConnectError(text, request=request)
        if isinstance(error, module.InvalidURL | module.NonHttpUrlClientError):
            return httpx.UnsupportedProtocol(text, request=request)
        if isinstance(error, TimeoutError):
            return httpx.ReadTimeout(text, request=request)
        if isinstance(error, module.ServerDisconnectedError):
            return httpx.RemoteProtocolError(text, request=request)
        return httpx.ReadError(text, request=request)
