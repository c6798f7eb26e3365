"""CPU per request of the ways to send httpx requests, against a fast server in another process.

    python benchmarks/transports.py --requests 4000

All send the same POST and read the whole answer, at several numbers of requests in flight; they
take turns, and the median over the turns is shown: CPU of this process per request, and requests
a second. `IncartsClient` is the library itself, with its check of every answer. Those that aren't
installed are left out: `pip install httpx2 httpx-aiohttp pyreqwest httptools` brings them all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import itertools
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from incarts_pipeline.api.client import IncartsClient
from incarts_pipeline.api.transport import make_transport
from incarts_pipeline.models import AnswerKind

BODY = b'{"intent":"add_to_cart","name":"Benchmark","projectId":"demo","retailer":"walmart"}'
HEADERS = [
    (b"accept", b"application/json"),
    (b"content-type", b"application/json"),
    (b"idempotency-key", b"incarts1-0123456789012345678901234567890123456789"),
    (b"x-incarts-api-key", b"ic_live_benchmark"),
]
SERVER = Path(__file__).with_name("fast_server.py")

Send = Callable[[], Awaitable[None]]


class Lanes(httpx.AsyncBaseTransport):
    """httpx's own transport, one connection each, handed out from a list of free ones."""

    def __init__(self, size: int) -> None:
        context = ssl.create_default_context()
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._all = [httpx.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(size)]
        self._free = list(self._all)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send on a free lane; the lane is taken back when the answer is read."""
        lane = self._free.pop()
        try:
            response = await lane.handle_async_request(request)
            await response.aread()
            await response.aclose()
            return response
        finally:
            self._free.append(lane)

    async def aclose(self) -> None:
        """Close every lane."""
        for lane in self._all:
            await lane.aclose()


class _Wire(asyncio.Protocol):
    """One connection with llhttp's parser and nothing else."""

    def __init__(self, parser: Callable[[Any], Any]) -> None:
        self._make_parser = parser
        self.status = 0
        self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._parser = self._make_parser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(exc or ConnectionResetError())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._parser = self._make_parser(self)
        if self.answered is not None:
            self.answered.set_result(None)


