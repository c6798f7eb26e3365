"""Published files that are current: writing them again would change nothing but their date."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger import Note, confirm, is_there, note, noted, once
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.settings import LedgerPlace

logger = logger_of(__name__)


def is_current(
    ledger: LedgerPlace, file: Path | None, made_from: Callable[[], str] | None = None
) -> bool:
    """Say whether a file is, byte for byte, what was published from the ledger as it is now.

    With `made_from`, it must have been made from just that beside the ledger, which is asked for
    when it is known what it was made from. None means a file on an object store, which would have
    to be fetched to see that nobody changed it.
    """
    if file is None or not file.is_file():
        return False
    try:
        return is_noted(ledger, str(file), made_from, lambda: sha256_of(file))
    except OSError:  # whoever needs the file says what is wrong
        return False


def is_noted(
    ledger: LedgerPlace,
    place: str,
    made_from: Callable[[], str] | None,
    sha256: Callable[[], bytes],
) -> bool:
    """Say whether what is at a place is what was published there from the ledger as it is now.

    `sha256`, of what is there, is asked for last.
    """
    try:
        if not is_there(ledger):
            return False
        with once(ledger, read_only=True) as connection:
            found = noted(connection, place)
    except LedgerError:  # whoever needs the ledger says what is wrong
        return False
    if found is None or (made_from is not None and found.made_from != made_from()):
        return False
    return sha256() == found.sha256


class Noting:
    """Notes files while they are made; enter it before the ledger is read for them.

    A ledger that can't be written just now is no reason not to publish: the next run writes again.
    """

    def __init__(self, ledger: LedgerPlace, *files: Path | str | None) -> None:
        self._ledger = ledger
        self._places = [str(file) for file in files if file is not None]
        self._mark: str | None = None
        self._made: dict[str, Note] = {}

    def __enter__(self) -> Self:
        if self._places:
            try:
                with once(self._ledger) as connection:
                    self._mark = note(connection, self._places)
            except LedgerError as error:
                logger.info("The next run will publish all again: %s", error)
        return self

    def made(self, file: Path | str | None, made_from: str, sha256: bytes) -> None:
        """Say that a file is in place, with the checksum of what was written.

        Not of what is there by now: another run may have put its own file in the same place.
        """
        self._made[str(file)] = Note(made_from, sha256)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._mark is None or not self._made:
            return
        try:
            with once(self._ledger) as connection:
                confirm(connection, self._mark, self._made)
        except LedgerError as failed:
            logger.info("The next run will publish all again: %s", failed)


def date_anew(file: Path | None) -> None:
    """Leave a current file as it is, and date it now, as writing it would."""
    if file is not None:
        with suppress(OSError):
            os.utime(file)


def sha256_of(file: Path) -> bytes:
    """Return the SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
