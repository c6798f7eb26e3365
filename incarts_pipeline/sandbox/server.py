"""Running the sandbox: in a thread, in a process of its own, or until a signal."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvicorn

from incarts_pipeline.sandbox.app import App, Logged
from incarts_pipeline.sandbox.config import SandboxConfig, to_json
from incarts_pipeline.sandbox.store import Audit, Store

T = TypeVar("T")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers; `ready` is called once it accepts connections."""

    def __init__(self, app: App, sock: socket.socket, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="critical",
                access_log=False,
                lifespan="off",
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
        await self._serve([self._sock])


def _listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _host(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


class Sandbox:
    """A sandbox in a thread of this process; use as a context manager.

    Args:
        config: the switches.
        state: a file in which links survive a restart; in memory by default.
        port: 0 lets the system choose.
    """

    def __init__(
        self, config: SandboxConfig | None = None, *, state: Path | None = None, port: int = 0
    ) -> None:
        self._config = config or SandboxConfig()
        self._state = state
        self._port = port
        self.base_url = ""

    @property
    def api_key(self) -> str:
        """The first key."""
        return self._config.keys[0].key

    @property
    def project_id(self) -> str:
        """A project of the first key."""
        return min(self._config.keys[0].projects)

    def __enter__(self) -> Sandbox:
        sock = _listen(self._port)
        self.base_url = _host(sock)
        self._store = Store(self._state)
        self._app = App(self._store, self._config)
        self._app.service.host = self.base_url
        up = threading.Event()
        self._server = _Server(self._app, sock, up.set)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="incarts-sandbox", daemon=True)
        self._thread.start()
        if not up.wait(10):
            raise RuntimeError("the sandbox did not start")
        return self

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.run_here())
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._store.close()

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""
        return self._ask(self._app.audit)

    def requests(self) -> list[Logged]:
        """Return the requests so far, oldest first."""
        return self._ask(lambda: list(self._app.log))

    def reconfigure(self, **changes: Any) -> None:
        """Change switches while running."""
        self._ask(lambda: self._app.reconfigure(changes))

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail; `where` picks those whose key or body contains it."""
        self._ask(lambda: self._app.fail_next(kind, times, where))

    def _ask(self, work: Callable[[], T]) -> T:
        """Run `work` in the server's thread, where all its state lives."""

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)


class SandboxProcess:
    """A sandbox in a process of its own; the same interface, over HTTP."""

    def __init__(
        self, config: SandboxConfig | None = None, *, state: Path | None = None, port: int = 0
    ) -> None:
        self._config = config or SandboxConfig()
        self._state = state
        self._port = port
        self.api_key = self._config.keys[0].key
        self.project_id = min(self._config.keys[0].projects)
        self.base_url = ""

    def __enter__(self) -> SandboxProcess:
        command = [sys.executable, "-m", "incarts_pipeline.sandbox", "--port", str(self._port)]
        command += ["--config", json.dumps(to_json(self._config))]
        command += ["--state", str(self._state)] if self._state else []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        line = self._process.stdout.readline() if self._process.stdout else ""
        self.base_url = line.partition("INCARTS_API_BASE_URL=")[2].split()[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(15)
        if self._process.stdout:
            self._process.stdout.close()

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""
        return Audit(**self._call("audit"))

    def requests(self) -> list[Logged]:
        """Return the requests so far, oldest first."""
        return [Logged(**one) for one in self._call("requests")]

    def reconfigure(self, **changes: Any) -> None:
        """Change switches while running; plain JSON values."""
        self._call("reconfigure", changes)

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail; `where` picks those whose key or body contains it."""
        self._call("fail_next", {"kind": kind, "times": times, "where": where})

    def _call(self, name: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.base_url}/_sandbox/{name}", data=data)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.loads(response.read())


def serve(
    config: SandboxConfig, *, port: int, state: Path | None, ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with the base URL."""
    sock = _listen(port)
    store = Store(state)
    app = App(store, config)
    app.service.host = _host(sock)

    async def run() -> None:
        server = _Server(app, sock, lambda: ready(app.service.host))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, setattr, server, "should_exit", True)
        await server.run_here()

    try:
        asyncio.run(run())
    finally:
        store.close()


def environment(config: SandboxConfig, base_url: str) -> str:
    """Return the assignments that point the settings at a sandbox, on one line."""
    key = config.keys[0]
    return (
        f"INCARTS_API_BASE_URL={base_url} INCARTS_PROJECT_ID={min(key.projects)} "
        f"INCARTS_API_KEY={key.key}"
    )
