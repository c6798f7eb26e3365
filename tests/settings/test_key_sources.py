"""Key sources: files that nobody else may read, commands, keyrings; and that none shows a key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from incarts_pipeline.errors import MissingExtraError, SettingsError
from incarts_pipeline.installation import install_line
from incarts_pipeline.settings import Settings, key_sources, load_settings
from incarts_pipeline.settings.key_sources import is_open_to_others

KEY = "ic_live_" + "0123456789abcdef"


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """Let no test know what another one's command has said."""
    yield
    key_sources._asked.cache_clear()
    key_sources._looked_up.cache_clear()


def key_of(settings: Settings) -> str:
    """Return the settings' key."""
    key = settings.known_key()
    assert key is not None
    return key.get_secret_value()


def command(code: str) -> str:
    """Return a command that runs a program of Python's."""
    Path("helper.py").write_text(code)
    return f"{sys.executable} {Path('helper.py').absolute()}"


# Files.


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640, 0o604, 0o660, 0o622, 0o444])
def test_key_files_of_others_are_refused(mode: int) -> None:
    """A file of ours that anybody else may read or write is refused, with what to type."""
    Path("my key").write_text(KEY)
    Path("my key").chmod(mode)
    with pytest.raises(SettingsError) as caught:
        load_settings(api_key_file=Path("my key"))
    assert f"(mode {mode:04o}); type `chmod 600 'my key'`" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_key_files_of_ours_alone_are_read(mode: int) -> None:
    """A file that is ours alone is read, through a symbolic link as well."""
    Path("key").write_text(KEY)
    Path("key").chmod(mode)
    Path("link").symlink_to("key")
    assert key_of(load_settings(api_key_file=Path("link"))) == KEY


def test_a_link_to_an_open_file_is_refused() -> None:
    """It is the file's own mode that counts."""
    Path("key").write_text(KEY)
    Path("key").chmod(0o644)
    Path("link").symlink_to("key")
    with pytest.raises(SettingsError, match="others may read link"):
        load_settings(api_key_file=Path("link"))


@pytest.mark.parametrize(
    ("mode", "is_ours", "is_open"),
    [
        (0o440, False, False),  # root's, for our group: fsGroup, systemd
        (0o640, False, False),
        (0o444, False, True),
        (0o640, True, True),
        (0o600, True, False),
    ],
)
def test_a_group_is_how_others_give_us_a_file(mode: int, is_ours: bool, is_open: bool) -> None:
    """What is somebody else's may be readable for a group, by which we may read it."""
    assert is_open_to_others(mode, is_ours=is_ours) is is_open


def test_mounted_secrets_go_on_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a runtime mounts is read at 0444: root's in the folder for it, or mounted read-only."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that is root's")
    file = tmp_path / "..data" / "key"
    file.parent.mkdir()
    file.write_text(KEY)
    file.chmod(0o444)
    (tmp_path / "key").symlink_to("..data/key")
    with pytest.raises(SettingsError, match="others may read"):
        load_settings(api_key_file=tmp_path / "key")
    monkeypatch.setattr(key_sources, "_MOUNTED", tmp_path)
    assert key_of(load_settings(api_key_file=tmp_path / "key")) == KEY
    os.chown(file, 12345, 12345)
    with pytest.raises(SettingsError, match="others may read"):
        load_settings(api_key_file=tmp_path / "key")


MOUNTS = """
import pathlib, subprocess
from incarts_pipeline.errors import SettingsError
from incarts_pipeline.settings import load_settings

file = pathlib.Path("mount/key")
subprocess.run(["mount", "-t", "tmpfs", "none", "mount"], check=True)
file.write_text("ic_live_0123456789abcdef")
file.chmod(0o444)
for more in ("rw", "ro"):
    subprocess.run(["mount", "-o", f"remount,{more}", "mount"], check=True)
    try:
        print(more, "read", len(load_settings(api_key_file=file).known_key()))
    except SettingsError as error:
        print(more, "refused", "others may read" in str(error))
"""


