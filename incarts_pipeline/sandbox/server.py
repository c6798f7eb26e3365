"""Server of the sandbox: in a thread, or until a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvicorn

from incarts_pipeline.sandbox.app import App, Logged
from incarts_pipeline.sandbox.audit import Audit
from incarts_pipeline.sandbox.config import SandboxConfig
from incarts_pipeline.sandbox.store import Store

T = TypeVar("T")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers; `ready` is called once it accepts connections."""

    def __init__(self, app: App, sock: socket.socket, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                # A stalled answer would hold the end up.
                timeout_graceful_shutdown=1,
                server_header=False,
                ws="none",
            )
        )
        self._sock = sock
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def run_here(self) -> None:
        """Serve until `should_exit`."""
        # Not `serve`, which takes the process's signal handlers.
        await self._serve([self._sock])


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is; without
    # that, each answer waits some 40 ms for the client's delayed acknowledgement.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Loopback alone: keys and faults here are nobody's business outside.
        sock.bind(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


def _host(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


class Sandbox:
    """A sandbox in a thread of this process; use as a context manager.

    Args:
        config: the switches.
        state: a file in which links survive a restart; in memory by default. They keep the host
            that they were made with, so name a port too if short links are to go on working.
        port: 0 lets the system choose.
        clock: the time in seconds since 1970, for tests of windows and limits.
    """

    def __init__(
        self,
        config: SandboxConfig | None = None,
        *,
        state: Path | None = None,
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config or SandboxConfig()
        self._state = state
        self._port = port
        self._clock = clock
        self.base_url = ""

    @property
    def api_key(self) -> str:
        """The first key."""
        return self._config.keys[0].key

    @property
    def project_id(self) -> str:
        """A project of the first key."""
        return min(self._config.keys[0].projects)

    @property
    def token(self) -> str:
        """What the controls under `/_sandbox/` want over HTTP: `Authorization: Bearer TOKEN`."""
        return self._app.token

    def __enter__(self) -> Sandbox:
        self._store = Store(self._state)
        try:
            sock = _listen(self._port)
        except BaseException:
            self._store.close()
            raise
        self.base_url = _host(sock)
        self._app = App(self._store, self._config, self._clock)
        self._app.service.host = self.base_url
        up = threading.Event()
        self._server = _Server(self._app, sock, up.set)
        # A loop and a thread of its own, so that the caller may block, or run a loop itself.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="incarts-sandbox", daemon=True)
        self._thread.start()
        if not up.wait(60):
            raise RuntimeError("the sandbox did not start")
        return self

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.run_here())
        finally:
            self._loop.run_until_complete(_cancel_others())
            self._loop.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        # Late requests and open connections are cut, as they would be by a crash.
        self._server.force_exit = True
        self._thread.join(60)
        self._store.close()

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""
        return self._ask(self._app.audit)

    def requests(self) -> list[Logged]:
        """Return the requests so far, oldest first."""
        return self._ask(lambda: list(self._app.log))

    def reconfigure(self, **changes: Any) -> None:
        """Change switches while running.

        Raises:
            ValueError: there is no such switch, or it can't take that value.
        """
        self._ask(lambda: self._app.reconfigure(changes))
        self._config = self._app.config

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail.

        Args:
            kind: a Fault's value, like `lost_after`.
            times: how many requests; 0 takes back what is left of such orders.
            where: picks the requests whose key or body contains it; empty for any.
        """
        self._ask(lambda: self._app.fail_next(kind, times, where))

    def alter(self, link_id: str, changes: Mapping[str, Any] | None) -> None:
        """Change a link as if somebody did at Incarts.

        Args:
            link_id: the link's id.
            changes: fields by their API name; None lets the link disappear.

        Raises:
            ValueError: there is no such link.
        """
        self._ask(lambda: self._app.alter(link_id, changes))

    def _ask(self, work: Callable[[], T]) -> T:
        """Run `work` in the server's thread, where all its state lives."""

        async def run() -> T:
            return work()

        # SQLite and the log belong to that thread, so nothing here needs a lock.
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def serve(
    config: SandboxConfig, *, port: int, state: Path | None, ready: Callable[[str, str], None]
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: the switches.
        port: 0 lets the system choose.
        state: a file to keep links in; None for memory.
        ready: called with the base URL and the controls' token once connections are accepted.

    Raises:
        OSError: the port is taken.
        ValueError: the state is not a sandbox's.
    """
    store = Store(state)
    try:
        sock = _listen(port)
        app = App(store, config)
        app.service.host = _host(sock)
        asyncio.run(_serve_until_signal(app, sock, lambda: ready(app.service.host, app.token)))
    finally:
        store.close()


async def _serve_until_signal(app: App, sock: socket.socket, ready: Callable[[], None]) -> None:
    server = _Server(app, sock, ready)

    def stop() -> None:
        server.should_exit = server.force_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.run_here()


def environment(config: SandboxConfig, base_url: str, token: str | None = None) -> str:
    """Return the assignments that point the settings at a sandbox, on one line.

    Args:
        config: the switches.
        base_url: where it is.
        token: what its controls want; None to leave it out.
    """
    key = config.keys[0]
    steering = "" if token is None else f" INCARTS_SANDBOX_TOKEN={token}"
    return (
        f"INCARTS_API_BASE_URL={base_url} INCARTS_PROJECT_ID={min(key.projects)} "
        f"INCARTS_API_KEY={key.key}{steering}"
    )
