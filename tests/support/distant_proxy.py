"""A network of some length before PostgreSQL, which counts the round trips.

    python -m tests.support.distant_proxy PORT MILLISECONDS

prints the port on which it forwards to PORT of this machine, until it is ended. A round trip ends
with a message ReadyForQuery of the server, however many statements went along.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_READY = ord("Z")
_HEAD = 5  # bytes: a message's type and length


@dataclass(slots=True)
class DistantProxy:
    """Forwards to a port of this machine; each way takes half of `seconds`.

    Connections must ask for no encryption, or the messages can't be told apart.
    """

    target: int
    seconds: float
    port: int = 0
    trips: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self) -> asyncio.Server:
        """Begin to take connections."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connected(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {to_client, to_server}
        await asyncio.gather(
            self._forward(from_client, to_server, counts=False),
            self._forward(from_server, to_client, counts=True),
        )
        self._writers -= {to_client, to_server}

    async def _forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counts: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        due = 0.0
        messages = _Messages()
        try:
            while data := await source.read(65_536):
                if counts:
                    self.trips += messages.ready_in(data)
                due = max(due + 1e-9, loop.time() + self.seconds / 2)  # in their order
                loop.call_at(due, target.write, data)
        except ConnectionError:
            pass
        loop.call_at(max(due + 1e-9, loop.time()), target.close)

    def close(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.close()


@dataclass(slots=True)
class _Messages:
    """The messages of a stream, however they are cut."""

    _left: int = 0  # bytes of the message that is being read
    _head: bytes = b""

    def ready_in(self, data: bytes) -> int:
        """Return how many messages ReadyForQuery end in some bytes, or begin and surely end."""
        ready = at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            more = data[at : at + _HEAD - len(self._head)]
            self._head += more
            at += len(more)
            if len(self._head) == _HEAD:
                ready += self._head[0] == _READY
                self._left = int.from_bytes(self._head[1:]) - 4
                self._head = b""
        return ready


@contextmanager
def distant_proxy(target: int, seconds: float = 0.0) -> Iterator[DistantProxy]:
    """Run a proxy in a thread while the block lasts."""
    loop = asyncio.new_event_loop()
    one = DistantProxy(target, seconds)
    server = loop.run_until_complete(one.serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield one
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(one.close)
    loop.call_soon_threadsafe(loop.call_later, 0.05, loop.stop)
    thread.join(10)
    loop.close()


async def _main(target: int, milliseconds: float) -> None:
    one = DistantProxy(target, milliseconds / 1e3)
    server = await one.serve()
    print(one.port, flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
