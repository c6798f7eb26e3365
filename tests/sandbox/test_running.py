"""Running the sandbox: in a thread, in a process, with a state, from the shell."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import incarts_pipeline.sandbox as public
from incarts_pipeline.sandbox import (
    ApiKey,
    Fault,
    Faults,
    Limit,
    Sandbox,
    SandboxConfig,
    SandboxProcess,
    config_from_options,
    environment,
)
from incarts_pipeline.sandbox.__main__ import main
from incarts_pipeline.sandbox.config import LimitKind, Per, Replay
from incarts_pipeline.sandbox.options import add_options
from incarts_pipeline.sandbox.store import Store
from tests.support.sandbox_caller import calling, until
from tests.support.sqlite_files import opened

KEY = "incarts1-0001"


def parsed(*arguments: str) -> SandboxConfig:
    """Return the switches that command-line arguments ask for."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return config_from_options(vars(parser.parse_args(arguments)))


def test_public_names() -> None:
    """The package offers these names, and no others, sorted."""
    assert public.__all__ == sorted(public.__all__)
    assert all(hasattr(public, name) for name in public.__all__)


def test_links_survive_a_restart(tmp_path: Path) -> None:
    """With a state, links, QR codes and keys are there after a restart; without, they are not."""
    state = tmp_path / "state.db"
    with Sandbox(state=state) as box, calling(box) as call:
        first = call.create(KEY).json()["data"]
        call.qr(first["id"])
    with Sandbox(state=state) as box, calling(box) as call:
        assert call.create(KEY).json()["data"] == first
        assert call.http.get(f"/s/{first['shortId']}").status_code == 302
        assert call.qr(first["id"]).status_code == 409
        assert (box.audit().links, box.audit().qr_codes) == (1, 1)
    with Sandbox() as box:
        assert box.audit().links == 0


def test_foreign_state_is_refused(tmp_path: Path) -> None:
    """A database that isn't a sandbox's is left alone."""
    state = tmp_path / "other.db"
    with opened(state) as db:
        db.execute("CREATE TABLE other (a)")
    with pytest.raises(ValueError, match=r"other\.db"), Sandbox(state=state):
        pass


