"""Trusted hosts: whose word counts, in Python and in Dagster, and what is kept of it."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from incarts_pipeline.api import client_of
from incarts_pipeline.dagster import IncartsResource
from incarts_pipeline.dataframes import create_qr_codes, plan_links, write_links
from incarts_pipeline.errors import SettingsError, UntrustedHostError
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import (
    keep_trusted,
    kept_hosts,
    load_settings,
    own_file,
    trusted_host,
    withdraw,
)
from tests.support.runs import products

KEY = "ic_live_" + "0123456789abcdef"
URL = "https://api.incarts.example"


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder whose settings file names the host, with the key in the environment."""
    Path("incarts.toml").write_text(f'base_url = "{URL}"\nproject_id = "p"\n')
    monkeypatch.setenv("INCARTS_API_KEY", KEY)


def test_a_projects_file_is_nobodys_word() -> None:
    """Neither for calls nor for a client nor for whatever else is made of the settings."""
    settings = load_settings()
    for door in (settings.for_calls, settings.for_client, settings.trusted_by):
        with pytest.raises(UntrustedHostError) as caught:
            door()
        assert caught.value.host == URL
        assert caught.value.guard == "untrusted_host"
        assert "type `incarts trust api.incarts.example`" in str(caught.value)
        assert KEY not in str(vars(caught.value))
    with pytest.raises(UntrustedHostError):
        client_of(settings)
    with pytest.raises(UntrustedHostError):
        client_of(pickle.loads(pickle.dumps(settings)))
    with pytest.raises(UntrustedHostError):
        client_of(load_settings(file=Path("incarts.toml")))
    assert settings.for_planning().base_url == settings.for_ledger().base_url == URL


def test_what_code_and_environment_name_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL in an argument or variable is the person's, also beside a project's file."""
    assert load_settings(base_url=URL).trusted_by() == "an option or argument"
    assert load_settings().model_copy(update={"base_url": "https://b.example"}).for_calls()
    monkeypatch.setenv("INCARTS_API_BASE_URL", "https://c.example")
    assert load_settings().trusted_by() == "INCARTS_API_BASE_URL"


def test_a_word_is_remembered_for_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a variable named once counts later, for this key and host, in any spelling of it."""
    with monkeypatch.context() as given:
        given.setenv("INCARTS_API_BASE_URL", URL)
        load_settings().for_calls()
    assert load_settings().trusted_by() == "incarts trust"
    Path("incarts.toml").write_text('base_url = "https://API.incarts.example.:443/v2"\n')
    assert load_settings().trusted_by() == "incarts trust"
    for other in ("https://api.incarts.example:8443", "https://incarts.example"):
        Path("incarts.toml").write_text(f'base_url = "{other}"\n')
        with pytest.raises(UntrustedHostError):
            load_settings().for_client()
    Path("incarts.toml").write_text(f'base_url = "{URL}"\n')
    monkeypatch.setenv("INCARTS_API_KEY", KEY + "0")
    with pytest.raises(UntrustedHostError):
        load_settings().for_client()


def test_a_port_of_this_machine_is_not_remembered() -> None:
    """It belongs to another program tomorrow; only who says so keeps it."""
    local = "http://127.0.0.1:8000"
    assert load_settings(base_url=local).trusted_by()
    assert kept_hosts() == []
    Path("incarts.toml").write_text(f'base_url = "{local}"\n')
    with pytest.raises(UntrustedHostError, match="incarts trust http://127"):
        load_settings().for_client()
    keep_trusted(trusted_host(SecretStr(KEY), local))
    assert load_settings().for_client()


def test_what_is_kept_is_a_proof() -> None:
    """A word that somebody without the key wrote down counts for nothing; nor does damage."""
    given = trusted_host(SecretStr(KEY), URL)
    forged = trusted_host(SecretStr("a-strangers-own-key"), URL)
    keep_trusted(given)
    (file,) = Path(f"{Path.cwd()}-state").rglob("hosts/*.json")
    assert KEY not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for content in (
        file.read_text().replace(given.proof, forged.proof),
        file.read_text().replace(given.proof, "ü"),
        file.read_text().replace(URL, "https://evil.example"),
        "{",
        "",
    ):
        file.write_text(content)
        with pytest.raises(UntrustedHostError):
            load_settings().for_client()
    keep_trusted(given)
    assert load_settings().for_client()