def test_a_read_only_mount_is_a_secret_of_the_container() -> None:
    """At 0444 it is refused on a mount that we could write to, and read on one that we can't."""
    own = ["unshare", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*own, "true"], check=False).returncode:
        pytest.skip("this system lets nobody have mounts of his own")
    Path("mount").mkdir()
    ran = subprocess.run(
        [*own, sys.executable, "-c", MOUNTS], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n") == ["rw refused True", "ro read 24", ""]


def test_a_pipe_has_no_mode_to_speak_of() -> None:
    """A key that a shell hands over through a pipe is read."""
    reading, writing = os.pipe()
    os.write(writing, KEY.encode())
    os.close(writing)
    assert key_of(load_settings(api_key_file=Path(f"/dev/fd/{reading}"))) == KEY
    os.close(reading)


# Commands.


def test_a_command_prints_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked only when the key is needed, and once in a process."""
    log = Path("asked").absolute()
    text = f"open({str(log)!r}, 'a').write('x'); print({KEY!r})"
    monkeypatch.setenv("INCARTS_API_KEY_COMMAND", command(text))
    settings = load_settings(base_url="https://api.example.com", project_id="p")
    assert not log.exists()
    assert settings.for_calls().api_key.get_secret_value() == KEY
    assert key_of(load_settings()) == KEY
    assert log.read_text() == "x"
    assert KEY not in repr(settings) + str(settings.model_dump())


def test_a_command_gets_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has neither our environment nor our standard input nor our folder, and no shell."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("GNUPGHOME", "/gpg")
    text = (
        "import os, sys; assert sys.stdin.read() == '' and os.getcwd() == os.path.expanduser('~');"
        "print(sys.argv[1] + '-' + os.environ['GNUPGHOME']"
        " + ','.join(n for n in os.environ if n.startswith(('AWS', 'INCARTS'))))"
    )
    given = command(text) + " '$HOME;id|'"
    assert key_of(load_settings(api_key_command=given)) == "$HOME;id|-/gpg"


TOKEN = "hvs4CAESIJ7pQ9rT2xw"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(3)", "failed with exit code 3."),
        (
            f"import sys; print({KEY!r}); sys.exit('no login for {KEY}')",
            "failed with exit code 1: no login for [secret].",
        ),
        (
            f"import sys; sys.exit('token {TOKEN} has expired, see /etc/vault1.d/config2.hcl')",
            "1: token … has expired, see /etc/vault1.d/config2.hcl.",
        ),
        (
            "import sys; print('Ab-unshaped-key-1'); sys.exit('bad \\x1b[2J Ab-unshaped-key-1')",
            "1: bad \\x1b[2J [secret].",
        ),
        ("print()", "must be one word"),
        ("print('two words')", "must be one word"),
        ("print('x' * 20_000)", "prints more than 16,384 bytes"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "prints what is no text"),
    ],
)
def test_commands_that_fail(code: str, message: str) -> None:
    """What went wrong is told in one line, without what may be a key."""
    with pytest.raises(SettingsError) as caught:
        load_settings(api_key_command=command(code)).known_key()
    assert message in str(caught.value)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = "".join(str(one.locals) for one in told.stack if one.filename != __file__)
    assert not [one for one in (KEY, "Ab-unshaped-key-1", TOKEN) if one in str(caught.value)]
    assert not [one for one in (KEY, "Ab-unshaped-key-1") if one in frames]


def test_a_talkative_command_is_no_matter() -> None:
    """Megabytes of complaints neither stop it nor fill the memory."""
    text = f"import sys; sys.stderr.write('x' * 3_000_000); print({KEY!r})"
    assert key_of(load_settings(api_key_command=command(text))) == KEY


def test_a_command_has_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs is ended with all that it started."""
    monkeypatch.setattr(key_sources, "_SECONDS", 0.5)
    text = (
        "import os, pathlib, subprocess, time; p = subprocess.Popen(['sleep', '600']);"
        f"pathlib.Path({str(Path('pid').absolute())!r}).write_text(str(p.pid)); time.sleep(600)"
    )
    settings = load_settings(api_key_command=command(text))
    with pytest.raises(SettingsError, match="has not answered within"):
        settings.known_key()
    if Path("pid").exists():  # on a machine that isn't too busy
        status = Path(f"/proc/{Path('pid').read_text()}/stat")
        assert not status.exists() or " Z " in status.read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("./key.sh", "is in no fixed place"),
        ("bin/key.sh x", "is in no fixed place"),
        ("no-such-program x", "there is no program 'no-such-program'"),
        ("/no/such/program", "can't be run: No such file"),
        ("'", "it is no command"),
        (" ", "it is no command"),
    ],
)
def test_commands_that_are_none(given: str, message: str) -> None:
    """What would be whatever lies in the working folder is not run, as what isn't there."""
    Path("key.sh").write_text(f"#!/bin/sh\necho {KEY}\n")
    Path("key.sh").chmod(0o700)
    with pytest.raises(SettingsError, match=message):
        load_settings(api_key_command=given).known_key()


