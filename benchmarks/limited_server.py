"""A local server behind a limit, as `rate_real.py` uses it: a link for what passes, else a 429.

The limits and hints are the simulator's, but clock, sockets and senders are real. It serves in a
thread of this process, and remembers when each POST came and what it got.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from incarts_pipeline.rate_limit.signals import Hints
from tests.support.rates.limiters import InFlight, Limiter
from tests.support.rates.simulator import Hint

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_REASONS = {201: "Created", 429: "Too Many Requests", 500: "Internal Server Error"}


class Seen(NamedTuple):
    """A POST: when it came, in seconds of the monotonic clock, and the status that it got."""

    at: float
    status: int


@dataclass(slots=True)
class LimitedServer:
    """Serves on a loopback port while it is entered; a share of `failing` gets a 500, uncounted."""

    limiter: Limiter
    hint: Hint
    failing: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    base_url: str = ""
    api_key: str = "ic_benchmark_key"
    project_id: str = "demo"
    _dice: random.Random = field(default_factory=lambda: random.Random(1))
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to serve."""
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        )
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join()

    def answer(self, transport: asyncio.Transport) -> None:
        """Answer a request that came now, at once or when its work is done."""
        now = time.monotonic()
        hints = Hints()
        if self._dice.random() < self.failing:
            status = 500
        else:
            accepted = self.limiter.take(now)
            hints, status = self.hint(now, accepted), 201 if accepted else 429
        self.seen.append(Seen(now, status))
        works = 0.0
        if status == 201 and isinstance(self.limiter, InFlight):
            works = self._dice.uniform(0.5, 1.5) * self.limiter.seconds
        said = _http(status, hints, next(self._numbers))
        if works:
            self._loop.call_later(works, self._end, transport, said)
        else:
            transport.write(said)

    def _end(self, transport: asyncio.Transport, said: bytes) -> None:
        self.limiter.leave()
        transport.write(said)


class _Connection(asyncio.Protocol):
    def __init__(self, server: LimitedServer) -> None:
        self._server, self._data = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._data, 0, end)
            whole = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._data) < whole:
                return
            self._data = self._data[whole:]
            self._server.answer(self._transport)


def _http(status: int, hints: Hints, number: int) -> bytes:
    link = {
        "id": f"lnk_{number:026d}",
        "status": "active",
        "shortLink": f"https://in2carts.com/{number}",
        "shortId": f"{number}",
        "targetUrl": "https://www.walmart.com/sc/cart/addToCart?items=1_1",
        "createdAt": "2026-01-01T00:00:00Z",
    }
    error = {"code": "RATE_LIMITED" if status == 429 else "INTERNAL", "message": _REASONS[status]}
    body = json.dumps({"data": link} if status == 201 else {"error": error})
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *_headers(hints),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _headers(hints: Hints) -> list[str]:
    found = [] if hints.retry_after is None else [f"retry-after: {hints.retry_after:.0f}"]
    for one in hints.policies:
        told = {"limit": one.limit, "remaining": one.remaining, "reset": one.reset}
        found += [f"ratelimit-{name}: {value:.0f}" for name, value in told.items() if value]
    return found
