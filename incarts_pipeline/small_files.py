"""Small files that people write: read whole, as far as one of them can be long."""

from __future__ import annotations

from pathlib import Path


def read_small(path: Path, most: int) -> str:
    """Return a file's text, in UTF-8.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it can't be read.
        UnicodeDecodeError: it isn't UTF-8.
        TooLargeError: it has more bytes.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise TooLargeError(most)
    return content.decode()


class TooLargeError(ValueError):
    """A file has more bytes than such a file may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it has more than {most:,} bytes")
