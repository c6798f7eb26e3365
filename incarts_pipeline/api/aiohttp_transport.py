"""Aiohttp transport: requests over the connections of aiohttp's pool, written and read here.

aiohttp connects (names, TLS, proxies), keeps connections, and parses answers. Its session is left
out: what it does for redirects, cookies, forms and uploads is half of what a request costs, and
none of it is wanted here. So it is known, too, which errors come before a request is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx

from incarts_pipeline.api.received import MAX_BODY, AnswerTooLargeError, Received
from incarts_pipeline.outgoing import SecretBytes

if TYPE_CHECKING:
    import ssl

    import aiohttp
    import yarl

    from incarts_pipeline.api.proxy import Proxy

_KEEP_ALIVE = 30.0  # seconds; servers and what stands before them mostly wait longer than this
_NOT_HTTP = "the answer is not HTTP"


class AiohttpTransport:
    """Sends each request once; follows nothing, keeps no cookies.

    `connect_timeout` are the seconds until there is a connection, waiting for a free one included;
    how long an answer may take is for the caller to bound.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        max_connections: int,
        proxy: Proxy | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
        self._context = context
        self._max_connections = max_connections
        self._proxy = proxy
        self._connect_timeout = connect_timeout
        self._kept: aiohttp.TCPConnector | None = None
        self._fresh: aiohttp.TCPConnector | None = None
        self._target: _Target | None = None

    @cached_property
    def _aiohttp(self) -> ModuleType:
        """The library, which a run that sends nothing does not wait for."""
        import aiohttp

        return aiohttp

    @cached_property
    def _timeout(self) -> aiohttp.ClientTimeout:
        timeout: aiohttp.ClientTimeout = self._aiohttp.ClientTimeout(connect=self._connect_timeout)
        return timeout

    def prepare(self) -> None:
        """Load the library, as `Transport` says."""
        _ = self._aiohttp

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        *,
        fresh: bool = False,
    ) -> Received:
        """Send one request, once, and read its whole answer.

        With `fresh` it goes over a connection of its own, on which nothing else was or will be
        sent.

        Raises:
            httpx.TransportError: no whole answer came; the docstring of `transport` says what each
                means.
        """
        target = self._target_of(method, url)
        connection = await self._connected(target, fresh=fresh)
        try:
            return await _answer(connection, _written(target.begins, headers, body))
        except BaseException as error:
            connection.close()
            if isinstance(error, self._failures):
                raise self._broken(error) from error
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        for connector in (self._kept, self._fresh):
            if connector is not None:
                await connector.close()

    def _target_of(self, method: str, url: str) -> _Target:
        from yarl import URL  # comes with aiohttp

        last = self._target
        if last is not None and (last.method, last.url) == (method, url):
            return last
        try:
            request = self._aiohttp.ClientRequest(method, URL(url), **self._through(URL))
        except (ValueError, self._aiohttp.InvalidURL) as error:
            raise httpx.UnsupportedProtocol(str(error)) from error
        self._target = _Target(method, url, request)
        return self._target

    def _through(self, url: type[yarl.URL]) -> dict[str, Any]:
        """Return what a request is told about the proxy; the library changes its headers."""
        if self._proxy is None:
            return {}
        return {"proxy": url(self._proxy.url), "proxy_headers": dict(self._proxy.headers)}

    async def _connected(self, target: _Target, *, fresh: bool) -> aiohttp.connector.Connection:
        """Return a connection on which nothing waits to be read; it must be released or closed."""
        connector = self._connector(fresh=fresh)
        # Each one that is out of step is closed, so the pool runs out of them.
        for _ in range(self._max_connections):
            try:
                connection = await connector.connect(target.request, [], self._timeout)
            except (self._aiohttp.ClientError, OSError, TimeoutError) as error:
                raise self._not_connected(error) from error
            protocol = connection.protocol
            if protocol is not None and protocol.is_connected() and not protocol.should_close:
                return connection
            connection.close()
        raise httpx.ConnectError("the server speaks before it is asked")

    def _connector(self, *, fresh: bool) -> aiohttp.TCPConnector:
        if fresh:
            if self._fresh is None:
                self._fresh = self._new_connector(force_close=True)
            return self._fresh
        if self._kept is None:
            self._kept = self._new_connector(keepalive_timeout=_KEEP_ALIVE)
        return self._kept

    def _new_connector(self, **options: Any) -> aiohttp.TCPConnector:
        connector: aiohttp.TCPConnector = self._aiohttp.TCPConnector(
            ssl=self._context, limit=self._max_connections, **options
        )
        return connector

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        module = self._aiohttp
        return (module.ClientError, module.http.HttpProcessingError, OSError, TimeoutError)

    def _not_connected(self, error: Exception) -> httpx.TransportError:
        """Return httpx's error for a failure to connect: nothing was written."""
        module = self._aiohttp
        text = str(error) or type(error).__name__
        if isinstance(error, module.ClientHttpProxyError):
            # Its own text has the proxy's URL, password included.
            return httpx.ProxyError(f"{error.status} {error.message}")
        if isinstance(error, module.ClientProxyConnectionError):
            return httpx.ProxyError(text)
        if isinstance(error, TimeoutError):
            return httpx.ConnectTimeout(text)
        return httpx.ConnectError(text)

    def _broken(self, error: BaseException) -> httpx.TransportError:
        """Return httpx's error for what went wrong later: the request may have arrived."""
        module = self._aiohttp
        text = str(error) or type(error).__name__
        if isinstance(error, module.http.HttpProcessingError):
            return httpx.RemoteProtocolError(_NOT_HTTP)
        if isinstance(error, module.ServerDisconnectedError):
            return httpx.RemoteProtocolError(text)
        return httpx.ReadTimeout(text) if isinstance(error, TimeoutError) else httpx.ReadError(text)


class _Target:
    """Where a request goes: what aiohttp must know to connect, and how the request begins."""

    __slots__ = ("begins", "method", "request", "url")

    def __init__(self, method: str, url: str, request: aiohttp.ClientRequest) -> None:
        self.method, self.url, self.request = method, url, request
        path, host = request.url.raw_path_qs, request.headers["Host"]
        self.begins = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n"


def _written(begins: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> SecretBytes:
    """Return a whole request, which stays hidden in tracebacks like the key in it."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    if body is not None:
        lines.append(f"content-length: {len(body)}\r\n")
    return SecretBytes(f"{begins}{''.join(lines)}\r\n".encode("latin-1") + (body or b""))


async def _answer(connection: aiohttp.connector.Connection, written: SecretBytes) -> Received:
    """Write a request, and read its whole answer."""
    protocol: Any = connection.protocol
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    protocol.transport.write(written)
    message, payload = await protocol.read()
    while 100 <= message.code < 200 and message.code != 101:  # interim answers
        message, payload = await protocol.read()
    content = await _read(payload)
    if len(content) > MAX_BODY:
        raise AnswerTooLargeError("the answer is too large")
    return Received(message.code, message.raw_headers, content, partial(_let_go, connection))


async def _let_go(connection: aiohttp.connector.Connection, in_step: bool) -> None:
    if in_step:
        connection.release()
    else:
        connection.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return the answer's bytes, or a little more than are allowed."""
    body = await content.read(MAX_BODY + 1)
    while len(body) <= MAX_BODY and not content.at_eof():
        body += await content.read(MAX_BODY + 1 - len(body))
    return body