def test_a_path_with_the_working_folder_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that PATH finds in the working folder is not run either."""
    Path("key.sh").write_text(f"#!/bin/sh\necho {KEY}\n")
    Path("key.sh").chmod(0o700)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    with pytest.raises(SettingsError, match="is in no fixed place"):
        load_settings(api_key_command="key.sh").known_key()


@pytest.mark.parametrize("place", ["key.sh", "bin/key.sh", "elsewhere"])
def test_a_whole_path_into_the_working_folder(
    place: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH leads there by a whole path or a link: only who names the whole path means it."""
    program = Path("bin/key.sh" if place == "elsewhere" else place).absolute()
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho {KEY}\n")
    program.chmod(0o700)
    folder = program.parent
    if place == "elsewhere":
        folder = tmp_path_factory.mktemp("elsewhere")
        (folder / "key.sh").symlink_to(program)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with pytest.raises(SettingsError, match="in the working folder"):
        load_settings(api_key_command="key.sh").known_key()
    assert key_of(load_settings(api_key_command=str(program))) == KEY


# Keyrings.


def test_the_keyring_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service and user lead to the key; what isn't there is told with how to put it there."""
    keyring = pytest.importorskip("keyring")

    class Kept(keyring.backend.KeyringBackend):  # type: ignore[name-defined,misc]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return {("incarts", "prod"): KEY, ("incarts", "api_key"): KEY[::-1]}.get(
                (service, username)
            )

        def set_password(self, service: str, username: str, password: str) -> None: ...
        def delete_password(self, service: str, username: str) -> None: ...

    before = keyring.get_keyring()
    keyring.set_keyring(Kept())
    try:
        monkeypatch.setenv("INCARTS_API_KEY_KEYRING", "incarts:prod")
        assert key_of(load_settings()) == KEY
        assert key_of(load_settings(api_key_keyring="incarts")) == KEY[::-1]
        with pytest.raises(SettingsError, match="`keyring set other you`"):
            load_settings(api_key_keyring="other:you").known_key()
    finally:
        keyring.set_keyring(before)


def test_a_keyring_that_cannot_be_opened() -> None:
    """A machine without one says so."""
    keyring = pytest.importorskip("keyring")
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        with pytest.raises(SettingsError, match="can't be asked"):
            load_settings(api_key_keyring="incarts").known_key()
    finally:
        keyring.set_keyring(before)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, the error is the command that installs it."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("keyring"))):
        load_settings(api_key_keyring="incarts").known_key()


@pytest.mark.parametrize(
    "token",
    [
        "hvs.CAESIJ2Qm8Vv1fXk9TqLr4s8WcZb3N",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE1KEY",
        "/JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPL1KEY",
        "K7MD/aRq9/ENGb/PxR",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "-CAESIJ2Qm8Vv1fXk9TqLr4s",
        "/v1/CAESIJ2Qm8Vv1fXk9TqLr4s",
        "token=s.CAESIJ2Qm8Vv1fXk9TqLr4s",
    ],
)
def test_a_token_of_any_kind_is_kept_back(token: str) -> None:
    """What stands around or within a token makes it no path; options and paths are told."""
    kept = "in /etc/vault1.d/config2.hcl for --use-oauth2-credentials"
    with pytest.raises(SettingsError) as caught:
        load_settings(api_key_command=command(f"exit('{token} {kept}')")).known_key()
    told = str(caught.value)
    assert kept in told
    assert not any(part in told for part in re.split("[/.]", token) if len(part) > 5)