def test_taken_port_is_an_error() -> None:
    """A port that somebody else listens on is told at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), Sandbox(port=port):
            pass


def test_client_that_leaves_early_makes_nothing(box: Sandbox) -> None:
    """Half a request is no request, however the client goes away."""
    host, port = box.base_url.removeprefix("http://").split(":")
    head = f"POST /v1/links HTTP/1.1\r\nhost: x\r\nx-incarts-api-key: {box.api_key}\r\n"
    with socket.create_connection((host, int(port))) as half:
        half.sendall(f"{head}content-length: 500\r\n\r\n{{".encode())
        half.shutdown(socket.SHUT_WR)
        while half.recv(1024):
            pass
    assert (box.audit().requests, box.audit().links) == (0, 0)
    with calling(box) as call:
        assert call.create().status_code == 201


def test_own_failure_is_a_500_without_effect(caplog: pytest.LogCaptureFixture) -> None:
    """If the sandbox itself breaks, it says so, and what it had begun is undone."""
    times = iter([1.0, 2.0, 3.0])  # arrival, start of the work, and one short of the link's own
    with Sandbox(clock=lambda: next(times)) as box, calling(box) as call:
        assert call.create(KEY).status_code == 500
        assert (box.audit().links, box.audit().statuses) == (0, {"500": 1})
    assert "the sandbox failed at POST /v1/links" in caplog.text


def test_broken_transaction_leaves_nothing(tmp_path: Path) -> None:
    """A link is not kept when remembering its key fails."""
    store = Store(tmp_path / "state.db")
    content = {"id": "lnk_1", "shortId": "s", "projectId": "demo", "targetUrl": "t"}
    with contextlib.suppress(KeyError), store.transaction():
        store.add_link(content, KEY, "hash")
        raise KeyError
    assert store.link("lnk_1") is None
    store.close()


def test_sandboxes_dont_meet() -> None:
    """Two sandboxes at once have ports and links of their own."""
    with Sandbox() as one, Sandbox() as two, calling(one) as call:
        assert one.base_url != two.base_url
        call.create()
        assert (one.audit().links, two.audit().links) == (1, 0)


def test_key_and_project_follow_the_switches(box: Sandbox) -> None:
    """After new keys, the sandbox tells the first of them."""
    box.reconfigure(keys=[{"key": "ic_new", "projects": ["b", "a"]}])
    assert (box.api_key, box.project_id) == ("ic_new", "a")
    with calling(box) as call:
        assert call.create().status_code == 201


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latencies": 1}, "latencies"),
        ({"latency": -1}, "latency"),
        ({"hints": "loud"}, "hints"),
        ({"limits": [{"kind": "leaky"}]}, "limits.0.kind"),
        ({"keys": []}, "keys"),
        ({"intents": ["fly"]}, "fly"),
        ({"short_domain": "in2carts.com"}, "short_domain"),
    ],
)
def test_senseless_switches_are_refused(box: Sandbox, changes: dict[str, Any], said: str) -> None:
    """A switch that doesn't exist, or a value that it can't take, is named."""
    with pytest.raises(ValueError, match=said):
        box.reconfigure(**changes)


def test_control_pages(box: Sandbox) -> None:
    """A sandbox can be steered over HTTP, and tells what it doesn't understand."""
    with calling(box) as call:
        call.http.headers["Authorization"] = f"Bearer {box.token}"
        changes = {"faults": 0.0, "error_shape": "flat"}
        assert call.http.post("/_sandbox/reconfigure", json=changes).status_code == 200
        order = {"kind": "error_before", "times": 2}
        assert call.http.post("/_sandbox/fail_next", json=order).status_code == 200
        assert [call.create().json()["code"] for _ in range(2)] == ["internal", "internal"]
        assert call.http.get("/_sandbox/audit").json()["statuses"] == {"500": 2}
        assert len(call.http.get("/_sandbox/requests").json()) == 2
        for path, body in (
            ("reconfigure", {"no": 1}),
            ("reconfigure", []),
            ("fail_next", {"kind": "no"}),
            ("fail_next", {"sort": "late"}),
        ):
            answer = call.http.post(f"/_sandbox/{path}", json=body)
            assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_process_has_the_same_interface(tmp_path: Path) -> None:
    """A sandbox in a process of its own is configured, steered and audited alike."""
    config = SandboxConfig(
        keys=(ApiKey(key="ic_process", projects=frozenset({"far"})),),
        limits=(Limit(requests=3, seconds=3600),),
        idempotency_window=0,
    )
    with SandboxProcess(config, state=tmp_path / "state.db") as box, calling(box) as call:
        assert (box.api_key, box.project_id) == ("ic_process", "far")
        assert [call.create(KEY).status_code for _ in range(4)] == [201, 201, 201, 429]
        audit = box.audit()
        assert (audit.links, audit.duplicates, audit.limited_share) == (3, 1, 0.25)
        assert len(audit.duplicated_keys[0].by) == 3
        assert [one.status for one in box.requests()] == [201, 201, 201, 429]
        box.reconfigure(limits=[], faults=Faults(error_before=1, first=1))
        box.fail_next("malformed", where="special")
        assert [call.create().status_code for _ in range(2)] == [500, 201]
        assert "html" in call.create(name="special").text
        with pytest.raises(ValueError, match="nothing"):
            box.reconfigure(nothing=1)
        with pytest.raises(ValueError, match="unheard"):
            box.fail_next("unheard")
        link = call.create().json()["data"]["id"]
        box.alter(link, {"status": "archived"})
        assert call.http.get(f"/v1/links/{link}").json()["data"]["status"] == "archived"
        box.alter(link, None)
        assert call.http.get(f"/v1/links/{link}").status_code == 404
        with pytest.raises(ValueError, match="no link"):
            box.alter(link, None)


