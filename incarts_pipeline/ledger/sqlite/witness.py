"""Witness of a ledger: two files beside it, which say what it must know at least.

A ledger that was rolled back (a backup copied over it, a log that was lost) looks like any other
from within. So each transaction that changes it is counted in it, and the count is written to
`LEDGER.witness` once the transaction is on disk, before anything leaves on its strength. A ledger
with a lower count is not the newest. `LEDGER.sent` has the digest of every idempotency key that was
ever marked as sent, or got the link of another one, 20 bytes each: what a restored backup doesn't
know of them may exist.

Neither needs an fsync for each group: what a killed process has written is there. A power cut may
take the last seconds of both, and leaves the ledger, which is synchronized, the newer one.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.clock import from_micros
from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.file_writer import make_empty
from incarts_pipeline.identity import KEY_DIGEST_BYTES, key_digest
from incarts_pipeline.ledger.sqlite.ledger_file import beside
from incarts_pipeline.system import locked, open_file, read_at, write_at

_LENGTH = 256
_SYNC_SECONDS = 5.0
_READ_AT_ONCE = KEY_DIGEST_BYTES * 50_000
_WAY_OUT = (
    "Put the newest backup in place with `incarts ledger restore BACKUP`: what was sent since is "
    "held, not made again. Without a backup, take over what was published with "
    "`incarts import links.parquet`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a ledger has come: the transactions that changed it, and when; in microseconds."""

    ledger_id: str
    commits: int
    at: int

    def encoded(self) -> bytes:
        """Return the bytes of the file: all in one sector, so that none is torn."""
        text = json.dumps([self.ledger_id, self.commits, self.at])
        return f"{zlib.crc32(text.encode()):08x} {text}\n".encode().ljust(_LENGTH)


def last_mark(ledger: Path) -> Mark | None:
    """Return what the witness of a ledger says, None when there is none.

    Raises:
        LedgerError: the file can't be read, or isn't a witness.
    """
    file = beside(ledger, ".witness")
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(file, error) from error
    return _decoded(content, file)


def _decoded(content: bytes, file: Path) -> Mark | None:
    if not content.strip():
        return None  # made, and not written yet
    checksum, _, text = content.decode(errors="replace").strip().partition(" ")
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        raise LedgerError(
            f"{file} is damaged: whether the ledger is the newest can't be told.",
            fix="Look at the ledger with `incarts ledger check`; if you know that it is the "
            "newest, delete this file.",
        )
    ledger_id, commits, at = json.loads(text)
    return Mark(ledger_id=ledger_id, commits=commits, at=at)


def check_mark(ledger: Path, mark: Mark | None, facts: Mapping[str, str]) -> None:
    """Refuse a ledger that is older than a mark, or another one; `facts` none for one not there.

    The mark must have been read before the facts: the ledger goes on while others write.

    Raises:
        RefusedError: as said.
    """
    if mark is None:
        return
    commits = int(facts.get("commits", 0))
    if facts and facts["ledger_id"] == mark.ledger_id and commits >= mark.commits:
        return
    fix = _WAY_OUT
    if not facts:
        said = f"There is no ledger {ledger}, but there was one"
        fix += (
            f" To begin anew on purpose, delete {ledger}.witness and {ledger}.sent: every link is "
            "made again then."
        )
    elif facts["ledger_id"] != mark.ledger_id:
        said = f"{ledger} is another ledger ({facts['ledger_id']}) than the one that was there"
    else:
        said = f"The ledger {ledger} was rolled back: it is at transaction {commits:,}, and was"
    raise RefusedError(
        f"{said}: at transaction {mark.commits:,} on {from_micros(mark.at):%Y-%m-%d %H:%M:%S} UTC, "
        f"{mark.ledger_id}, says {ledger}.witness. Going on would make links again that exist.",
        fix=fix,
        guard="rolled_back",
    )


def count_commits(engine: sa.Engine) -> None:
    """Have an engine count each transaction that changes something, in the same transaction."""

    @sa.event.listens_for(engine, "begin")
    def _remember(connection: sa.Connection) -> None:
        connection.info["changes"] = _raw(connection).total_changes

    @sa.event.listens_for(engine, "commit")
    def _count(connection: sa.Connection) -> None:
        raw = _raw(connection)
        if raw.total_changes == connection.info["changes"]:
            connection.info["mark"] = None
            return
        raw.execute(
            "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) "
            "WHERE name = 'commits'"
        )
        connection.info["mark"] = mark_of(connection)


def mark_of(connection: sa.Connection) -> Mark:
    """Return how far the ledger of a connection is."""
    query = "SELECT name, value FROM meta WHERE name IN ('ledger_id', 'commits')"
    facts = dict(_raw(connection).execute(query))
    return Mark(
        ledger_id=facts["ledger_id"], commits=int(facts["commits"]), at=round(time.time() * 1e6)
    )


def _raw(connection: sa.Connection) -> sa.engine.interfaces.DBAPIConnection:
    raw = connection.connection.dbapi_connection
    assert raw is not None  # noqa: S101 - it is open: it is in a transaction
    return raw


