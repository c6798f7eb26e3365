"""TLS is always verified, and proxies get a tunnel or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from incarts_pipeline.api.probe import probe
from incarts_pipeline.api.proxy import Proxy, proxy_for
from incarts_pipeline.api.transport import AiohttpTransport, make_transport
from incarts_pipeline.errors import SettingsError
from incarts_pipeline.models import AnswerKind
from tests.support.raw_server import (
    KEY,
    Connection,
    answering,
    client_of,
    library as library,
    make_certificate,
    post,
    serve,
)

pytestmark = pytest.mark.usefixtures("library")


def test_untrusted_certificate_is_not_sent(tmp_path: Path) -> None:
    """A certificate that nobody signed stops the request, and the message says so."""

    async def go() -> None:
        _, tls = make_certificate(tmp_path)
        async with serve(answering, tls) as server, client_of(server, "https") as client:
            answer = await post(client)
            assert answer.kind is AnswerKind.NOT_SENT
            assert "certificate is not trusted" in (answer.error_message or "")
            assert (await probe(client)).code == "tls"
            assert not server.requests

    asyncio.run(go())


def test_certificate_of_another_host_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted certificate for another address stops the request too."""

    async def go() -> None:
        file, tls = make_certificate(tmp_path, "127.0.0.9")
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        async with serve(answering, tls) as server, client_of(server, "https") as client:
            answer = await post(client)
            assert answer.kind is AnswerKind.NOT_SENT
            assert "certificate" in (answer.error_message or "")

    asyncio.run(go())


def test_authorities_of_ones_own_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names the authorities that are trusted."""

    async def go() -> None:
        file, tls = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        async with serve(answering, tls) as server, client_of(server, "https") as client:
            assert (await post(client)).kind is AnswerKind.LINK

    asyncio.run(go())


def test_plain_server_behind_https_is_not_sent() -> None:
    """A host that doesn't speak TLS never sees the request."""

    async def plain(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async def go() -> None:
        async with serve(plain) as server, client_of(server, "https") as client:
            assert (await post(client)).kind is AnswerKind.NOT_SENT

    asyncio.run(go())


def test_https_goes_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY gets a tunnel's request with its own password, and never sees the key."""

    async def tunnel(connection: Connection) -> None:
        request = await connection.read()
        port = int(request.split(b" ")[1].rpartition(b":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    assert KEY.encode() not in data
                    sink.write(data)
                    await sink.drain()

        try:
            await asyncio.gather(pump(connection.reader, writer), pump(reader, connection.writer))
        finally:
            writer.close()

    async def go() -> None:
        file, tls = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        async with serve(answering, tls) as server, serve(tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:hush@127.0.0.1:{proxy.port}")
            async with client_of(server, "https") as client:
                assert (await post(client)).kind is AnswerKind.LINK
            assert b"proxy-authorization: basic bwu6ahvzaa==" in proxy.requests[0].lower()

    asyncio.run(go())


def test_proxy_that_refuses_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that wants a password sent nothing on; its own stays out of the message."""

    async def refuse(connection: Connection) -> None:
        await connection.read()
        await connection.answer(b"", 407)

    async def go() -> None:
        async with serve(refuse) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:hush@127.0.0.1:{proxy.port}")
            async with client_of(proxy, "https") as client:
                answer = await post(client)
                found = await probe(client)
        assert answer.kind is AnswerKind.NOT_SENT
        assert "hush" not in f"{answer}{found}"
        assert found.code == "proxy"

    asyncio.run(go())


def test_plain_http_takes_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key never goes to a proxy in clear."""

    async def go() -> None:
        async with serve(answering) as server, serve(answering) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
            async with client_of(server) as client:
                assert (await post(client)).kind is AnswerKind.LINK
            assert not proxy.requests

    asyncio.run(go())


def test_proxy_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY beats ALL_PROXY, NO_PROXY goes around both, and SOCKS is refused."""
    url = "https://api.example.com"
    assert proxy_for(url) is None
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert proxy_for(url) == Proxy(url="http://all:1", headers={})
    monkeypatch.setenv("HTTPS_PROXY", "https:2")
    assert proxy_for(url) == Proxy(url="http://https:2", headers={})
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert proxy_for(url) is None
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hush@host:1")
    with pytest.raises(SettingsError, match="socks5") as caught:
        proxy_for(url)
    assert "hush" not in str(caught.value)


def test_aiohttp_is_used_where_it_is_installed() -> None:
    """Without aiohttp the client falls back to httpx's own transport."""
    transport = make_transport("http://127.0.0.1", 1)
    assert isinstance(transport, AiohttpTransport) == (sys.modules.get("aiohttp", ...) is not None)
    asyncio.run(transport.aclose())
