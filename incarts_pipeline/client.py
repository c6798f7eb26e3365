"""The Incarts API, one method per endpoint."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from incarts_pipeline.answers import classify, error_for, parse_error, parse_link, parse_qr_code
from incarts_pipeline.errors import (
    AnswerLostError,
    ApiError,
    ApiProblem,
    NotSentError,
    SettingsError,
    UnexpectedAnswerError,
)
from incarts_pipeline.models import Answer, AnswerKind, Link, QrCode
from incarts_pipeline.settings import checked_base_url
from incarts_pipeline.transport import make_transport

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_counter = itertools.count()
_process = f"{time.time_ns():x}{os.getpid():x}{os.urandom(4).hex()}"


def new_correlation_id() -> str:
    """Return a fresh id for one attempt, 8 to 128 characters."""
    return f"incarts-{_process}-{next(_counter):x}"


class IncartsClient:
    """Talks to one Incarts host with one API key; use as an asynchronous context manager.

    No redirect is followed, TLS is always verified, and no request is ever repeated here.

    Args:
        base_url: like `https://api.example.com`; plain http only for loopback.
        api_key: the secret; it is in no repr, message or log line.
        transport: for tests, `httpx.MockTransport`; by default the fast one.
        connect_timeout: seconds.
        read_timeout: seconds, for an attempt from its first byte to its answer's last.
        max_connections: connections kept open at once.

    Raises:
        SettingsError: the base URL can't be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        transport: httpx.AsyncBaseTransport | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_connections: int = 100,
    ) -> None:
        try:
            self.base_url = checked_base_url(base_url)
        except ValueError as error:
            raise SettingsError(f"The base URL can't be used: {error}.") from None
        self._transport = transport or make_transport(max_connections)
        self._links = httpx.URL(f"{self.base_url}/v1/links")
        # As bytes, because httpx looks much longer at text.
        self._headers = [
            (b"accept", b"application/json"),
            (b"user-agent", b"incarts-pipeline"),
            (b"x-incarts-api-key", _Secret(api_key.get_secret_value().encode())),
        ]
        self._deadline = connect_timeout + read_timeout
        self._extensions = {
            "timeout": {
                "connect": connect_timeout,
                "read": read_timeout,
                "write": read_timeout,
                "pool": connect_timeout,
            }
        }

    def __repr__(self) -> str:
        return f"IncartsClient(base_url={self.base_url!r})"

    async def __aenter__(self) -> IncartsClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._transport.aclose()

    async def post_link(self, body: bytes, *, idempotency_key: str, correlation_id: str) -> Answer:
        """Make one attempt to create a link with exactly these bytes; return what came of it.

        Neither an error answer nor a failing network raises.
        """
        return await self._post(self._links, body, idempotency_key, correlation_id)

    async def post_qr_code(
        self, link_id: str, body: bytes, *, idempotency_key: str, correlation_id: str
    ) -> Answer:
        """Make one attempt to create a QR code of a link; `link.qr_code` of the answer is it."""
        url = httpx.URL(f"{self.base_url}/v1/links/{quote(link_id, safe='')}/qr-codes")
        return await self._post(url, body, idempotency_key, correlation_id)

    async def create_link(
        self,
        body: bytes | Mapping[str, object],
        *,
        idempotency_key: str,
        correlation_id: str | None = None,
    ) -> Link:
        """Create a link.

        Raises:
            ApiError: Incarts answered with an error; the subclass says which.
            NotSentError: the request provably never left.
            AnswerLostError: it may have; send the same bytes under the same key again.
        """
        content = await self._send(
            "POST", self._links, _encode(body), idempotency_key, correlation_id
        )
        link = parse_link(content)
        if link is None:
            raise _unexpected("the answer has no link id")
        return link

    async def get_link(self, link_id: str) -> Link:
        """Read a link back (needs the scope `links:read`); raises as `create_link` does."""
        url = httpx.URL(f"{self.base_url}/v1/links/{quote(link_id, safe='')}")
        link = parse_link(await self._send("GET", url, None, None, None))
        if link is None:
            raise _unexpected("the answer has no link id")
        return link

    async def create_qr_code(
        self,
        link_id: str,
        body: bytes | Mapping[str, object],
        *,
        idempotency_key: str,
        correlation_id: str | None = None,
    ) -> QrCode:
        """Create one more QR code for a link; raises as `create_link` does."""
        url = httpx.URL(f"{self.base_url}/v1/links/{quote(link_id, safe='')}/qr-codes")
        content = await self._send("POST", url, _encode(body), idempotency_key, correlation_id)
        code = parse_qr_code(content.get("data") if isinstance(content, dict) else None)
        if code is None:
            raise _unexpected("the answer has no QR code id")
        return code

    async def _post(
        self, url: httpx.URL, body: bytes, idempotency_key: str, correlation_id: str
    ) -> Answer:
        try:
            response = await self._exchange("POST", url, body, idempotency_key, correlation_id)
        except (httpx.TransportError, TimeoutError) as error:
            not_sent = isinstance(error, _NOT_SENT)
            return Answer(
                kind=AnswerKind.NOT_SENT if not_sent else AnswerKind.UNKNOWN,
                correlation_id=correlation_id,
                error_code="not_sent" if not_sent else "answer_lost",
                error_message=explain_network(error),
            )
        return classify(
            response.status_code,
            {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers.raw
            },
            response.content,
            correlation_id=correlation_id,
            now=dt.datetime.now(dt.UTC),
        )

    async def _send(
        self,
        method: str,
        url: httpx.URL,
        body: bytes | None,
        idempotency_key: str | None,
        correlation_id: str | None,
    ) -> object:
        correlation_id = correlation_id or new_correlation_id()
        try:
            response = await self._exchange(method, url, body, idempotency_key, correlation_id)
        except _NOT_SENT as error:
            raise NotSentError(
                f"Incarts can't be reached: {explain_network(error)}.",
                fix="Check the base URL and the network; nothing was sent.",
            ) from None
        except (httpx.TransportError, TimeoutError) as error:
            raise AnswerLostError(
                f"The answer was lost: {explain_network(error)}.",
                fix="Send the same bytes under the same idempotency key again.",
            ) from None
        if not 200 <= response.status_code < 300:
            raise error_for(parse_error(response.status_code, response.headers, response.content))
        try:
            content: object = json.loads(response.content)
        except ValueError:
            return None
        return content

    async def _exchange(
        self,
        method: str,
        url: httpx.URL,
        body: bytes | None,
        idempotency_key: str | None,
        correlation_id: str,
    ) -> httpx.Response:
        headers = [*self._headers, (b"x-correlation-id", correlation_id.encode())]
        if body is not None:
            headers.append((b"content-type", b"application/json"))
        if idempotency_key is not None:
            headers.append((b"idempotency-key", idempotency_key.encode()))
        request = httpx.Request(
            method, url, headers=headers, content=body, extensions=self._extensions
        )
        async with asyncio.timeout(self._deadline):
            response = await self._transport.handle_async_request(request)
            await response.aread()
        return response


