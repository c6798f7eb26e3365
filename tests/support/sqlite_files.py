"""SQLite files that tests look into, or write behind the library's back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def opened(file: Path | str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a file for one transaction, and close it, which sqlite3's own `with` doesn't."""
    with closing(sqlite3.connect(file, uri=uri)) as connection, connection:
        yield connection
