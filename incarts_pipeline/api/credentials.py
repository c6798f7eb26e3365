"""Credentials: the API key as it is sent, shown to nobody on the way."""

from __future__ import annotations

from pydantic import SecretStr

from incarts_pipeline.errors import SettingsError


class _SecretText(str):
    """Text that shows itself to nobody who prints it; joined or written, it is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secure]'"

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return it as bytes, which stay hidden too."""
        return Secret(super().encode(encoding, errors))


class Secret(bytes):
    """A header value that stays hidden in tracebacks, also once a transport has decoded it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'[secure]'"

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return it as text, which stays hidden too."""
        return _SecretText(super().decode(encoding, errors))


def checked_secret(api_key: SecretStr) -> Secret:
    """Return an API key as a header's value.

    Raises:
        SettingsError: it is empty, or has characters that a key can't have.
    """
    text = api_key.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            "The API key is empty, or has characters that a key can't have.",
            fix="Set INCARTS_API_KEY to the key alone, without spaces, quotes or line breaks.",
        )
    return Secret(text.encode())
