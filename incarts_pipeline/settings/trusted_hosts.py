"""Trusted hosts: which host a key was given for, by whose word, and where that is kept.

A settings file in the working folder is as trustworthy as whoever wrote it, so it may name a host,
but never send somebody's key there. The first word is the person's, see `Settings`; from then on
it is kept in the user's state folder, and in the ledger, where it outlasts a container.

What is kept is a proof, an HMAC of the host under the key: only who has the key can have written
it. So neither a ledger nor a state folder that came with somebody else's project speaks for anyone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import SecretStr, TypeAdapter, ValidationError

from incarts_pipeline.errors import PublishError
from incarts_pipeline.file_writer import new_file
from incarts_pipeline.outgoing import fingerprint, logger_of
from incarts_pipeline.settings.ledger_place import LedgerPlace
from incarts_pipeline.system import own_folder

logger = logger_of(__name__)

_PURPOSE = b"incarts-pipeline: this key may be sent to\0"
_DIGITS = 32  # 128 bits
FACT = "trusted_host "  # how the ledger's facts about this begin; the fingerprint follows


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedHost:
    """A host that a key was given for.

    Attributes:
        host: as `host_of` returns it.
        fingerprint: the key's.
        proof: hexadecimal digits that only who has the key can know.
        withdrawn: whether the word was taken back; then no ledger speaks for it either.
    """

    host: str
    fingerprint: str
    proof: str
    withdrawn: bool = False


def trusted_host(key: SecretStr, host: str) -> TrustedHost:
    """Return what is kept once a person has said that the key may go to the host."""
    secret = key.get_secret_value()
    proof = hmac.new(secret.encode(), _PURPOSE + host.encode(), hashlib.sha256).hexdigest()
    return TrustedHost(host=host, fingerprint=fingerprint(secret), proof=proof[:_DIGITS])


def keep_trusted(given: TrustedHost) -> None:
    """Keep a word, or that it was taken back.

    Raises:
        OSError: it can't be written.
        PublishError: its file is a symbolic link.
    """
    path = _path(given)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with new_file(path, private=True) as file:
        file.write(_adapter().dump_json(given))


def remember_trusted(given: TrustedHost) -> None:
    """Keep a word that was given beside the key, unless one is kept; failing is no reason to."""
    if _kept(_path(given)) is not None:
        return
    try:
        keep_trusted(given)
    except (OSError, PublishError) as error:
        logger.info("that the key is for %s is not remembered: %s", given.host, error)


def kept_hosts() -> list[TrustedHost]:
    """Return all words that are kept in the state folder, by host, those of any key."""
    try:
        found = [_kept(path) for path in sorted(_folder().glob("*.json"))]
    except OSError:
        return []
    return [one for one in found if one is not None]


def withdraw(host: str, key: SecretStr | None) -> list[TrustedHost]:
    """Take back every word for a host, of any key, and the ledgers' for this one; return them.

    Raises:
        OSError: it can't be written.
    """
    found = {one.fingerprint: one for one in kept_hosts() if one.host == host}
    if key is not None:
        own = trusted_host(key, host)
        found[own.fingerprint] = own
    taken = [dataclasses.replace(one, withdrawn=True) for one in found.values()]
    for one in taken:
        keep_trusted(one)
    return taken


def is_kept(wanted: TrustedHost) -> bool | None:
    """Say whether a word is kept in the state folder; None: nothing is known of it there."""
    found = _kept(_path(wanted))
    if found is None or found.host != wanted.host:
        return None
    if found.withdrawn:
        return False
    return True if _is_proof(found.proof, wanted) else None


def is_in_ledger(wanted: TrustedHost, ledger: LedgerPlace) -> bool:
    """Say whether a ledger has the word, as runs leave it there; one that can't be read has not."""
    if not ledger.is_file():
        return False
    import sqlite3  # few settings are asked for this

    try:
        place = f"{ledger.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=5)) as connection:
            found = connection.execute(
                "SELECT value FROM meta WHERE name = ?", (FACT + wanted.fingerprint,)
            ).fetchone()
    except (sqlite3.Error, OSError, ValueError):
        return False  # what is wrong with it is said by whoever uses it
    return found is not None and _is_proof(str(found[0]), wanted)


def _is_proof(said: str, wanted: TrustedHost) -> bool:
    return hmac.compare_digest(said.encode(), wanted.proof.encode())


def _folder() -> Path:
    return own_folder("state") / "hosts"


def _path(given: TrustedHost) -> Path:
    name = re.sub(r"[^a-z0-9.-]+", "_", given.host)
    return _folder() / f"{name}-{given.fingerprint}.json"


def _kept(path: Path) -> TrustedHost | None:
    try:
        return _adapter().validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


@cache
def _adapter() -> TypeAdapter[TrustedHost]:
    return TypeAdapter(TrustedHost)
