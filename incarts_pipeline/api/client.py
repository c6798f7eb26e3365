"""Client: one attempt at a request to the Incarts API, and what came of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import NoReturn

import httpx
from pydantic import SecretStr

from incarts_pipeline.api.credentials import checked_secret
from incarts_pipeline.api.endpoints import LINK, LINKS, QR_CODES, Endpoint, Made
from incarts_pipeline.api.responses import Reply, classify, error_for
from incarts_pipeline.api.transport import (
    AiohttpTransport,
    Received,
    explain,
    make_transport,
    read_answer,
    unpacked,
)
from incarts_pipeline.errors import AnswerLostError, NotSentError, SettingsError
from incarts_pipeline.models import Answer, AnswerKind, Link, QrCode
from incarts_pipeline.settings import MOST, ClientSettings, Settings, checked_base_url


class IncartsClient:
    """Talks to one Incarts host with one API key; use as an asynchronous context manager.

    No redirect is followed, TLS is always verified, and no request is ever repeated here. A proxy
    and authorities of one's own are taken from the environment, see `make_transport`.

    Args:
        base_url: like `https://api.example.com`; plain http only for loopback.
        api_key: the secret; it is in no repr, message, log line or traceback.
        transport: for tests, `httpx.MockTransport`; by default the fast one.
        connect_timeout: seconds until there is a connection.
        read_timeout: seconds for what follows, to the answer's last byte; an answer has what
            connecting left over as well.
        max_connections: connections kept open at once.

    Raises:
        SettingsError: the base URL, the key or the environment's proxy can't be used.
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
        self._secret = checked_secret(api_key)
        self._transport = transport or make_transport(self.base_url, max_connections)
        # Encoded answers are not asked for: the real ones are small, and a small one that unpacks
        # to gigabytes is no answer.
        self._headers = [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("user-agent", "incarts-pipeline"),
            ("x-incarts-api-key", self._secret.decode()),
        ]
        self._deadline = connect_timeout + read_timeout
        timeout = {"connect": connect_timeout, "pool": connect_timeout}
        timeout |= {"read": read_timeout, "write": read_timeout}
        self._timeouts = timeout

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

    async def post(
        self,
        endpoint: Endpoint[Link | QrCode],
        body: bytes,
        *,
        link_id: str | None = None,
        idempotency_key: str,
        correlation_id: str,
    ) -> Answer:
        """Make one attempt to create something with exactly these bytes; return what came of it.

        Neither an error answer nor a failing network raises. When the task is cancelled meanwhile,
        the request may have arrived.

        Args:
            endpoint: `LINKS` or `QR_CODES`.
            body: JSON.
            link_id: whose QR code it is to be, where the endpoint's path names a link.
            idempotency_key: the same for every attempt at the same thing.
            correlation_id: another one for each attempt.

        Raises:
            ValueError: the key or the correlation id is not 8 to 128 printable ASCII characters, or
                the link's id has not 3 to 128.
        """
        return await self._attempt("POST", endpoint, link_id, body, idempotency_key, correlation_id)

    async def post_link(self, body: bytes, *, idempotency_key: str, correlation_id: str) -> Answer:
        """Make one attempt to create a link, as `post` does."""
        return await self.post(
            LINKS, body, idempotency_key=idempotency_key, correlation_id=correlation_id
        )

    async def post_qr_code(
        self, link_id: str, body: bytes, *, idempotency_key: str, correlation_id: str
    ) -> Answer:
        """Make one attempt to create a QR code of a link, as `post` does."""
        return await self.post(
            QR_CODES,
            body,
            link_id=link_id,
            idempotency_key=idempotency_key,
            correlation_id=correlation_id,
        )

    async def look_up(self, link_id: str, *, correlation_id: str) -> Answer:
        """Make one attempt to read a link back (needs the scope `links:read`).

        A link that Incarts doesn't have, or doesn't show to this key, is `refused` with status 404.
        Raises as `post` does.
        """
        return await self._attempt("GET", LINK, link_id, None, None, correlation_id)

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
            ValueError: the key or the id is not 8 to 128 printable ASCII characters.
        """
        return await self._create(LINKS, None, body, idempotency_key, correlation_id)

    async def get_link(self, link_id: str) -> Link:
        """Read a link back (needs the scope `links:read`); raises as `create_link` does."""
        ours, url = new_correlation_id(), LINK.url(self.base_url, link_id)
        reply = await self._call("GET", url, None, None, ours)
        return LINK.parse(reply.content) or _no_id(reply, ours)

    async def create_qr_code(
        self,
        link_id: str,
        body: bytes | Mapping[str, object],
        *,
        idempotency_key: str,
        correlation_id: str | None = None,
    ) -> QrCode:
        """Create one more QR code for a link; raises as `create_link` does."""
        return await self._create(QR_CODES, link_id, body, idempotency_key, correlation_id)

    async def _create(
        self,
        endpoint: Endpoint[Made],
        link_id: str | None,
        body: bytes | Mapping[str, object],
        idempotency_key: str,
        correlation_id: str | None,
    ) -> Made:
        ours = correlation_id or new_correlation_id()
        url = endpoint.url(self.base_url, link_id)
        reply = await self._call("POST", url, _encode(body), idempotency_key, ours)
        return endpoint.parse(reply.content) or _no_id(reply, ours)

    async def _attempt(
        self,
        method: str,
        endpoint: Endpoint[Link | QrCode],
        link_id: str | None,
        body: bytes | None,
        idempotency_key: str | None,
        correlation_id: str,
    ) -> Answer:
        url = endpoint.url(self.base_url, link_id)
        try:
            reply = await self._exchange(method, url, body, idempotency_key, correlation_id)
        except (httpx.RequestError, TimeoutError) as error:
            failure = explain(error)
            return Answer(
                kind=AnswerKind.NOT_SENT if failure.not_sent else AnswerKind.UNKNOWN,
                correlation_id=correlation_id,
                error_code="not_sent" if failure.not_sent else "answer_lost",
                error_message=failure.message,
            )
        return classify(
            reply.status,
            reply.headers,
            reply.body,
            correlation_id=correlation_id,
            now=dt.datetime.now(dt.UTC),
            read=endpoint.parse,
            of_link=endpoint.is_of_link,
        )

    async def _call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        idempotency_key: str | None,
        correlation_id: str,
    ) -> Reply:
        """Return a success; raise the error tree for anything else."""
        try:
            reply = await self._exchange(method, url, body, idempotency_key, correlation_id)
        except (httpx.RequestError, TimeoutError) as error:
            failure = explain(error)
        else:
            if 200 <= reply.status < 300:
                return reply
            raise error_for(reply.problem(correlation_id))
        # Not within `except`: what happened below holds the request, and the request the key.
        if failure.not_sent:
            raise NotSentError(
                f"Incarts can't be reached: {failure.message}.",
                fix="Check the base URL and the network; nothing was sent.",
            )
        raise AnswerLostError(
            f"The answer was lost: {failure.message}.",
            fix="Send the same bytes under the same idempotency key again.",
        )

    async def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        idempotency_key: str | None,
        correlation_id: str,
    ) -> Reply:
        """Send one request and read its answer, within the deadline."""
        headers = [*self._headers, ("x-correlation-id", _header(correlation_id))]
        if body is not None:
            headers.append(("content-type", "application/json"))
        if idempotency_key is not None:
            headers.append(("idempotency-key", _header(idempotency_key)))
        async with asyncio.timeout(self._deadline):
            received = await self._receive(method, url, headers, body)
        told = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in received.headers
        }
        content = unpacked(received.body, told.get("content-encoding"))
        # What an answer says gets into the ledger and reports, so it must not say the key.
        content = content.replace(self._secret, b"[secure]")
        return Reply(status=received.status, headers=told, body=content)

    async def _receive(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes | None
    ) -> Received:
        if isinstance(self._transport, AiohttpTransport):
            # The deadline bounds the answer; one more timer for each piece of it costs too much.
            timeouts = (self._timeouts["connect"], None)
            return await self._transport.exchange(method, url, headers, body, timeouts)
        # As bytes, because httpx looks much longer at text.
        request = httpx.Request(
            method,
            url,
            headers=[(name.encode(), value.encode()) for name, value in headers],
            content=body,
            extensions={"timeout": self._timeouts},
        )
        response = await self._transport.handle_async_request(request)
        content = await read_answer(response)
        return Received(response.status_code, response.headers.raw, content)


def _header(value: str) -> str:
    if not (8 <= len(value) <= 128 and value.isascii() and value.isprintable()):
        raise ValueError(f"{value!r} is not 8 to 128 printable ASCII characters")
    return value


def _encode(body: bytes | Mapping[str, object]) -> bytes:
    if isinstance(body, bytes):
        return body
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _no_id(reply: Reply, ours: str) -> NoReturn:
    problem = replace(reply.problem(ours), message="a success, but without a usable id")
    raise error_for(problem)


def client_of(
    settings: Settings | ClientSettings, *, connections: int | None = None
) -> IncartsClient:
    """Return a client with the settings' key, which keeps up to `connections` open at once.

    Raises:
        SettingsError: the base URL or the key is missing, or can't be used.
    """
    known = settings.for_client() if isinstance(settings, Settings) else settings
    return IncartsClient(
        base_url=known.base_url,
        api_key=known.api_key,
        connect_timeout=known.connect_timeout,
        read_timeout=known.read_timeout,
        max_connections=connections or known.max_in_flight or MOST,
    )


# Seeded by the system, and anew in a forked process; asking the system each time costs more.
_chance = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chance.seed)


def new_correlation_id() -> str:
    """Return a fresh id for one attempt: 40 characters, of the 8 to 128 that are allowed."""
    return f"incarts-{_chance.getrandbits(128):032x}"