class Witness:
    """Keeps the two files of one ledger, for one writer; close it when done.

    Raises, from every method:
        LedgerError: the files can't be written; nothing may be sent.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._mark_file: int | None = None
        self._sent_file: int | None = None
        self._synced_at = time.monotonic()

    def keep_keys(self, keys: Iterable[str]) -> None:
        """Keep keys that are about to be marked as sent; before the mark is on disk."""
        try:
            if self._sent_file is None:
                self._sent_file = _opened(self._ledger, _sent(self._ledger), _APPEND)
            _append(self._sent_file, b"".join(key_digest(key) for key in keys))
        except OSError as error:
            raise _unusable(_sent(self._ledger), error) from error

    def committed(self, connection: sa.Connection) -> None:
        """Write how far the ledger has come, after a transaction."""
        mark: Mark | None = connection.info.get("mark")
        if mark is not None:
            self.write(mark)

    def write(self, mark: Mark) -> None:
        """Write a mark, unless a later one of the same ledger is there."""
        file = beside(self._ledger, ".witness")
        try:
            if self._mark_file is None:
                if not file.exists():  # from now on, one that stands alone has lost the other
                    make_empty(_sent(self._ledger), like=self._ledger)
                self._mark_file = _opened(self._ledger, file, os.O_RDWR)
            # Another process may be between its commit and its mark: the later one stays.
            with locked(self._mark_file):
                there = _decoded(read_at(self._mark_file, _LENGTH, 0), file)
                if there is None or _is_later(mark, there):
                    write_at(self._mark_file, mark.encoded(), 0)
        except OSError as error:
            raise _unusable(file, error) from error

    def sync(self, *, now: bool = False) -> None:
        """Bring both to the disk, when some seconds have passed since they were last."""
        if not now and time.monotonic() - self._synced_at < _SYNC_SECONDS:
            return
        try:
            for opened in (self._mark_file, self._sent_file):
                if opened is not None:
                    os.fsync(opened)
        except OSError as error:
            raise _unusable(beside(self._ledger, ".witness"), error) from error
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Close the files."""
        for opened in (self._mark_file, self._sent_file):
            if opened is not None:
                os.close(opened)
        self._mark_file = self._sent_file = None


_APPEND = os.O_WRONLY | os.O_APPEND


def _opened(ledger: Path, file: Path, flags: int) -> int:
    """Open a file that is made as open as the ledger: who may write that needs this too."""
    make_empty(file, like=ledger)
    return open_file(file, flags)


def _sent(ledger: Path) -> Path:
    return beside(ledger, ".sent")


def _append(file: int, digests: bytes) -> None:
    """Append all of the digests or none; half a one, as a power cut leaves it, is cut off."""
    with locked(file):
        size = os.fstat(file).st_size
        if size % KEY_DIGEST_BYTES:
            size -= size % KEY_DIGEST_BYTES
            os.ftruncate(file, size)
        if os.write(file, digests) < len(digests):
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_later(mark: Mark, there: Mark) -> bool:
    return mark.ledger_id != there.ledger_id or mark.commits > there.commits


def write_mark(ledger: Path, mark: Mark | None) -> None:
    """Write one mark by itself, None for a transaction that changed nothing."""
    if mark is None:
        return
    witness = Witness(ledger)
    try:
        witness.write(mark)
    finally:
        witness.close()


def keep_keys(connection: sa.Connection, keys: Sequence[str]) -> None:
    """Keep keys that get a link without being sent; before the transaction of a ledger commits.

    Raises:
        LedgerError: the file can't be written.
    """
    if not keys:
        return
    [_, _, file], *_ = _raw(connection).execute("PRAGMA database_list")
    witness = Witness(Path(file))
    try:
        witness.keep_keys(keys)
    finally:
        witness.close()


def sent_digests(ledger: Path) -> Iterator[bytes]:
    """Yield the digest of each key that was marked as sent, as often as it was.

    Raises:
        RefusedError: there is no such file, but a witness.
        LedgerError: the file can't be read.
    """
    file = _sent(ledger)
    try:
        with file.open("rb") as opened:
            while read := opened.read(_READ_AT_ONCE):
                whole = len(read) - len(read) % KEY_DIGEST_BYTES
                for at in range(0, whole, KEY_DIGEST_BYTES):
                    yield read[at : at + KEY_DIGEST_BYTES]
    except FileNotFoundError:
        if last_mark(ledger) is not None:
            raise sent_is_lost(ledger) from None
    except OSError as error:
        raise _unusable(file, error) from error


def sent_is_lost(ledger: Path) -> RefusedError:
    """Return the error of a ledger whose file of sent keys is gone, or not the newest."""
    file = _sent(ledger)
    return RefusedError(
        f"What was sent since this ledger was the newest can't be told: {file} is gone, or is "
        "older than the ledger. Going on would make links again that exist.",
        fix=f"Put the newest copy of {file} back, and try again. If there is none, delete "
        f"{ledger}.witness and try again: then nothing is held, and what was sent since and is in "
        "no published table is made again.",
        guard="lost_sent",
    )


def _unusable(file: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"{file}, which witnesses how far the ledger has come, can't be used ({error.strerror}).",
        fix="Free some space on its disk, make the file and its folder writable, and run again: "
        "nothing is sent without a record.",
    )