def test_what_was_withdrawn_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts no more, for any key of the host, until somebody says it again."""
    other = trusted_host(SecretStr(KEY + "0"), URL)
    keep_trusted(other)
    keep_trusted(trusted_host(SecretStr(KEY), URL))
    assert len(withdraw(URL, SecretStr(KEY))) == 2
    with pytest.raises(UntrustedHostError):
        load_settings().for_client()
    with monkeypatch.context() as given:
        given.setenv("INCARTS_API_BASE_URL", URL)
        assert load_settings().for_client()
    with pytest.raises(UntrustedHostError):
        load_settings().for_client()
    keep_trusted(trusted_host(SecretStr(KEY), URL))
    assert load_settings().for_client()


def test_a_state_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word counts also where it can't be remembered."""
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").absolute()))
    assert load_settings(base_url=URL).for_client()
    assert kept_hosts() == []


def test_the_own_file_is_a_word() -> None:
    """A base URL or trusted host in the person's own file counts, whoever else names it."""
    own_file().parent.mkdir(parents=True)
    for text in (f'base_url = "{URL}"', 'trusted_hosts = "api.incarts.example"'):
        own_file().write_text(text)
        own_file().chmod(0o600)
        assert load_settings().for_client()
    own_file().write_text('base_url = "https://other.example"')
    with pytest.raises(UntrustedHostError):
        load_settings().for_client()
    Path("incarts.toml").unlink()
    assert load_settings().base_url == "https://other.example"


def test_targets_are_found_in_both_files() -> None:
    """A target may be in either file, or in both; the project's values win."""
    own_file().parent.mkdir(parents=True)
    own_file().write_text("max_rps = 1\n[targets.a]\nmax_rps = 2\nread_timeout = 3\n[targets.c]\n")
    own_file().chmod(0o600)
    Path("incarts.toml").write_text("[targets.a]\nmax_rps = 4\n[targets.b]\n")
    found = load_settings(target="a")
    assert (found.max_rps, found.read_timeout) == (4, 3)
    assert load_settings(target="b").max_rps == 1
    assert load_settings(target="c").max_rps == 1
    with pytest.raises(SettingsError, match="has no target 'd'"):
        load_settings(target="d")


def test_the_own_file_in_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who works in the folder of the own file has one file, and it is the own one."""
    own_file().parent.mkdir(parents=True)
    own_file().write_text(f'base_url = "{URL}"\napi_key_command = "echo x"\n')
    own_file().chmod(0o600)
    monkeypatch.chdir(own_file().parent)
    assert load_settings().for_client()


def test_an_own_file_of_somebody_elses() -> None:
    """A file that another user owns is nobody's own."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    own_file().parent.mkdir(parents=True)
    own_file().write_text("")
    own_file().chmod(0o600)
    os.chown(own_file(), 12345, 12345)
    with pytest.raises(SettingsError, match="Others may write to"):
        load_settings()


@pytest.fixture
def local(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox that the project's file alone names."""
    Path("incarts.toml").write_text(
        f'base_url = "{box.base_url}"\nproject_id = "{box.project_id}"\nrate = "fixed:none"\n'
    )
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    return box


def test_frames(local: Sandbox) -> None:
    """Python's ways in refuse before anything is sent, and go on once the code says the host."""
    given = {"link_set": "s", "unique_key": ["sku"]}
    with plan_links(products(2), **given) as plan, pytest.raises(UntrustedHostError):
        write_links(plan)
    with pytest.raises(UntrustedHostError):
        write_links(products(2), **given)
    with pytest.raises(UntrustedHostError):
        create_qr_codes(products(2), identifiers=["shelf"])
    assert local.requests() == []
    settings = load_settings(base_url=local.base_url)
    assert write_links(products(2), settings=settings, progress=False, **given)
    # From now on the ledger speaks.
    assert write_links(products(3), progress=False, **given)
    assert local.audit().links == 3


def test_dagster(local: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource refuses a host of the project's file, and takes one that it was given."""
    key = dg.EnvVar("INCARTS_API_KEY")
    resource = IncartsResource(api_key=key).process_config_and_initialize()
    with pytest.raises(UntrustedHostError):
        resource.client()
    given = IncartsResource(api_key=key, base_url=local.base_url).process_config_and_initialize()
    assert given.settings().trusted_by() == "an option or argument"
    monkeypatch.setenv("INCARTS_TRUSTED_HOSTS", local.base_url)
    assert resource.settings().trusted_by() == "INCARTS_TRUSTED_HOSTS"
