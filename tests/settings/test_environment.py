"""Files that variables of the system name: a wrong one is told by the variable and the path."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from incarts_pipeline.api.proxy import proxy_for
from incarts_pipeline.api.transport import make_transport
from incarts_pipeline.errors import IncartsError, MachineError, SettingsError, told_in
from incarts_pipeline.settings import Settings
from incarts_pipeline.text import Surface

SETTINGS = {
    "INCARTS_API_BASE_URL": "https://api.example",
    "INCARTS_API_KEY": "a-key-of-tests",
    "INCARTS_PROJECT_ID": "p",
}


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TMPDIR"])
@pytest.mark.parametrize("kind", ["missing", "other", "garbage"])
def test_the_variable_and_its_file_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    """Missing, of the wrong kind, or without certificates: before anything is sent."""
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("no certificate")
    folder.mkdir()
    wants_folder = name in ("SSL_CERT_DIR", "TMPDIR")
    places = {"missing": tmp_path / "none", "other": file if wants_folder else folder}
    place = places.get(kind, folder if wants_folder else file)
    # A folder without certificates is one to which some may be added.
    if (kind == "garbage" and wants_folder) or (kind == "other" and name == "REQUESTS_CA_BUNDLE"):
        return
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, str(place))
    settings = Settings(**SETTINGS)
    checks: dict[bool, Callable[[], object]] = {
        name == "TMPDIR": settings.for_planning,
        kind == "garbage": lambda: make_transport("https://api.example", 1),
    }
    with pytest.raises(SettingsError, match=f"^{name} names {place}, which .* Nothing was sent"):
        checks.get(True, settings.for_calls)()


@pytest.mark.parametrize(
    "proxy", ["http://", "http://u:secret@proxy:port", "http://proxy:99999", "socks5://proxy:1"]
)
def test_a_proxy_that_can_be_none_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """The variable is told, not what it holds."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(SettingsError, match="HTTPS_PROXY names it") as caught:
        proxy_for("https://api.example")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("surface", list(Surface))
@pytest.mark.parametrize(
    "code", [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOSPC, errno.EMFILE, errno.EIO]
)
def test_errors_of_the_system_are_ours_and_name_their_file(surface: Surface, code: int) -> None:
    """Whatever is refused, and wherever, the file is told and what to do."""
    with pytest.raises(MachineError) as caught, told_in(surface):
        raise OSError(code, os.strerror(code), "/data/links.parquet")
    assert caught.value.message == f"/data/links.parquet: {os.strerror(code)}."
    assert caught.value.fix
    assert isinstance(caught.value, IncartsError)


@pytest.mark.parametrize("error", [OSError(), OSError("odd"), MemoryError(), TimeoutError()])
def test_errors_without_a_file_are_ours_too(error: Exception) -> None:
    """They say at least what the system said."""
    with pytest.raises(MachineError), told_in(Surface.PYTHON):
        raise error
