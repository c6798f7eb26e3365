"""Client: one attempt at a request to the Incarts API, and what came of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import TracebackType
from typing import NoReturn, cast

import httpx
from pydantic import SecretStr

from incarts_pipeline.api.attribution import (
    Foreign,
    Request,
    attribute,
    is_in_step,
)
from incarts_pipeline.api.endpoints import LINK, LINKS, QR_CODES, Endpoint, Made
from incarts_pipeline.api.exposure import refuse_plain_secret, refuse_secrets, reply_of
from incarts_pipeline.api.responses import Reply, classify, error_for
from incarts_pipeline.api.transport import HttpxTransport, Transport, explain, make_transport
from incarts_pipeline.errors import AnswerLostError, NotSentError, RefusedError, SettingsError
from incarts_pipeline.models import Answer, AnswerKind, Link, QrCode
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.settings import (
    MOST,
    ClientSettings,
    Settings,
    checked_base_url,
    checked_key,
)

logger = logger_of(__name__)

_FOREIGN = frozenset(Foreign)
_AGAIN = "Send the same bytes under the same idempotency key again."


class IncartsClient:
    """Talks to one Incarts host with one API key; use as an asynchronous context manager.

    No redirect is followed, TLS is always verified, and no request is ever repeated here. A proxy
    and authorities of one's own are taken from the environment, see `make_transport`. Connections
    are kept for the next requests until an answer is another request's: then any of them may hold
    one more, and each request has a connection of its own.

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
        try:
            secret = checked_key(api_key).get_secret_value()
        except ValueError as error:
            raise SettingsError(
                f"The key can't be used: {error}.", fix="Set INCARTS_API_KEY to the key alone."
            ) from None
        self._secret = secret.encode()
        self._transport: Transport
        if transport is None:
            self._transport = make_transport(
                self.base_url,
                max_connections,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
            )
        else:
            self._transport = HttpxTransport(transport, transport, connect_timeout, read_timeout)
        # Encoded answers are not asked for: the real ones are small, and a small one that unpacks
        # to gigabytes is no answer.
        self._headers = [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("user-agent", "incarts-pipeline"),
            ("x-incarts-api-key", secret),
        ]
        self._deadline = connect_timeout + read_timeout
        self._noted_spelling = False
        self._shares_connections = True

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

    def prepare(self) -> None:
        """Load what requests need, lest it count to the time that the first of them takes."""
        self._transport.prepare()

    async def post(
        self,
        endpoint: Endpoint[Link | QrCode],
        body: bytes,
        *,
        link_id: str | None = None,
        idempotency_key: str,
        correlation_id: str,
        earlier: Collection[str] = (),
        in_doubt: bool = False,
    ) -> Answer:
        """Make one attempt to create something with exactly these bytes; return what came of it.

        Neither an error answer nor a failing network raises. When the task is cancelled meanwhile,
        the request may have arrived. An answer that isn't this request's is none, see
        `attribution`.

        Args:
            endpoint: `LINKS` or `QR_CODES`.
            body: JSON.
            link_id: whose QR code it is to be, where the endpoint's path names a link.
            idempotency_key: the same for every attempt at the same thing.
            correlation_id: another one for each attempt.
            earlier: those of earlier attempts at the same thing, whose answers may come late.
            in_doubt: whether one of those may have had an effect; then a connection is opened for
                this one alone.

        Raises:
            ValueError: the key or the correlation id is not 8 to 128 printable ASCII characters, or
                the link's id has not 3 to 128.
        """
        request = Request(
            correlation_id=correlation_id,
            body=body,
            link_id=link_id,
            earlier=earlier,
            in_doubt=in_doubt,
        )
        return await self._attempt("POST", endpoint, request, idempotency_key)

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
        request = Request(correlation_id=correlation_id, link_id=link_id)
        return await self._attempt("GET", LINK, request, None)

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
            RefusedError: the request has an API key in it, beside the header that is for it.
            ValueError: the key or the id is not 8 to 128 printable ASCII characters.
        """
        return await self._create(LINKS, None, body, idempotency_key, correlation_id)

    async def get_link(self, link_id: str) -> Link:
        """Read a link back (needs the scope `links:read`); raises as `create_link` does."""
        request = Request(correlation_id=new_correlation_id(), link_id=link_id)
        return await self._call("GET", LINK, request, None)

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
        request = Request(
            correlation_id=correlation_id or new_correlation_id(),
            body=_encode(body),
            link_id=link_id,
        )
        return await self._call("POST", endpoint, request, idempotency_key)

    async def _attempt(
        self,
        method: str,
        endpoint: Endpoint[Link | QrCode],
        request: Request,
        idempotency_key: str | None,
    ) -> Answer:
        try:
            _, answer = await self._exchange(method, endpoint, request, idempotency_key)
        except RefusedError as error:
            return Answer(
                kind=AnswerKind.NOT_SENT,
                correlation_id=request.correlation_id,
                error_code=error.guard,
                error_message=error.message,
            )
        except (httpx.RequestError, TimeoutError) as error:
            failure = explain(error)
            return Answer(
                kind=AnswerKind.NOT_SENT if failure.not_sent else AnswerKind.UNKNOWN,
                correlation_id=request.correlation_id,
                error_code="not_sent" if failure.not_sent else "answer_lost",
                error_message=failure.message,
            )
        return answer

    async def _call(
        self, method: str, endpoint: Endpoint[Made], request: Request, idempotency_key: str | None
    ) -> Made:
        """Return what a success brought; raise the error tree for anything else."""
        refuse_secrets(request, idempotency_key)
        try:
            reply, answer = await self._exchange(method, endpoint, request, idempotency_key)
        except (httpx.RequestError, TimeoutError) as error:
            failure = explain(error)
        else:
            if answer.error_code in _FOREIGN:
                raise AnswerLostError(f"The answer was lost: {answer.error_message}.", fix=_AGAIN)
            return cast(Made, answer.made) or _no_link(reply, request.correlation_id)
        # Not within `except`: what happened below holds the request, and the request the key.
        if failure.not_sent:
            raise NotSentError(
                f"Incarts can't be reached: {failure.message}.",
                fix="Check the base URL and the network; nothing was sent.",
            )
        raise AnswerLostError(f"The answer was lost: {failure.message}.", fix=_AGAIN)

    async def _exchange(
        self,
        method: str,
        endpoint: Endpoint[Link | QrCode],
        request: Request,
        idempotency_key: str | None,
    ) -> tuple[Reply, Answer]:
        """Send one request, and say whose its answer is and what it means, within the deadline."""
        if request.body is not None:
            refuse_plain_secret(request.body, self._secret)
        url = endpoint.url(self.base_url, request.link_id)
        headers = [*self._headers, ("x-correlation-id", _header(request.correlation_id))]
        if request.body is not None:
            headers.append(("content-type", "application/json"))
        if idempotency_key is not None:
            headers.append(("idempotency-key", _header(idempotency_key)))
        async with asyncio.timeout(self._deadline):
            received = await self._transport.exchange(
                method,
                url,
                headers,
                request.body,
                fresh=request.in_doubt or not self._shares_connections,
            )
            in_step = False
            try:
                reply = reply_of(received, request.correlation_id)
                answer = attribute(
                    classify(
                        reply.status,
                        reply.headers,
                        reply.body,
                        correlation_id=request.correlation_id,
                        now=dt.datetime.now(dt.UTC),
                        read=endpoint.parse,
                        of_link=endpoint.is_of_link,
                    ),
                    request,
                )
                in_step = is_in_step(answer)
            finally:
                await received.let_go(in_step)
        self._note_oddities(answer)
        return reply, answer

    def _note_oddities(self, answer: Answer) -> None:
        whose = {"correlation_id": answer.correlation_id}
        if answer.is_renamed and answer.made and not self._noted_spelling:
            self._noted_spelling = True
            made = answer.made
            text = "Incarts spells names in its own way, as in %s: %r"
            logger.warning(text, made.id, made.name, extra=whose)
        if answer.error_code in _FOREIGN and self._shares_connections:
            # Every connection that is kept may hold one more.
            self._shares_connections = False
            text = "Each request has its own connection now: %s"
            logger.warning(text, answer.error_message, extra=whose)


def _header(value: str) -> str:
    if not (8 <= len(value) <= 128 and value.isascii() and value.isprintable()):
        raise ValueError(f"{value!r} is not 8 to 128 printable ASCII characters")
    return value


def _encode(body: bytes | Mapping[str, object]) -> bytes:
    if isinstance(body, bytes):
        return body
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _no_link(reply: Reply, ours: str) -> NoReturn:
    problem = reply.problem(ours)
    if 200 <= reply.status < 300:
        problem = replace(problem, message="a success, but without a usable id")
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
