"""A TCP proxy before the sandbox that breaks connections in the middle, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from urllib.parse import urlsplit

from tests.support.swap import Swap

_DRIP_BYTES = 16
_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: closing sends a reset


class Break(StrEnum):
    """What befalls one request; `at` of a Blow counts bytes for those that cut."""

    NONE = "none"
    REFUSE = "refuse"  # a reset before the request was read
    RESET_BEFORE = "reset_before"  # read, never passed on, reset
    RESET_AFTER = "reset_after"  # passed on and answered, but the client sees a reset
    HALF_CLOSE = "half_close"  # passed on and answered, but our side just closes
    STALL = "stall"  # passed on and answered, but nothing comes back
    DRIP = "drip"  # the answer comes a few bytes at a time
    CUT_ANSWER = "cut_answer"  # only so many bytes of the answer come back
    CUT_REQUEST = "cut_request"  # only so many bytes of the request arrive
    DOUBLED = "doubled"  # the answer comes again 2 ms later
    LATE = "late"  # a 504, and then the real answer on the same connection
    SWAPPED = "swapped"  # the answer of another request of this kind comes back


# Those after which connections go on, with answers that are not the request's.
FOREIGN = (Break.DOUBLED, Break.LATE, Break.SWAPPED)


@dataclass(frozen=True, slots=True)
class Blow:
    """One break, and where in the bytes it comes."""

    kind: Break
    at: int = 0


def mixture(seed: int, share: float, kinds: Sequence[Break] = tuple(Break)[1:]) -> Iterator[Blow]:
    """Yield breaks of these kinds at random places, for a share of the requests."""
    dice = random.Random(seed)
    while True:
        hit = dice.random() < share
        yield Blow(dice.choice(kinds), dice.randrange(400)) if hit else Blow(Break.NONE)


class FaultProxy:
    """Forwards HTTP/1.1 requests to `upstream`, each under the next blow; use with `with`."""

    def __init__(self, upstream: str, blows: Iterable[Blow]) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._blows = iter(blows)
        self.struck: Counter[Break] = Counter()
        self._swap: Swap[bytes] = Swap()
        self._serving: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._is_closing = True
        # What was accepted just now has yet to begin; a server that is closed would forget it.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._serving:
                task.cancel()
            await asyncio.wait(others)
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not self._is_closing and await self._one(reader, writer):
                pass
        _hang_up(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request on, or break it; return whether the connection goes on."""
        first = await reader.readexactly(1)
        blow = next(self._blows, Blow(Break.NONE))
        self.struck[blow.kind] += 1
        if blow.kind is Break.REFUSE:
            return _reset(writer)
        request = first + await _message(reader)
        if blow.kind is Break.RESET_BEFORE:
            return _reset(writer)
        if blow.kind is Break.CUT_REQUEST:
            await self._forward(request[: blow.at % len(request)], whole=False)
            return _reset(writer)
        answer = await self._forward(request)
        if blow.kind is Break.SWAPPED:
            answer = await self._swap.exchanged(answer)
        return await _BACK[blow.kind](reader, writer, answer, blow.at)

    async def _forward(self, request: bytes, *, whole: bool = True) -> bytes:
        """Send a request to the sandbox; return its answer, nothing for a part of one."""
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(request)
            await writer.drain()
            return await _message(reader) if whole else b""
        finally:
            _hang_up(writer)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP message with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().partition(b":")[::2] for line in head.split(b"\r\n"))
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


def _hang_up(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> bool:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    writer.transport.abort()
    return False


async def _whole(_: object, writer: asyncio.StreamWriter, answer: bytes, __: int) -> bool:
    writer.write(answer)
    await writer.drain()
    return True


async def _doubled(_: object, writer: asyncio.StreamWriter, answer: bytes, __: int) -> bool:
    writer.write(answer)
    return await _later(writer, answer)


async def _late(_: object, writer: asyncio.StreamWriter, answer: bytes, __: int) -> bool:
    writer.write(b"HTTP/1.1 504 X\r\ncontent-length: 0\r\n\r\n")
    return await _later(writer, answer)


async def _later(writer: asyncio.StreamWriter, answer: bytes) -> bool:
    await asyncio.sleep(0.002)
    writer.write(answer)
    await writer.drain()
    return True


async def _reset_after(_: object, writer: asyncio.StreamWriter, __: bytes, ___: int) -> bool:
    return _reset(writer)


async def _half_close(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes, __: int
) -> bool:
    writer.write_eof()
    await reader.read()
    return False


async def _stall(reader: asyncio.StreamReader, _: object, __: bytes, ___: int) -> bool:
    await reader.read()  # until the client gives up
    return False


async def _drip(_: object, writer: asyncio.StreamWriter, answer: bytes, __: int) -> bool:
    for start in range(0, len(answer), _DRIP_BYTES):
        writer.write(answer[start : start + _DRIP_BYTES])
        await writer.drain()
        await asyncio.sleep(0.001)
    return True


async def _cut(_: object, writer: asyncio.StreamWriter, answer: bytes, at: int) -> bool:
    writer.write(answer[: at % len(answer)])
    await writer.drain()
    return False


_BACK: dict[Break, Callable[..., asyncio.Future[bool]]] = {
    Break.NONE: _whole,
    Break.RESET_AFTER: _reset_after,
    Break.HALF_CLOSE: _half_close,
    Break.STALL: _stall,
    Break.DRIP: _drip,
    Break.CUT_ANSWER: _cut,
    Break.DOUBLED: _doubled,
    Break.LATE: _late,
    Break.SWAPPED: _whole,
}  # type: ignore[dict-item]
