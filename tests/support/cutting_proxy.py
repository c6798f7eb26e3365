"""A TCP proxy before PostgreSQL that cuts connections around their COMMITs."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

_COMMIT = b"COMMIT\0"


class Cut(Enum):
    """Where a connection ends."""

    NONE = "none"
    BEFORE = "before"  # the COMMIT never arrives
    AFTER = "after"  # it holds, and nobody says so
    LATE = "late"  # it arrives a moment after the client has heard of the end


@dataclass(slots=True)
class Proxy:
    """Forwards to a port of this machine; `choose` says what becomes of each COMMIT."""

    target: int
    choose: Callable[[], Cut] = lambda: Cut.NONE
    port: int = 0
    cuts: dict[Cut, int] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        """Take connections until the listening socket is closed."""
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for work, arguments in (
                (self._forward, (client, server)),
                (_copy, (server, client)),
            ):
                thread = threading.Thread(target=work, args=arguments, daemon=True)
                thread.start()
                self.threads.append(thread)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                cut = self.choose() if _COMMIT in data else Cut.NONE
                self.cuts[cut] = self.cuts.get(cut, 0) + (_COMMIT in data)
                if cut is Cut.NONE:
                    server.sendall(data)
                    continue
                if cut is Cut.AFTER:
                    self._hold(data, client, server)
                elif cut is Cut.LATE:
                    _end(client)
                    threading.Event().wait(random.random() * 0.2)
                    server.sendall(data)
                    threading.Event().wait(0.05)
                break
        _end(client)
        _end(server)

    def _hold(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        """Let a COMMIT through, and nothing back; its client is cut once it holds."""
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        server.sendall(data)
        threading.Event().wait(0.1)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _end(source)
    _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Run a proxy while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = Proxy(target, port=listening.getsockname()[1])
        thread = threading.Thread(target=one.serve, args=(listening,), daemon=True)
        thread.start()
        yield one
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)