class Bare(httpx.AsyncBaseTransport):
    """What asyncio can do at best: no timeouts, limits or TLS, so nobody could use it."""

    def __init__(self) -> None:
        from httptools import HttpResponseParser

        self._parser = HttpResponseParser
        self._free: list[_Wire] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send on a free connection, or on a new one."""
        loop = asyncio.get_running_loop()
        wire = self._free.pop() if self._free else None
        if wire is None:
            _, wire = await loop.create_connection(
                lambda: _Wire(self._parser), request.url.host, request.url.port
            )
        wire.answered, wire.headers, wire.body = loop.create_future(), [], b""
        lines = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
        wire.transport.write(  # type: ignore[attr-defined]
            b"POST %b HTTP/1.1\r\n%b\r\n%b" % (request.url.raw_path, lines, request.content)
        )
        await wire.answered
        self._free.append(wire)
        return httpx.Response(wire.status, headers=wire.headers, content=wire.body)

    async def aclose(self) -> None:
        """Close the connections."""
        for wire in self._free:
            wire.transport.close()  # type: ignore[attr-defined]


def through(transport: Any, url: str, module: Any = httpx) -> Send:
    """Send by calling a transport of httpx, or of what has its interface, with no client."""
    target = module.URL(url)
    timeout = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 5.0}

    async def send() -> None:
        request = module.Request(
            "POST", target, headers=HEADERS, content=BODY, extensions={"timeout": timeout}
        )
        response = await transport.handle_async_request(request)
        await response.aread()
        await response.aclose()
        assert response.status_code == 201

    return send


@contextlib.asynccontextmanager
async def sending(name: str, url: str, in_flight: int) -> Any:
    """Open one of the ways to send; yields the function that sends one request."""
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    links = f"{url}/v1/links"
    if name == "IncartsClient":
        key = SecretStr("ic_live_benchmark")
        async with IncartsClient(base_url=url, api_key=key, max_connections=in_flight) as ours:
            numbers = itertools.count()

            async def post() -> None:
                number = f"benchmark-{next(numbers)}"
                answer = await ours.post_link(BODY, idempotency_key=number, correlation_id=number)
                assert answer.kind is AnswerKind.LINK

            yield post
    elif name == "httpx.AsyncClient":
        async with httpx.AsyncClient(limits=limits) as client:

            async def send() -> None:
                await client.post(links, content=BODY, headers=HEADERS)

            yield send
    elif name == "ours":
        transport = make_transport(url, in_flight)
        headers = [(name.decode(), value.decode()) for name, value in HEADERS]

        async def exchange() -> None:
            received = await transport.exchange("POST", links, headers, BODY)
            assert received.status == 201
            await received.let_go(True)

        yield exchange
        await transport.aclose()
    else:
        transport = TRANSPORTS[name](in_flight, limits)
        async with transport:
            yield through(transport, links, sys.modules[name] if name == "httpx2" else httpx)


def _httpx2(in_flight: int, _: httpx.Limits) -> Any:
    import httpx2

    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    return httpx2.AsyncHTTPTransport(limits=limits)


def _httpx_aiohttp(_: int, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    from httpx_aiohttp import AiohttpTransport

    return AiohttpTransport(limits=limits)


def _pyreqwest(*_: object) -> httpx.AsyncBaseTransport:
    from pyreqwest.compatibility.httpx import HttpxTransport

    return HttpxTransport()


TRANSPORTS: dict[str, Callable[[int, httpx.Limits], Any]] = {
    "httpx transport": lambda _, limits: httpx.AsyncHTTPTransport(limits=limits),
    "httpx2": _httpx2,
    "lanes": lambda in_flight, _: Lanes(in_flight),
    "httpx_aiohttp": _httpx_aiohttp,
    "pyreqwest": _pyreqwest,
    "bare httptools": lambda *_: Bare(),
}
NEEDS = {
    "httpx2": "httpx2",
    "httpx_aiohttp": "httpx_aiohttp",
    "pyreqwest": "pyreqwest",
    "bare httptools": "httptools",
}


async def measure(name: str, url: str, in_flight: int, requests: int) -> tuple[float, float]:
    """Return the CPU seconds per request and the requests a second of one turn."""
    async with sending(name, url, in_flight) as send:
        await asyncio.gather(*(send() for _ in range(in_flight)))  # opens the connections
        todo = iter(range(requests))

        async def work() -> None:
            for _ in todo:
                await send()

        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / requests, requests / wall


@contextlib.contextmanager
def fast_server() -> Iterator[str]:
    """Run the server in a process of its own; yields its base URL."""
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--quick", action="store_true", help="one short turn")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.requests, arguments.turns, arguments.in_flight = 300, 1, [1, 32]
    return arguments


def main() -> None:
    """Measure all in turns and print a line for each."""
    arguments = _arguments()
    names = ["httpx.AsyncClient", *TRANSPORTS, "ours", "IncartsClient"]
    names = [n for n in names if n not in NEEDS or importlib.util.find_spec(NEEDS[n])]
    figures: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with fast_server() as url:
        for _ in range(arguments.turns):
            for in_flight, name in itertools.product(arguments.in_flight, names):
                figure = asyncio.run(measure(name, url, in_flight, arguments.requests))
                figures.setdefault((name, in_flight), []).append(figure)
    print("CPU milliseconds per request (requests a second), by requests in flight")
    print("".join([f"{'':18}", *(f"{n:>18}" for n in arguments.in_flight)]))
    for name in names:
        line = f"{name:18}"
        for in_flight in arguments.in_flight:
            cpu, rate = (statistics.median(x) for x in zip(*figures[name, in_flight], strict=True))
            line += f"{cpu * 1e3:9.3f} ({rate:6.0f})"
        print(line)


if __name__ == "__main__":
    main()
