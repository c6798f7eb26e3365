"""What failures on the way mean, over real sockets, with aiohttp and with httpx's own transport."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
from functools import partial

import pytest
from pydantic import SecretStr
from rich.console import Console
from rich.traceback import Traceback

from incarts_pipeline.api.client import IncartsClient
from incarts_pipeline.api.endpoints import LINKS
from incarts_pipeline.api.probe import probe
from incarts_pipeline.api.transport import MAX_BODY, unpacked
from incarts_pipeline.errors import AnswerLostError, NotSentError
from incarts_pipeline.models import AnswerKind
from tests.support.raw_server import (
    KEY,
    LINK,
    Connection,
    answering,
    client_of,
    library as library,
    post,
    serve,
    stalling,
)

pytestmark = pytest.mark.usefixtures("library")


# What connecting left over of its time is the answer's, so both are short.
impatient = partial(client_of, connect_timeout=0.3, read_timeout=0.05)


def test_link_is_made_with_exactly_the_bytes_and_the_key() -> None:
    """One request leaves with the body, both ids and the real key, and nothing added to it."""

    async def go() -> None:
        async with serve(answering) as server, client_of(server) as client:
            answer = await post(client)
        assert answer.kind is AnswerKind.LINK
        (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        lines = {line.lower() for line in head.split(b"\r\n")[1:]}
        assert body == b'{"n":1}'
        assert head.startswith(b"POST /v1/links HTTP/1.1\r\n")
        assert lines - {b"connection: keep-alive"} == {
            b"host: 127.0.0.1:%d" % server.port,
            b"accept: application/json",
            b"accept-encoding: identity",
            b"user-agent: incarts-pipeline",
            b"x-incarts-api-key: " + KEY.encode(),
            b"x-correlation-id: incarts-test",
            b"content-type: application/json",
            b"idempotency-key: incarts1-0001",
            b"content-length: 7",
        }

    asyncio.run(go())


async def _hang_up(connection: Connection) -> None:
    await connection.read()


async def _reset(connection: Connection) -> None:
    await connection.read()
    connection.reset()


async def _half_head(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 201 Created\r\ncontent-le")


async def _half_body(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n" + LINK)


async def _half_chunk(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{")


async def _cut_without_length(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 201 Created\r\nconnection: close\r\n\r\n" + LINK[:-5])


async def _not_http(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"SSH-2.0-OpenSSH_9.9\r\n")


@pytest.mark.parametrize(
    "script",
    [_hang_up, _reset, _half_head, _half_body, _half_chunk, _cut_without_length, _not_http],
)
def test_answer_that_breaks_off_is_unknown_and_sent_once(script: object) -> None:
    """A server that read the request may have made the link; it sees exactly one request."""

    async def go() -> None:
        async with serve(script) as server, client_of(server) as client:  # type: ignore[arg-type]
            answer = await post(client)
            assert answer.kind is AnswerKind.UNKNOWN
            assert answer.error_message or answer.status == 201
            assert len(server.requests) == 1

    asyncio.run(go())


def test_kept_connection_that_closes_on_the_next_request_is_unknown() -> None:
    """A kept-alive connection that breaks after the second request does not send it again."""

    async def once(connection: Connection) -> None:
        await connection.read()
        await connection.answer()
        await connection.read()

    async def go() -> None:
        async with serve(once) as server, client_of(server) as client:
            assert (await post(client, 1)).kind is AnswerKind.LINK
            assert (await post(client, 2)).kind is AnswerKind.UNKNOWN
            assert len(server.requests) == 2
            assert server.connections == 1

    asyncio.run(go())


@pytest.mark.parametrize("noticed", [True, False])
def test_kept_connection_that_closed_while_idle_never_sends_twice(noticed: bool) -> None:
    """A connection closed while idle gives a link over a new one, or a doubt, never two sends."""
    closed = asyncio.Event()

    async def once(connection: Connection) -> None:
        await connection.read()
        await connection.answer()
        if connection.server.connections == 1:
            connection.reset()
            closed.set()

    async def go() -> None:
        async with serve(once) as server, client_of(server) as client:
            assert (await post(client, 1)).kind is AnswerKind.LINK
            await closed.wait()
            for _ in range(5 * noticed):  # rounds of the loop, which see the connection go
                await asyncio.sleep(0)
            answer = await post(client, 2)
            made = [request for request in server.requests if b"incarts1-0002" in request]
            if noticed:
                assert answer.kind is AnswerKind.LINK
            assert answer.kind in (AnswerKind.LINK, AnswerKind.UNKNOWN)
            assert len(made) == (answer.kind is AnswerKind.LINK)

    asyncio.run(go())


def test_refused_connection_is_not_sent() -> None:
    """A port where nobody listens provably got nothing."""

    async def go() -> None:
        async with serve(answering) as server:
            pass
        async with client_of(server) as client:
            answer = await post(client)
            assert answer.kind is AnswerKind.NOT_SENT
            assert answer.error_code == "not_sent"
            assert "connecting failed" in (answer.error_message or "")
            assert "[" not in (answer.error_message or "")
            with pytest.raises(NotSentError, match="nothing was sent"):
                await client.create_link({}, idempotency_key="incarts1-1")
            assert (await probe(client)).code == "connect"

    asyncio.run(go())


def test_unknown_host_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that can't be resolved provably sent nothing, and the probe blames the name."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def go() -> None:
        async with IncartsClient(
            base_url="https://api.nowhere.invalid", api_key=SecretStr(KEY)
        ) as client:
            answer = await post(client)
            assert answer.kind is AnswerKind.NOT_SENT
            assert "can't be resolved" in (answer.error_message or "")
            assert (await probe(client)).code == "dns"

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    asyncio.run(go())


def test_stalled_answer_is_unknown() -> None:
    """A server that says nothing in time may have made the link."""

    async def go() -> None:
        async with serve(stalling) as server, impatient(server) as client:
            answer = await post(client)
            assert (answer.kind, answer.error_message) == (AnswerKind.UNKNOWN, "no answer in time")
            with pytest.raises(AnswerLostError, match="same idempotency key"):
                await client.create_link({}, idempotency_key="incarts1-1")

    asyncio.run(go())


def test_dripping_answer_ends_at_the_deadline() -> None:
    """A server that sends a byte now and then can't hold an attempt for ever."""

    async def drip(connection: Connection) -> None:
        await connection.read()
        await connection.write(b"HTTP/1.1 201 Created\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await connection.write(b" ")
            await asyncio.sleep(0.01)

    async def go() -> None:
        async with (
            serve(drip) as server,
            client_of(server, connect_timeout=0.1, read_timeout=0.1) as client,
        ):
            assert (await post(client)).kind is AnswerKind.UNKNOWN

    asyncio.run(go())


def test_waiting_for_a_connection_is_not_sent() -> None:
    """A request that got no connection in time provably never left."""

    async def go() -> None:
        async with (
            serve(stalling) as server,
            client_of(server, connect_timeout=0.05, max_connections=1) as client,
        ):
            first = asyncio.create_task(post(client, 1))
            await server.arrived.wait()
            assert (await post(client, 2)).kind is AnswerKind.NOT_SENT
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert len(server.requests) == 1

    asyncio.run(go())


def test_too_large_an_answer_is_unknown() -> None:
    """An answer beyond the cap is not read to its end."""

    async def flood(connection: Connection) -> None:
        await connection.read()
        await connection.write(b"HTTP/1.1 201 Created\r\nconnection: close\r\n\r\n")
        while True:
            await connection.write(b" " * 65_536)

    async def go() -> None:
        async with serve(flood) as server, client_of(server) as client:
            answer = await post(client)
            assert answer.kind is AnswerKind.UNKNOWN
            assert "too large" in (answer.error_message or "")

    asyncio.run(go())


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_compressed_answer_is_unpacked_where_it_can_be(encoding: str) -> None:
    """A gzip answer that nobody asked for still gives its link; an unknown encoding is a doubt."""

    async def packed(connection: Connection) -> None:
        await connection.read()
        body = gzip.compress(LINK)
        head = f"HTTP/1.1 201 X\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(body)}"
        await connection.write(head.encode() + b"\r\n\r\n" + body)

    async def go() -> None:
        async with serve(packed) as server, client_of(server) as client:
            answer = await post(client)
            made = encoding == "gzip"
            assert answer.kind is (AnswerKind.LINK if made else AnswerKind.UNKNOWN)

    asyncio.run(go())


def test_broken_compression_is_returned_as_it_came() -> None:
    """What can't be unpacked is no JSON either, so it becomes a doubt."""
    assert unpacked(b"not gzip", "gzip") == b"not gzip"


def test_compressed_answer_stays_within_the_cap() -> None:
    """A small answer that unpacks to much more is cut at the cap."""
    body = gzip.compress(b" " * (MAX_BODY * 20))
    assert len(unpacked(body, "gzip")) == MAX_BODY


def _rendered(error: BaseException) -> str:
    console = Console(file=io.StringIO(), width=200)
    trace = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000
    )
    console.print(trace)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_key_is_in_no_traceback() -> None:
    """Neither a lost answer nor a cancelled attempt shows the key, local variables included."""

    async def go() -> None:
        async with serve(stalling) as server, impatient(server) as client:
            with pytest.raises(AnswerLostError) as lost:
                await client.create_link({}, idempotency_key="incarts1-1")
        assert lost.value.__cause__ is lost.value.__context__ is None
        async with serve(stalling) as server, client_of(server) as client:
            task = asyncio.create_task(post(client))
            await server.arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
        for error in (lost.value, cancelled.value):
            text = _rendered(error)
            assert "idempotency_key" in text
            assert KEY not in text

    asyncio.run(go())