def test_process_that_cant_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A process that ends at once is an error, with its reason on standard error."""
    with pytest.raises(RuntimeError, match="did not start"):
        SandboxProcess(state=tmp_path / "no folder" / "state.db").__enter__()
    assert "unable to open" in capfd.readouterr().err


def test_killed_process_keeps_links_and_keys_together(tmp_path: Path) -> None:
    """However a process dies, a link that exists is remembered under its key."""
    state = tmp_path / "state.db"
    with SandboxProcess(state=state) as box:

        def create() -> None:
            with calling(box) as call:
                for number in range(1_000_000):
                    try:
                        call.create(f"incarts1-{number:04d}", name=f"Product {number}")
                    except httpx.TransportError:
                        return

        threads = [threading.Thread(target=create) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: box.audit().links > 50)
        box.kill()
        for thread in threads:
            thread.join()
    with Sandbox(state=state) as again, calling(again) as call:
        links = again.audit().links
        assert links > 50
        for number in range(links):
            call.create(f"incarts1-{number:04d}", name=f"Product {number}")
        audit = again.audit()
        assert (audit.duplicates, audit.repeated_bodies) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_serves_until_a_signal(number: signal.Signals) -> None:
    """The command prints one line of assignments, serves, and ends well on a signal."""
    command = [sys.executable, "-m", "incarts_pipeline.sandbox", "--api-key", "ic_shell/shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        told = dict(one.split("=", 1) for one in line.split())
        assert (told["INCARTS_API_KEY"], told["INCARTS_PROJECT_ID"]) == ("ic_shell", "shop")
        audit = httpx.get(
            f"{told['INCARTS_API_BASE_URL']}/_sandbox/audit",
            headers={"Authorization": f"Bearer {told['INCARTS_SANDBOX_TOKEN']}"},
            trust_env=False,
        )
        assert audit.json()["links"] == 0
        os.kill(process.pid, number)
        assert process.wait() == 0
        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--latency", "fast"],
        ["--limit", "many"],
        ["--config", "[]"],
        ["--config", "{"],
        ["--fault", "late=2"],
        ["--faults", "x"],
    ],
)
def test_senseless_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that makes no sense ends the command with a usage error."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_every_switch_is_an_option() -> None:
    """Each switch can be set from the shell."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    names = {action.dest for action in parser._actions}
    own = {"keys": "api_key", "limits": "limit", "faults": "fault"}
    assert {own.get(name, name) for name in SandboxConfig.model_fields} <= names


def test_options_become_switches() -> None:
    """Options of every form arrive as switches."""
    config = parsed(
        "--config", '{"latency": 1, "seed": 7}',
        "--latency", "0.5",
        "--smart-select", "false",
        "--replay", "fresh",
        "--intents", "custom_url,recipe",
        "--limit", "300/10s",
        "--limit", "60/1.5m:bucket:project",
        "--api-key", "ic_a/one,two/links:write,links:read",
        "--api-key", "ic_b",
        "--fault", "late=0.25",
        "--faults-first", "9",
    )  # fmt: skip
    assert (config.latency, config.seed, config.smart_select) == (0.5, 7, False)
    assert config.replay is Replay.FRESH
    assert config.intents == {"custom_url", "recipe"}
    assert config.limits == (
        Limit(requests=300, seconds=10),
        Limit(requests=60, seconds=90, kind=LimitKind.BUCKET, per=Per.PROJECT),
    )
    first, second = config.keys
    assert first.projects == {"one", "two"}
    assert first.scopes == {"links:write", "links:read"}
    assert second.projects == {"demo"}
    assert "retailers:walmart" in second.scopes
    assert config.faults == Faults(late=0.25, first=9)


def test_faults_spread_over_all_kinds() -> None:
    """One share is spread evenly, and a kind of its own replaces its part."""
    config = parsed("--faults", "0.18", "--fault", "stall=0")
    assert config.faults.shares() == {
        kind: pytest.approx(0.02) for kind in Fault if kind is not Fault.STALL
    }


def test_environment_is_one_line() -> None:
    """The assignments name base URL, project and key."""
    assert environment(SandboxConfig(), "http://127.0.0.1:1") == (
        "INCARTS_API_BASE_URL=http://127.0.0.1:1 INCARTS_PROJECT_ID=demo "
        "INCARTS_API_KEY=ic_sandbox_all_scopes"
    )
    assert environment(SandboxConfig(), "http://127.0.0.1:1", "t0k").endswith(
        " INCARTS_SANDBOX_TOKEN=t0k"
    )


def test_modules_of_the_working_folder_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file there that is called as a module of ours or of Python's is not imported."""
    for name in ("json.py", "argparse.py", "incarts_pipeline.py"):
        Path(name).write_text("open('run', 'w')\nraise SystemExit('run')\n")
    with SandboxProcess() as box:
        assert box.pid
    assert not Path("run").exists()
