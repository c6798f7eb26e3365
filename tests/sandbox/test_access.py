"""Who may call the sandbox: programs of this machine, and no web page that is open on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.sandbox.test_running import KEY
from tests.support.sandbox_caller import calling

CONTROLS = [
    ("GET", "audit"),
    ("GET", "requests"),
    ("POST", "reconfigure"),
    ("POST", "fail_next"),
    ("POST", "alter"),
]


def asked(box: Sandbox, method: str, path: str, **options: Any) -> httpx.Response:
    """Ask the sandbox; `headers` win over the client's own."""
    with httpx.Client(base_url=box.base_url, trust_env=False, timeout=30) as http:
        return http.request(method, path, **options)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "[::2]"],
)
def test_other_names_of_this_machine_are_refused(box: Sandbox, host: str) -> None:
    """A name that its owner turned to 127.0.0.1 reads nothing: neither requests nor links."""
    for path in ("/v1/links/lnk_1", "/_sandbox/requests", "/s/abc", "/qr/abc.png"):
        headers = {"Host": host, "Authorization": f"Bearer {box.token}"}
        assert asked(box, "GET", path, headers=headers).status_code == 403
    assert box.audit().requests == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:8080", "[::1]:80"])
def test_own_names_are_served(box: Sandbox, host: str) -> None:
    """Under any port, since a proxy may stand before it."""
    headers = {"Host": host, "Authorization": f"Bearer {box.token}"}
    assert asked(box, "GET", "/_sandbox/audit", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://"]
)
def test_pages_of_other_origins_are_refused(box: Sandbox, origin: str) -> None:
    """A form of another page, even with the key and the token, changes nothing."""
    headers = {
        "Origin": origin,
        "Authorization": f"Bearer {box.token}",
        "X-Incarts-API-Key": box.api_key,
    }
    for path in ("/v1/links", "/_sandbox/reconfigure"):
        assert asked(box, "POST", path, headers=headers, json={"latency": 1}).status_code == 403
    assert (box.audit().links, box.audit().requests) == (0, 0)
    own = headers | {"Origin": box.base_url}
    assert asked(box, "POST", "/_sandbox/reconfigure", headers=own, json={}).status_code == 200


@pytest.mark.parametrize(("method", "name"), CONTROLS)
@pytest.mark.parametrize("given", [None, "Bearer", "Bearer wrong", "{token}", "Basic {token}"])
def test_controls_want_the_token(box: Sandbox, method: str, name: str, given: str | None) -> None:
    """Whatever they do; the API's key is no token."""
    headers = {"X-Incarts-API-Key": box.api_key}
    if given is not None:
        headers["Authorization"] = given.format(token=box.token)
    answer = asked(box, method, f"/_sandbox/{name}", headers=headers, json={})
    assert (answer.status_code, "INCARTS_SANDBOX_TOKEN" in answer.json()["error"]) == (401, True)


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"],
)
def test_forms_steer_nothing(box: Sandbox, kind: str | None) -> None:
    """A form sends JSON as text; only what says that it is JSON is read."""
    headers = {"Authorization": f"Bearer {box.token}"} | ({"Content-Type": kind} if kind else {})
    content = b'{"keys": [{"key": "ic_theirs", "projects": ["demo"]}]}'
    answer = asked(box, "POST", "/_sandbox/reconfigure", headers=headers, content=content)
    assert answer.status_code == 415
    with calling(box) as call:
        assert call.create(KEY).status_code == 201


def test_tokens_differ() -> None:
    """Each sandbox has one of its own, long enough not to be guessed."""
    with Sandbox() as one, Sandbox() as other:
        assert one.token != other.token
        assert len(one.token) >= 32


def test_the_command_prints_the_token_and_keeps_its_state_private(tmp_path: Path) -> None:
    """`incarts sandbox` says how it is steered; its file has API keys in it."""
    code = "from incarts_pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, "sandbox", "--state", str(tmp_path / "state.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().removeprefix("export ").strip() for _ in range(4)]
        told = dict(line.split("=", 1) for line in lines)
        answer = httpx.get(
            f"{told['INCARTS_API_BASE_URL']}/_sandbox/audit",
            headers={"Authorization": f"Bearer {told['INCARTS_SANDBOX_TOKEN']}"},
            trust_env=False,
        )
        process.terminate()
    assert answer.json()["links"] == 0
    assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0
