"""A local server that answers 201 with a link to every POST, as fast as one process can.

    python benchmarks/fast_server.py [LATENCY]

prints its base URL and serves until it is stopped. It parses no more than it must, so that a
client, not this server, is what a benchmark measures. An answer comes after LATENCY seconds, 0
unless given.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import sys

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_NUMBERS = itertools.count(1)
_LATENCY = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0


def _answer() -> bytes:
    number = next(_NUMBERS)
    body = (
        b'{"data":{"id":"lnk_%026d","status":"active","shortLink":"https://in2carts.com/%d",'
        b'"shortId":"%d","targetUrl":"https://www.walmart.com/sc/cart/addToCart?items=1_1",'
        b'"createdAt":"2026-01-01T00:00:00Z"}}' % (number, number, number)
    )
    return (
        b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (
            len(body),
            body,
        )
    )


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self._data, 0, end)
            length = int(found.group(1)) if found else 0
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            if _LATENCY:
                loop = asyncio.get_running_loop()
                loop.call_later(_LATENCY, self._transport.write, _answer())
            else:
                self._transport.write(_answer())


async def main() -> None:
    """Serve on a port that the system chooses."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