def test_connection_with_bytes_waiting_is_not_sent_on() -> None:
    """What comes after an answer is not the next request's: that one gets another connection."""

    async def talkative(connection: Connection) -> None:
        while True:
            await connection.read()
            await connection.answer()
            await asyncio.sleep(0.005)
            await connection.answer(b'{"data":{"id":"lnk_late"}}')

    async def go() -> None:
        async with serve(talkative) as server, client_of(server) as client:
            for number in range(3):
                answer = await post(client, number)
                assert answer.made is not None
                assert answer.made.id == "lnk_01"
                await asyncio.sleep(0.02)
        assert server.connections == 3

    asyncio.run(go())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 504 X\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 201 X\r\nx-correlation-id: incarts-other\r\ncontent-length: %d\r\n\r\n%b"
        % (len(LINK), LINK),
        b"HTTP/1.1 429 X\r\ncontent-length: 6\r\n\r\n<html>",
    ],
)
def test_connection_that_may_be_out_of_step_is_closed(answer: bytes) -> None:
    """An answer that leaves doubt may be followed by the right one: nothing else is sent there."""

    async def late(connection: Connection) -> None:
        await connection.read()
        await connection.write(answer)
        await asyncio.sleep(0.05)
        await connection.answer()
        await connection.read()

    async def go() -> None:
        async with serve(late) as server, client_of(server) as client:
            assert (await post(client)).made is None
            assert (await post(client)).made is None
            assert server.connections == 2

    asyncio.run(go())


