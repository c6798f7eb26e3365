"""Key sources: a file that nobody else may read, a command, the system's keyring."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO

from pydantic import SecretStr

from incarts_pipeline.errors import MissingExtraError, SettingsError
from incarts_pipeline.installation import install_line
from incarts_pipeline.outgoing import (
    MASK,
    SecretBytes,
    SecretKey,
    SecretText,
    environment_of_helper,
    shown,
)
from incarts_pipeline.settings.api_key import stripped_key
from incarts_pipeline.small_files import TooLargeError
from incarts_pipeline.system import at_home, home_folder, kill_all

_BYTES = 16 * 1024
_SECONDS = 60.0  # some ask a person for a fingerprint or a touch
_SAID = 200  # characters of what a command complains about; the end says most
_MOUNTED = Path("/run/secrets")  # where containers have what their runtime gives them
_USER = "api_key"
_AWS = 40  # characters of a secret of AWS, which may begin with a slash

# Words of a complaint; a path, or the name of an option, is told as it is.
_WORD = re.compile(r"[\w+=~/-]+(?:\.+[\w+=~/-]+)*")
_PATH = re.compile(r"(?:~|\.{1,2})?/")
_OPTION = re.compile(r"--?[a-z][a-z0-9]{0,14}(?:-[a-z0-9]{1,15})*")
_MIXED = r"(?=[^/.]*\d)(?=[^/.]*[A-Za-z])"
_TOKEN = re.compile(rf"{_MIXED}[\w+=~-]{{16,}}")
# A slash in a token of base64, as AWS has them, makes no path of it.
_BASE64 = re.compile(r"(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[\w+=/-]{16,}")

_asking = Lock()  # a person is not asked twice because two threads came at once


def key_of_file(file: Path) -> SecretKey:
    """Return the key that a file holds, with white space around it perhaps.

    Raises:
        OSError: it can't be read.
        ValueError: others may read or write it, or it holds something else; says what to do.
    """
    if "\0" in str(file):
        raise ValueError(f"{file} has a NUL in it, as no file's name")
    with at_home(file).open("rb") as opened:
        check_private(opened, file)
        content = SecretBytes(opened.read(_BYTES + 1))
    if len(content) > _BYTES:
        raise ValueError(f"{file} must hold the API key and nothing else: {TooLargeError(_BYTES)}")
    problem = ""
    try:
        return stripped_key(SecretStr(content.decode()))
    except UnicodeDecodeError:
        pass
    except ValueError as error:
        problem = f": {error}"
    raise ValueError(f"{file} must hold the API key and nothing else{problem}")


def check_private(opened: IO[bytes], file: Path) -> None:
    """Refuse a key's file that others may read, unless a container's runtime mounted it.

    Raises:
        ValueError: as said, with what to type.
    """
    found = os.fstat(opened.fileno())
    if os.name != "posix" or not stat.S_ISREG(found.st_mode):
        return
    mode = stat.S_IMODE(found.st_mode)
    if is_open_to_others(mode, is_ours=found.st_uid == os.geteuid()) and not _is_mounted(
        opened.fileno(), found, file
    ):
        raise ValueError(
            f"others may read {file} (mode {mode:04o}); type `chmod 600 {shlex.quote(str(file))}`, "
            "and have the key replaced if others had access"
        )


def is_open_to_others(mode: int, *, is_ours: bool) -> bool:
    """Say whether others may read or write a file of this mode.

    The group of a file that is somebody else's is how it is given to us: of those, only what
    everybody may do counts.
    """
    return bool(mode & (0o066 if is_ours else 0o006))


def _is_mounted(descriptor: int, found: os.stat_result, file: Path) -> bool:
    """Say whether a file is a secret that a container's runtime mounted for it.

    Their modes are often 0444 or 0644, and can't be changed; who is in the container may read
    them, and nobody else. Kubernetes and Docker mount them read-only; Podman doesn't, but always
    where only root can have put them.
    """
    read_only = bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
    if read_only and found.st_dev != Path("/").stat().st_dev:
        return True
    return found.st_uid == 0 and _MOUNTED.resolve() in at_home(file).resolve().parents


def key_of_command(command: str) -> SecretKey:
    """Return what a command prints, asked once in this process.

    It runs without a shell, in the user's home folder and without our environment, has nothing on
    its standard input, a minute, and 16 KiB to print.

    Raises:
        SettingsError: it fails, or prints no key; nothing of what it printed is in the message.
    """
    with _asking:
        return _asked(command)


@cache
def _asked(command: str) -> SecretKey:
    arguments = _arguments(command)
    problem = ""
    try:
        printed = _printed(arguments)
        return stripped_key(SecretStr(printed.decode()))
    except UnicodeDecodeError:
        problem = "prints what is no text"
    except OSError as error:
        problem = f"can't be run: {error.strerror}"
    except ValueError as error:
        problem = str(error)
    raise _failed(f"{arguments[0]} {problem}.", "print the key alone, on its standard output")


def _arguments(command: str) -> list[str]:
    try:
        named, *others = shlex.split(command)
    except ValueError:  # no closing quote, or nothing at all
        raise _failed("it is no command.", "be a program with its arguments") from None
    found = str(at_home(named)) if "/" in named else shutil.which(named)
    if found is None:
        raise _failed(f"there is no program {named!r}.", "name one in PATH")
    # A relative one would be whatever lies in the working folder.
    if not Path(found).is_absolute():
        raise _failed(f"{named!r} is in no fixed place.", "begin with the whole path")
    if "/" not in named and _is_in_working_folder(Path(found)):
        raise _failed(f"{named!r} is {found}, in the working folder.", "begin with the whole path")
    return [found, *others]


def _is_in_working_folder(program: Path) -> bool:
    """Say whether a program, or the link to it, lies in or below the working folder."""
    working = Path.cwd().resolve()
    folder = program.parent.resolve()
    return folder.is_relative_to(working) or program.resolve().is_relative_to(working)


def _printed(arguments: list[str]) -> SecretBytes:
    process = subprocess.Popen(  # noqa: S603 - what the person's own settings name
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_of_helper(),
        cwd=home_folder(),
        start_new_session=True,
    )
    try:
        with ThreadPoolExecutor(2) as readers, _ended(process):
            out = readers.submit(_begin, process.stdout)
            err = readers.submit(_end, process.stderr)
            printed = out.result(_SECONDS)
            if len(printed) > _BYTES:
                raise ValueError(f"prints more than {_BYTES:,} bytes")
            said, code = err.result(_SECONDS), process.wait(_SECONDS)
    except (TimeoutError, subprocess.TimeoutExpired):
        raise ValueError(f"has not answered within {_SECONDS:.0f} seconds") from None
    if code:
        raise ValueError(f"failed with exit code {code}{_complaint(printed, said)}")
    return printed


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave nothing of a command behind, whatever it has started; then its pipes end, too."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError, PermissionError):
            kill_all(process)
        process.wait()


def _begin(pipe: IO[bytes] | None) -> SecretBytes:
    with pipe or BytesIO() as opened:
        return SecretBytes(opened.read(_BYTES + 1))


def _end(pipe: IO[bytes] | None) -> SecretBytes:
    """Return the end of what a pipe has, which is read to its end so that nobody waits."""
    last = b""
    with pipe or BytesIO() as opened:
        while part := opened.read(_BYTES):
            last = (last + part)[-_BYTES:]
    return SecretBytes(last)


def _complaint(printed: SecretBytes, said: SecretBytes) -> str:
    """Return what a command says on standard error, without what may be the key or a token."""
    lines = said.decode(errors="replace").strip().splitlines()
    if not lines:
        return ""
    told = lines[-1]
    for word in printed.decode(errors="replace").split():
        told = told.replace(word, MASK)
    return f": {_WORD.sub(_without_token, shown(told))[-_SAID:]}"


def _without_token(found: re.Match[str]) -> str:
    word = found[0]
    if _OPTION.fullmatch(word):
        return word
    if _PATH.match(word) and not (len(word) == _AWS and _BASE64.fullmatch(word)):
        return _TOKEN.sub("…", word)
    return "…" if _TOKEN.search(word) or _BASE64.fullmatch(word) else word


def _failed(problem: str, wanted: str) -> SettingsError:
    return SettingsError(
        f"INCARTS_API_KEY_COMMAND: {problem}",
        fix=f"It must {wanted}; it runs without a shell, in your home folder.",
    )


def key_of_keyring(entry: str) -> SecretKey:
    """Return the key that the system's keyring has, asked once in this process.

    Args:
        entry: the service, and behind a colon the user; `incarts` is `incarts:api_key`.

    Raises:
        SettingsError: there is none, or the keyring can't be opened.
        MissingExtraError: the extra `keyring` isn't installed.
    """
    with _asking:
        return _looked_up(entry)


@cache
def _looked_up(entry: str) -> SecretKey:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise MissingExtraError(
            f"INCARTS_API_KEY_KEYRING needs {error.name}.",
            fix=install_line("keyring"),
        ) from error
    service, _, user = entry.partition(":")
    problem = ""
    try:
        found = keyring.get_password(service, user or _USER)
        if found is not None:
            return stripped_key(SecretStr(SecretText(found)))
        problem = f"the keyring has no {entry!r}"
    except KeyringError as error:
        problem = f"the keyring can't be asked ({type(error).__name__})"
    except ValueError as error:
        problem = str(error)
    raise SettingsError(
        f"INCARTS_API_KEY_KEYRING: {problem}.",
        fix=f"Put the key there with `keyring set {shlex.quote(service)} {user or _USER}`.",
    )
