"""A key goes where a person said, and nowhere else: whatever lies in the working folder."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from incarts_pipeline.sandbox import Sandbox, SandboxConfig
from incarts_pipeline.sandbox.config import ApiKey
from incarts_pipeline.settings import FACT, host_of, own_file
from tests.support.shell import Shell, answering

RUN = ("--unique-key", "sku", "--link-set", "s", "-o", "links.parquet")
APPLY = ("apply", "catalog.csv", *RUN)
COMMANDS = (
    ("doctor",),
    APPLY,
    ("verify",),
    ("verify", "links.parquet"),
    ("qr", "links.parquet", "--identifier", "shelf", "-o", "codes.parquet"),
    ("review", "adopt", "incarts1-0000", "lnk_1"),
    ("rekey", "catalog.csv", *RUN),
)


@pytest.fixture
def strange(shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The shell in a folder whose settings file alone names the host."""
    monkeypatch.delenv("INCARTS_API_BASE_URL")
    Path("incarts.toml").write_text(
        f'base_url = "{box.base_url}"\n[targets.prod]\nbase_url = "{box.base_url}"\n'
    )
    return shell


def refusal(shell: Shell, *arguments: str) -> str:
    """Return what a command is refused with."""
    code, out, _ = shell(*arguments, "--json")
    told = json.loads(out.splitlines()[-1])
    assert (code, told["guard"]) == (1, "untrusted_host"), told
    return str(told["error"])


def forget(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Go on as in a fresh container, which has the working folder and nothing else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(Path(f"../{name}-state").absolute()))


@pytest.mark.parametrize("target", [(), ("--target", "prod")])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_sends_the_key_to_a_strange_host(
    strange: Shell, box: Sandbox, command: tuple[str, ...], target: tuple[str, ...]
) -> None:
    """What a settings file in the working folder names is not sent to, with or without --yes."""
    for yes in ((), ("--yes",)):
        if yes and command[0] not in ("apply", "rekey", "qr"):
            continue
        code, out, err = strange(*command, *target, *yes)
        assert code == 1
        assert "nobody has said" in out + err or command[0] == "review"
        assert box.requests() == []


