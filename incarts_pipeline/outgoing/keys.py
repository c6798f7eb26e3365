"""Keys as values that show themselves to nobody: not in a `repr`, a frame or a pickle."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from pydantic import SecretStr

from incarts_pipeline.outgoing.secrets import MASK, keep_secret, kept_secrets


class SecretText(str):
    """Text whose `repr` is a mask, so that no frame shows it; joined or written, it is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (SecretText, ("",))

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return it as bytes, which stay hidden too."""
        return SecretBytes(super().encode(encoding, errors))

    def strip(self, chars: str | None = None) -> SecretText:
        """Return it without what surrounds it, as hidden as before."""
        return SecretText(super().strip(chars))


class SecretBytes(bytes):
    """A header's value that stays hidden in frames, also once a transport has decoded it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b{MASK!r}"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (SecretBytes, (b"",))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text, which stays hidden too."""
        return SecretText(super().decode(encoding, errors))


class SecretKey(SecretStr):
    """An API key; whoever has one has let it be seen nowhere.

    A pickle has its fingerprint alone. Where it is read, the key is the one of that fingerprint
    that the process knows, or has in `INCARTS_API_KEY`; without one it is empty, which no client
    takes.
    """

    def __init__(self, secret_value: str) -> None:
        super().__init__(SecretText(secret_value))
        keep_secret(secret_value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (_recalled, (fingerprint(self.get_secret_value()),))

    def __copy__(self) -> SecretKey:
        return self

    def __deepcopy__(self, memo: object) -> SecretKey:
        return self


def fingerprint(secret: str) -> str:
    """Return a short id of an API key, from which the key can't be found: 12 hex digits."""
    return hashlib.sha256(b"incarts-pipeline api key\0" + secret.encode()).hexdigest()[:12]


def _recalled(wanted: str) -> SecretKey:
    known = (*kept_secrets(), os.environ.get("INCARTS_API_KEY", "").strip())
    return SecretKey(next((one for one in known if fingerprint(one) == wanted), ""))