def test_connection_out_of_step_is_never_another_requests() -> None:
    """Who waits for a connection gets a new one, not the one that is about to be closed."""

    async def failing_once(connection: Connection) -> None:
        await connection.read()
        await connection.answer(status=504 if connection.server.connections == 1 else 201)
        await connection.read()

    async def go() -> None:
        async with serve(failing_once) as server, client_of(server, max_connections=1) as client:
            answers = await asyncio.gather(post(client, 1), post(client, 2))
            assert [answer.status for answer in answers] == [504, 201]
            assert (server.connections, len(server.requests)) == (2, 2)

    asyncio.run(go())


def test_what_was_in_doubt_goes_over_a_connection_of_its_own() -> None:
    """Nothing was sent there before, and nothing is after it."""

    async def go() -> None:
        async with serve(answering) as server, client_of(server) as client:
            for number, in_doubt in enumerate([False, True, True, False]):
                answer = await client.post(
                    LINKS,
                    b"{}",
                    idempotency_key=f"incarts1-{number:04}",
                    correlation_id=f"incarts-{number:04}",
                    in_doubt=in_doubt,
                )
                assert answer.kind is AnswerKind.LINK
            assert server.connections == 3

    asyncio.run(go())


def test_connections_are_shared_until_an_answer_is_anothers() -> None:
    """From then on nothing is sent where something else was."""

    async def foreign_on_the_third(connection: Connection) -> None:
        for number in range(4):
            await connection.read()
            echo = b"incarts-other" if number == 2 else b"incarts-test"
            head = b"HTTP/1.1 201 X\r\ncontent-length: %d\r\nx-correlation-id: %b\r\n\r\n"
            await connection.write(head % (len(LINK), echo) + LINK)

    async def go() -> None:
        async with serve(foreign_on_the_third) as server, client_of(server) as client:
            answers = [await post(client, number) for number in range(6)]
            assert [answer.made is not None for answer in answers] == [True] * 2 + [False] + [
                True
            ] * 3
            assert server.connections == 4

    asyncio.run(go())


def test_server_that_speaks_first_is_never_sent_to() -> None:
    """A greeting on a fresh connection is no HTTP; what is meant for an API doesn't go there."""

    async def greeting(connection: Connection) -> None:
        await connection.write(b"220 mail.example ESMTP\r\n")
        await connection.read()

    async def go() -> None:
        async with serve(greeting) as server, client_of(server) as client:
            assert (await post(client)).made is None

    asyncio.run(go())