@pytest.mark.parametrize("command", [("doctor", "--json"), APPLY, ("verify",)], ids=" ".join)
def test_no_ledger_of_a_strangers_speaks(
    strange: Shell,
    box: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    """A ledger beside the settings file, bound to its host with another key, is nobody's word."""
    own = box.api_key
    box.reconfigure(keys=[*SandboxConfig().keys, ApiKey(key="ic_live_of_a_stranger_1")])
    with monkeypatch.context() as stranger:
        stranger.setenv("INCARTS_API_KEY", "ic_live_of_a_stranger_1")
        stranger.setenv("INCARTS_API_BASE_URL", box.base_url)
        assert strange(*APPLY)[0] == 0
    made = len(box.requests())
    assert strange(*command)[0] == 1
    # One who has seen the fingerprint puts it there, with whatever proof.
    refused = refusal(strange, *APPLY)
    fingerprint = refused.partition("the API key ")[2].split()[0]
    with closing(sqlite3.connect("incarts-ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE operation SET api_key_fingerprint = ?", (fingerprint,))
        ledger.execute(
            "UPDATE meta SET name = ? WHERE name LIKE ?", (FACT + fingerprint, FACT + "%")
        )
    assert strange(*command)[0] == 1
    assert len(box.requests()) == made
    assert own not in refused


def test_a_ledgers_word_is_for_its_host_alone(
    strange: Shell, monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    """A proof that was copied out of our own ledger is none for another host."""
    with Sandbox() as other:
        monkeypatch.setenv("INCARTS_API_BASE_URL", other.base_url)
        assert strange(*APPLY)[0] == 0
        monkeypatch.delenv("INCARTS_API_BASE_URL")
    with closing(sqlite3.connect("incarts-ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE meta SET value = ? WHERE name = 'base_url'", (box.base_url,))
    forget(monkeypatch, "fresh")
    assert host_of(box.base_url) in refusal(strange, *APPLY)
    assert box.requests() == []


def test_nightly_jobs_go_on_in_fresh_containers(
    strange: Shell, monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    """Once a run was told the host, its ledger is word enough, moved or restored from a backup."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    assert strange(*APPLY)[0] == 0
    monkeypatch.delenv("INCARTS_API_BASE_URL")
    forget(monkeypatch, "second")
    assert strange(*APPLY, "--yes")[0] == 0
    told = strange("doctor")[1]
    assert "by the ledger incarts-ledger.db" in told
    assert "ledger: ok  incarts-ledger.db (" in told
    assert "(mode 0600, " in told
    assert strange("ledger", "backup", "copy.db")[0] == 0
    forget(monkeypatch, "third")
    assert strange("verify", "--ledger", "copy.db")[0] == 0
    assert FACT.strip() not in strange("status", "--json")[1]
    shutil.move("incarts-ledger.db", "away.db")
    assert "nobody has said" in refusal(strange, *APPLY)


def test_words_beside_the_key(
    strange: Shell, monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    """INCARTS_TRUSTED_HOSTS is a word, for the hosts that it names and no others."""
    port = box.base_url.rpartition(":")[2]
    for wrong in (
        "127.0.0.1",
        f"127.0.0.1:{int(port) - 1}",
        f"https://127.0.0.1:{port}",
        "a.example",
    ):
        monkeypatch.setenv("INCARTS_TRUSTED_HOSTS", wrong)
        refusal(strange, *APPLY)
    for wrong in ("*", f"*:{port}", "http://"):
        monkeypatch.setenv("INCARTS_TRUSTED_HOSTS", wrong)
        code, _, err = strange(*APPLY)
        assert (code, "trusted_hosts (INCARTS_TRUSTED_HOSTS)" in err) == (1, True)
    assert box.requests() == []
    monkeypatch.setenv("INCARTS_TRUSTED_HOSTS", f"a.example, 127.0.0.1:{port}")
    assert "by INCARTS_TRUSTED_HOSTS" in strange("doctor")[1]
    assert strange(*APPLY)[0] == 0


def test_trust_is_said_listed_and_withdrawn(
    strange: Shell, monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    """`incarts trust` keeps the word outside of the project, for one key, until it is withdrawn."""
    host = box.base_url.removeprefix("http://")
    assert "no key was given" in strange("trust")[1]
    assert strange("trust", host)[0] == 0
    assert f"is for {box.base_url}" in strange("trust")[1]
    assert strange(*APPLY)[0] == 0
    kept = [path.read_text() for path in Path(f"{Path.cwd()}-state").rglob("*") if path.is_file()]
    assert kept
    assert not [text for text in kept if box.api_key in text]
    with monkeypatch.context() as another:
        another.setenv("INCARTS_API_KEY", "ic_live_of_somebody_else")
        refusal(strange, *APPLY)
    assert strange("trust", host, "--withdraw")[0] == 0
    assert json.loads(strange("trust", "--json")[1])["hosts"][0]["withdrawn"] is True
    refusal(strange, *APPLY)  # though its ledger speaks for it
    assert strange("trust", host)[0] == 0
    assert strange(*APPLY)[0] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("trust", "--withdraw"), "--withdraw needs the host"),
        (("trust", "*.example"), "more than one host"),
        (("trust", "http://api.example"), "use https"),
        (("trust", "https://аpi.example"), "written in ASCII: xn--pi-6kc.example"),
    ],
)
def test_what_cannot_be_trusted(shell: Shell, given: tuple[str, ...], message: str) -> None:
    """A pattern, plain http and a lookalike are refused."""
    code, _, err = shell(*given)
    assert code in (1, 2)
    assert message in err


def test_trust_needs_a_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key there is nothing that the host could be for."""
    monkeypatch.delenv("INCARTS_API_KEY")
    code, _, err = shell("trust", "api.example.com")
    assert (code, "Not set: INCARTS_API_KEY" in err) == (1, True)


@pytest.mark.parametrize("answer", ["y\n", "n\n", "\n", ""])
def test_a_person_is_asked(
    strange: Shell, box: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """In a terminal the command asks, with host and key's fingerprint, and keeps a yes."""
    monkeypatch.setattr(sys, "stdin", answering(answer))
    code, _, err = strange("verify", "--target", "prod")
    assert "is for that host" in err
    assert f"for {box.base_url}? [y/N]" in err
    kept = json.loads(strange("trust", "--json")[1])["hosts"]
    if answer == "y\n":
        assert kept[0]["host"] == box.base_url
        assert "nobody has said" not in err.partition("[y/N]")[2]
    else:
        assert (code, kept, box.requests()) == (1, [], [])


@pytest.mark.parametrize("option", ["--yes", "--json"])
def test_yes_is_no_answer_to_that(
    strange: Shell, monkeypatch: pytest.MonkeyPatch, option: str, box: Sandbox
) -> None:
    """`--yes` and `--json` keep a command from asking, and the key from leaving."""
    monkeypatch.setattr(sys, "stdin", answering("y\ny\n"))
    assert strange(*APPLY, option)[0] == 1
    assert box.requests() == []


OWN_ONLY = {
    "api_key_file": "INCARTS_API_KEY_FILE",
    "api_key_command": "INCARTS_API_KEY_COMMAND",
    "api_key_keyring": "INCARTS_API_KEY_KEYRING",
    "trusted_hosts": "INCARTS_TRUSTED_HOSTS",
    "require_signature": "INCARTS_REQUIRE_SIGNATURE",
}


@pytest.mark.parametrize("name", [*OWN_ONLY, *OWN_ONLY.values()])
@pytest.mark.parametrize("table", ["", "[targets.prod]\n", "[targets.other]\n"])
def test_a_project_names_neither_keys_nor_hosts(
    strange: Shell, box: Sandbox, name: str, table: str
) -> None:
    """A file in the working folder that would choose the key is refused, and says where it goes."""
    Path("word").write_text("any-one-word-file")
    Path("word").chmod(0o600)
    value = f"touch {Path('ran').absolute()}" if "ommand" in name.lower() else "word"
    Path("incarts.toml").write_text(f'base_url = "{box.base_url}"\n{table}{name} = "{value}"\n')
    for command in (("doctor",), APPLY, ("status",)):
        code, out, err = strange(*command, "--target", "prod") if table else strange(*command)
        assert code == 1
        told = " ".join((out + err).split())
        assert "which only a person says" in told
        assert f"export {OWN_ONLY.get(name, name)}, or write it into" in told
    assert box.requests() == []
    assert not Path("ran").exists()


def test_the_own_settings_file(
    strange: Shell, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person's own file names key and hosts by target, and nobody else may write to it."""
    monkeypatch.delenv("INCARTS_API_KEY")
    Path("key").write_text(box.api_key)
    Path("key").chmod(0o600)
    own_file().parent.mkdir(parents=True)
    own_file().write_text(
        f'[targets.prod]\napi_key_file = "{Path("key").absolute()}"\nbase_url = "{box.base_url}"\n'
    )
    own_file().chmod(0o600)
    code, out, _ = strange("doctor", "--target", "prod", "--json")
    told = json.loads(out)
    assert code == 0
    assert "(mode 0600)" in {row["check"]: row["message"] for row in told["checks"]}["key"]
    sources = {row["setting"]: row["source"] for row in told["settings"]}
    assert sources["api_key_file"] == f"{own_file()} [targets.prod]"
    assert sources["base_url"] == "incarts.toml [targets.prod]"
    assert sources["project_id"] == "INCARTS_PROJECT_ID"
    assert "Not set: INCARTS_API_KEY" in strange("doctor")[1]
    own_file().chmod(0o620)
    assert "Others may write to" in strange("doctor", "--target", "prod")[1]


def test_the_doctor_sends_nothing_to_a_host_of_another_ledger(
    shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that the person names, but the ledger isn't bound to, gets no key from the doctor."""
    assert shell(*APPLY)[0] == 0
    with Sandbox() as other:
        monkeypatch.setenv("INCARTS_API_BASE_URL", other.base_url)
        code, out, _ = shell("doctor")
        assert code == 1
        assert "ledger: not ok" in out
        assert "api: not checked  the key was not sent anywhere" in out
        assert other.requests() == []


def test_the_doctor_says_where_all_comes_from(shell: Shell, box: Sandbox) -> None:
    """Each setting that isn't a default stands with its source, the key by its fingerprint."""
    Path("incarts.toml").write_text('max_rps = 7\n[targets.prod]\nledger = "prod.db"\n')
    code, out, _ = shell("doctor", "--target", "prod", "--json")
    found = {row["setting"]: (row["value"], row["source"]) for row in json.loads(out)["settings"]}
    assert code == 0
    assert found["max_rps"] == ("7.0", "incarts.toml")
    assert found["ledger"] == ("prod.db", "incarts.toml [targets.prod]")
    assert found["base_url"] == (box.base_url, "INCARTS_API_BASE_URL")
    assert found["api_key"][1] == "INCARTS_API_KEY"
    assert box.api_key not in out
    assert "prod.db" in shell("doctor", "--target", "prod")[1]


def test_a_settings_file_up_the_tree_is_nobodys(
    strange: Shell, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the working folder's own file is read, and none of its settings is a proxy."""
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert "Not set: INCARTS_API_BASE_URL" in strange("doctor")[1]
    for name in ("https_proxy", "proxy", "ssl_cert_file", "verify"):
        Path("incarts.toml").write_text(f'{name} = "x"\n')
        assert f"unknown setting '{name}'" in strange("doctor")[1]
    assert box.requests() == []
