"""Process of its own for a sandbox, steered over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from incarts_pipeline.outgoing import environment_of_child
from incarts_pipeline.sandbox.app import Logged
from incarts_pipeline.sandbox.audit import Audit, from_json
from incarts_pipeline.sandbox.config import SandboxConfig


class SandboxProcess:
    """A sandbox in a process of its own; the same interface as `Sandbox`, and `kill`."""

    def __init__(
        self, config: SandboxConfig | None = None, *, state: Path | None = None, port: int = 0
    ) -> None:
        self._config = config or SandboxConfig()
        self._state = state
        self._port = port
        self.base_url, self.token = "", ""

    @property
    def api_key(self) -> str:
        """The first key."""
        return self._config.keys[0].key

    @property
    def project_id(self) -> str:
        """A project of the first key."""
        return min(self._config.keys[0].projects)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def __enter__(self) -> SandboxProcess:
        # -P keeps the working folder, whose modules are anybody's, off the program's import path.
        command = [sys.executable, "-P", "-m", "incarts_pipeline.sandbox"]
        command += ["--port", str(self._port)]
        # All switches in one line, so that a new one needs nothing here; not among the arguments,
        # which every user of the machine can read, since the API keys are in it.
        command += ["--config", "-"]
        command += ["--state", str(self._state)] if self._state else []
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_of_child(),
        )
        if self._process.stdin:
            self._process.stdin.write(self._config.model_dump_json() + "\n")
            self._process.stdin.close()
        # Printed once it accepts connections: who has read it may send.
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self.__exit__(None, None, None)
            raise RuntimeError("the sandbox did not start; its standard error says why")
        told = dict(one.split("=", 1) for one in line.split())
        self.base_url, self.token = told["INCARTS_API_BASE_URL"], told["INCARTS_SANDBOX_TOKEN"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            # More than uvicorn's own grace; a sandbox must never outlive its test.
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._process.stdout:
            self._process.stdout.close()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""
        return from_json(self._call("audit"))

    def requests(self) -> list[Logged]:
        """Return the requests so far, oldest first."""
        return [Logged(**one) for one in self._call("requests")]

    def reconfigure(self, **changes: Any) -> None:
        """Change switches while running.

        Raises:
            ValueError: there is no such switch, or it can't take that value.
        """
        config = self._config.with_changes(changes)
        # Checked here first, so that the error is a ValueError as in the same process; only what
        # was named is sent, since naming limits or faults lets them start afresh.
        self._call("reconfigure", config.model_dump(mode="json", include=set(changes)))
        self._config = config

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail.

        Args:
            kind: a Fault's value, like `lost_after`.
            times: how many requests; 0 takes back what is left of such orders.
            where: picks the requests whose key or body contains it; empty for any.

        Raises:
            ValueError: there is no such fault.
        """
        self._call("fail_next", {"kind": kind, "times": times, "where": where})

    def alter(self, link_id: str, changes: Mapping[str, Any] | None) -> None:
        """Change a link as if somebody did at Incarts.

        Args:
            link_id: the link's id.
            changes: fields by their API name; None lets the link disappear.

        Raises:
            ValueError: there is no such link.
        """
        self._call("alter", {"link_id": link_id, "changes": changes})

    def _call(self, name: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = f"{self.base_url}/_sandbox/{name}"
        request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=30) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.loads(error.read())["error"]) from error


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
