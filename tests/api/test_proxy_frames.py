"""No frame shows a proxy's password: neither ours nor those of the libraries that connect."""

from __future__ import annotations

import asyncio
import base64
import io
import traceback
from collections.abc import Iterator

import httpx
import pytest
from rich.console import Console
from rich.traceback import Traceback

from incarts_pipeline.api.proxy import proxy_for
from incarts_pipeline.api.transport import Transport, make_transport
from incarts_pipeline.errors import SettingsError
from tests.support.raw_server import Connection, library as library, serve

PASSWORD = "hush-Word7"
CODE = base64.b64encode(f"me:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def _library(library: str) -> None:
    """Run each test with aiohttp, and with httpx's own transport."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that stand behind it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def frames_of(error: BaseException) -> str:
    """Return every local variable of every frame, as Python's and Rich's tracebacks show them."""
    console = Console(file=io.StringIO(), width=400)
    told = []
    for one in chain(error):
        found = traceback.TracebackException.from_exception(one, capture_locals=True)
        told += [str(frame.locals) for frame in found.stack if frame.filename != __file__]
        console.print(
            Traceback.from_exception(
                type(one), one, one.__traceback__, show_locals=True, locals_max_string=10_000
            )
        )
    assert isinstance(console.file, io.StringIO)
    return "".join(told) + console.file.getvalue()


def assert_hidden(error: BaseException) -> None:
    """Neither the password nor the header that it goes in are in a frame."""
    told = frames_of(error)
    assert len(told) > 1_000
    assert [one for one in (PASSWORD, CODE) if one in told] == []


async def failure(transport: Transport) -> httpx.TransportError:
    """Return how one request fails."""
    with pytest.raises(httpx.TransportError) as caught:
        await transport.exchange("GET", "https://127.0.0.1:1/v1/links/x", [], None)
    await transport.aclose()
    return caught.value


@pytest.mark.parametrize("status", [407, 502, None])
def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    """A proxy that refuses or hangs up got the right header, which no frame shows."""

    async def refuse(connection: Connection) -> None:
        await connection.read()
        if status is not None:
            await connection.answer(b"", status)

    async def go() -> None:
        async with serve(refuse) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
            assert_hidden(await failure(make_transport("https://127.0.0.1:1", 1)))
        (request,) = proxy.requests
        assert f"proxy-authorization: basic {CODE}".lower().encode() in request.lower()

    asyncio.run(go())


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a connection that is refused."""
    monkeypatch.setenv("HTTPS_PROXY", f"me:{PASSWORD}@127.0.0.1:1")

    async def go() -> None:
        assert_hidden(await failure(make_transport("https://127.0.0.1:1", 1)))

    asyncio.run(go())


@pytest.mark.parametrize(
    ("scheme", "place"),
    [
        ("http", "host:port"),
        ("http", ":1"),
        ("http", "[::1"),
        ("http", "host:99999"),
        ("socks5", "host:8080"),
        ("ftp", "host:port"),
    ],
)
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, scheme: str, place: str) -> None:
    """A URL that can't be a proxy's is refused, and shown nowhere."""
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://me:{PASSWORD}@{place}")
    with pytest.raises(SettingsError) as caught:
        proxy_for("https://api.example.com")
    assert PASSWORD not in str(caught.value)
    assert_hidden(caught.value)


def test_credentials_are_apart_from_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL that libraries are given has none, and the header has them decoded."""
    monkeypatch.setenv("HTTPS_PROXY", "https://us%40er:p%3Aw%20d@proxy.example:3128/x")
    found = proxy_for("https://api.example.com")
    assert found is not None
    assert found.url == "https://proxy.example:3128/x"
    kind, code = found.headers["Proxy-Authorization"].split()
    assert (kind, base64.b64decode(code)) == ("Basic", b"us@er:p:w d")
    assert code not in repr(found) + repr(found.headers)
