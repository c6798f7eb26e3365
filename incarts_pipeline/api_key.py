"""The API key as a header value that stays hidden in tracebacks, logs and reprs."""

from __future__ import annotations

from pydantic import SecretStr

from incarts_pipeline.errors import SettingsError


class _SecretText(str):
    """Text that shows itself to nobody who prints it; joined or written, it is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secure]'"

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return _Secret(super().encode(encoding, errors))


class _Secret(bytes):
    """A header value that stays hidden in tracebacks, also once a transport has decoded it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'[secure]'"

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return _SecretText(super().decode(encoding, errors))


def checked_key(api_key: SecretStr) -> bytes:
    """Return the key as a header value that shows itself to nobody, decoded or not.

    Raises:
        SettingsError: it can't be a key.
    """
    text = api_key.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            "The API key is empty, or has characters that a key can't have.",
            fix="Set INCARTS_API_KEY to the key alone, without spaces, quotes or line breaks.",
        )
    return _Secret(text.encode())
