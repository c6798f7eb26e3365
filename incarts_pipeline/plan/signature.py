"""Signature of a plan: one person plans, another approves, and nothing else is carried out.

Ed25519 (RFC 8032) over the bytes of a plan file; keys are OpenSSH's, so that `ssh-keygen` makes and
shows them as well.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from incarts_pipeline.errors import (
    MissingExtraError,
    PublishError,
    RefusedError,
    SettingsError,
    reason_of,
)
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.installation import install_line
from incarts_pipeline.settings import check_private
from incarts_pipeline.small_files import read_small
from incarts_pipeline.system import at_home
from incarts_pipeline.text import Option, OptionText

_KEY_BYTES = 16 * 1024
_KIND = "ssh-ed25519"
_PURPOSE = b"incarts plan\n"  # so that no signature of something else passes for one of a plan
_MAKE = "Make a pair with `incarts keys new approver.key`."


def new_keys(file: str | Path) -> str:
    """Make a pair of keys: the private one in a file of mode 0600, the public one in `FILE.pub`.

    Returns:
        The public key, as one line.

    Raises:
        PublishError: one of the files exists, or can't be written.
        MissingExtraError: the package isn't installed.
    """
    ed25519, forms = _cryptography()
    private, public = Path(file), Path(f"{file}.pub")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise PublishError(f"{path} exists already.", fix="Choose another name.")
    key = ed25519.Ed25519PrivateKey.generate()
    form = (forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption())
    write_file(private, key.private_bytes(*form), private=True, what="private key")
    line = _line(key.public_key(), forms)
    write_file(public, f"{line}\n", what="public key")
    return line


def signed(message: bytes, key_file: str | Path) -> dict[str, str]:
    """Return the signature of a plan's bytes, with the public key that it is checked with.

    Raises:
        SettingsError: the file can't be read, is no such key, or may be read by others.
        MissingExtraError: the package isn't installed.
    """
    _, forms = _cryptography()
    key = _private_key(Path(key_file))
    value = base64.b64encode(key.sign(_PURPOSE + message)).decode()
    return {"key": _line(key.public_key(), forms), "value": value}


def signer_of(message: bytes, signature: object) -> str | None:
    """Return the public key whose signature this is, None when it is none of these bytes.

    Raises:
        MissingExtraError: the package isn't installed.
    """
    ed25519, forms = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        line, value = signature["key"], signature["value"]  # type: ignore[index]
        key = forms.load_ssh_public_key(line.encode())
        if not isinstance(key, ed25519.Ed25519PublicKey):
            return None
        key.verify(base64.b64decode(value, validate=True), _PURPOSE + message)
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error, InvalidSignature):
        return None
    return _line(key, forms)


def public_keys(given: str) -> tuple[str, ...]:
    """Return the public keys that a setting names: a key itself, or a file with one on each line.

    Raises:
        SettingsError: it can't be read, or has none.
        MissingExtraError: the package isn't installed.
    """
    ed25519, forms = _cryptography()
    text = given if given.startswith(f"{_KIND} ") else _read(at_home(given))
    if "PRIVATE KEY" in text:
        raise SettingsError(
            "A signature is checked with the public key, and a private one was given.",
            fix="Give the file that ends in .pub, and keep the private key to whoever signs.",
        )
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            key = forms.load_ssh_public_key(line.encode())
        except Exception as error:  # of several packages' kinds
            raise _no_key(given) from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise _no_key(given)
        found.append(_line(key, forms))
    if not found:
        raise _no_key(given)
    return tuple(found)


def check_signer(signed_by: str | None, required: str | None) -> None:
    """Refuse a plan that isn't signed with one of the required keys.

    Args:
        signed_by: the public key that the plan's signature was made with, None for none.
        required: what `public_keys` takes; None when none is.

    Raises:
        RefusedError: as said.
        SettingsError: what is required is no key.
    """
    keys: Sequence[str] = () if required is None else public_keys(required)
    if not keys or signed_by in keys:
        return
    has = "it isn't signed" if signed_by is None else f"it is signed with {signed_by}"
    raise RefusedError(
        f"Only a plan that is signed with {' or '.join(keys)} may be carried out, and {has}.",
        fix=OptionText(
            "Plan into a file, let whoever has that key sign it with "
            "`incarts plan plan.incarts --sign KEYFILE`, and apply the file. What must be signed "
            "with is said by ",
            Option(name="require_signature"),
            ".",
        ),
        guard="unsigned_plan",
    )


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError(
            "Signatures need the package cryptography.",
            fix=install_line("sign"),
        ) from error
    return ed25519, serialization


def _line(key: Any, forms: Any) -> str:
    text: bytes = key.public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    return text.decode()


def _private_key(file: Path) -> Any:
    ed25519, forms = _cryptography()
    try:
        with file.open("rb") as opened:
            check_private(opened, file)
            text = opened.read(_KEY_BYTES)
    except OSError as error:
        raise _unreadable(file, error) from error
    except ValueError as error:
        raise SettingsError(f"The private key can't be used: {error}.") from error
    ssh = b"OPENSSH PRIVATE KEY" in text
    load = forms.load_ssh_private_key if ssh else forms.load_pem_private_key
    try:
        key = load(text, password=None)
    except Exception:  # of several packages' kinds; `from None`: the text may be in it
        raise _no_private_key(file) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _no_private_key(file)
    return key


def _read(file: Path) -> str:
    try:
        return read_small(file, _KEY_BYTES)
    except (OSError, ValueError) as error:  # the latter for what is no text
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> SettingsError:
    return SettingsError(f"The key file {file} can't be read ({reason_of(error)}).", fix=_MAKE)


def _no_key(given: str) -> SettingsError:
    return SettingsError(
        f"{given} has no public ed25519 key, which looks like `{_KIND} AAAA…`.", fix=_MAKE
    )


def _no_private_key(file: Path) -> SettingsError:
    return SettingsError(
        f"{file} has no private ed25519 key without a passphrase.",
        fix=f"{_MAKE} A passphrase is taken off a copy with `ssh-keygen -p`.",
    )