class _Secret(bytes):
    """A header value that shows itself to nobody who prints it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'[secure]'"


def _encode(body: bytes | Mapping[str, object]) -> bytes:
    if isinstance(body, bytes):
        return body
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _unexpected(what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        ApiProblem(status=200, message=what),
        fix="Check INCARTS_API_BASE_URL; if it is right, send the same key and bytes again.",
    )


def explain_network(error: BaseException) -> str:
    """Say in a few words what went wrong on the way."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and len(causes) < 8:
        causes.append(cause)
    text = " ".join(str(error).split())[:200]
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or "certificate" in text.lower():
        return f"TLS failed, its certificate is not trusted or doesn't fit ({text})"
    if isinstance(error, httpx.ConnectError) and any(_is_dns(cause) for cause in causes):
        return f"the host name can't be resolved ({text})"
    if isinstance(error, _NOT_SENT):
        return f"connecting failed ({text or type(error).__name__})"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "no answer in time"
    return f"the connection broke ({text or type(error).__name__})"


def _is_dns(error: BaseException) -> bool:
    return type(error).__name__ in ("gaierror", "ClientConnectorDNSError")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a look at the API showed: `code` is short, `fix` what to do when `ok` is false."""

    ok: bool
    code: str
    message: str
    fix: str | None = None


async def probe(client: IncartsClient) -> Probe:
    """Tell a wrong host, path or key without making anything: read a link that can't exist."""
    try:
        await client.get_link("lnk_doctor-made-up-id")
    except (NotSentError, AnswerLostError) as error:
        return Probe(ok=False, code="unreachable", message=error.message, fix=error.fix)
    except ApiError as error:
        return _judge(error, client.base_url)
    return Probe(ok=True, code="ok", message="the host answers and the key is accepted")


def _judge(error: ApiError, base_url: str) -> Probe:
    spoke = error.problem.code is not None or not (error.problem.message or "").startswith("a web")
    if error.status == 404 and spoke and (error.problem.code or error.problem.message):
        return Probe(ok=True, code="ok", message=f"{base_url} answers and the key is accepted")
    if error.status == 403:
        return Probe(
            ok=True, code="no_read", message="the key is valid, but has no scope links:read"
        )
    if error.status == 401:
        return Probe(ok=False, code="bad_key", message=error.message, fix=error.fix)
    if error.status == 429 or error.status >= 500:
        return Probe(ok=False, code="trouble", message=error.message, fix="Try again later.")
    return Probe(
        ok=False,
        code="wrong_base_url",
        message=f"what answers at {base_url} is not the Incarts API (status {error.status})",
        fix="Check INCARTS_API_BASE_URL: the scheme, the host, and the path without /v1.",
    )
