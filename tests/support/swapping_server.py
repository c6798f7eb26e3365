"""A server that makes links properly, and swaps, doubles or delays what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.support.swap import Swap


class Trick(StrEnum):
    """What befalls answers; the server makes one link for each key."""

    NONE = "none"
    DOUBLED = "doubled"  # each answer is sent again 2 ms later
    LATE = "late"  # a 504 first, and then the real answer on the same connection
    SWAPPED = "swapped"  # first answers are exchanged, correlation ids and all
    SWAPPED_BODIES = "swapped_bodies"  # the same, under the right correlation ids
    ONE_ID = "one_id"  # all links are told to have the same id
    OTHER_PROJECT = "other_project"
    OTHER_RETAILER = "other_retailer"
    OTHER_LINK = "other_link"  # a QR code of another link
    DISABLED = "disabled"
    REFUSED = "refused"  # a 422 for another request
    PACED_TWICE = "paced_twice"  # a 429 without a link, and once more before the next answer


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer."""

    status: int
    correlation_id: str | None
    content: dict[str, Any]

    def encoded(self) -> bytes:
        """Return it as bytes on the wire."""
        body = json.dumps({"data": self.content}).encode()
        echo = f"x-correlation-id: {self.correlation_id}\r\n" if self.correlation_id else ""
        head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\n{echo}\r\n"
        return head.encode() + body


@dataclass(slots=True)
class SwappingServer:
    """Its switches, and what it made: `made` has the content by idempotency key.

    Tricks befall the first answer under every third key, but for those that say what all are like.
    `tells` are the fields of what was sent that answers have.
    """

    trick: Trick = Trick.NONE
    echoes: bool = True
    tells: tuple[str, ...] = ("projectId", "name", "retailer", "intent", "customUrl", "products")
    port: int = 0
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    connections: int = 0
    _again: dict[asyncio.StreamWriter, Reply] = field(default_factory=dict)
    _swap: Swap[Reply] = field(default_factory=Swap)

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def links(self) -> dict[str, tuple[str, str]]:
        """Return the name and the id of each link that was made, by its key."""
        return {key: (made["name"], made["id"]) for key, made in self.made.items()}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        ends = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                told = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
                body = await reader.readexactly(int(told.get("content-length", 0)))
                await self._answer(writer, lines[0].split()[1], told, json.loads(body))
        writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, path: str, told: dict[str, str], body: dict[str, Any]
    ) -> None:
        key = told["idempotency-key"]
        is_first = key not in self.answered and len(self.answered) % 3 == 0
        self.answered.add(key)
        echo = told["x-correlation-id"] if self.echoes else None
        if (again := self._again.pop(writer, None)) is not None:
            writer.write(again.encoded())
        if self.trick is Trick.PACED_TWICE and is_first:
            reply = self._again[writer] = Reply(429, echo, {})
            writer.write(reply.encoded())
            return
        reply = Reply(201, echo, self._told(self._make(key, path, body)))
        if self.trick is Trick.DOUBLED:
            writer.write(reply.encoded())
            await asyncio.sleep(0.002)
        elif self.trick is Trick.LATE and is_first:
            writer.write(b"HTTP/1.1 504 X\r\ncontent-length: 0\r\n\r\n")
            await asyncio.sleep(0.002)
        elif self.trick in (Trick.SWAPPED, Trick.SWAPPED_BODIES) and is_first:
            reply = await self._swap.exchanged(reply)
            if self.trick is Trick.SWAPPED_BODIES:
                reply = Reply(201, echo, reply.content)
        elif self.trick is Trick.REFUSED and is_first:
            reply = Reply(422, "incarts-somebody-else", {})
        writer.write(reply.encoded())
        await writer.drain()

    def _make(self, key: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        number = len(self.made)
        link_id = path.split("/")[3] if path.endswith("/qr-codes") else None
        new = {"id": f"{'qr' if link_id else 'lnk'}_{number:06d}", "status": "active", **body}
        new |= {"linkId": link_id} if link_id else {"shortLink": f"https://in2carts.com/{number}"}
        return self.made.setdefault(key, new)

    def _told(self, made: dict[str, Any]) -> dict[str, Any]:
        always = ("id", "status", "shortLink", "linkId", "identifier")
        content = {name: made[name] for name in (*always, *self.tells) if name in made}
        changes: dict[Trick, dict[str, Any]] = {
            Trick.ONE_ID: {"id": "lnk_same"},
            Trick.OTHER_PROJECT: {"projectId": "other"},
            Trick.OTHER_RETAILER: {"retailer": "target"},
            Trick.OTHER_LINK: {"linkId": "lnk_other"},
            Trick.DISABLED: {"status": "disabled"},
        }
        return content | changes.get(self.trick, {})


@contextlib.contextmanager
def swapping(server: SwappingServer) -> Iterator[SwappingServer]:
    """Run a server in a thread of its own."""
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        ready.set()
        async with listening:
            await ended.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
