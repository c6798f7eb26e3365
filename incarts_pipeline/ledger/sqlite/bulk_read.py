"""Bulk reads of an SQLite ledger into Arrow, by whichever of two ways suits its size.

A small ledger is read here, with Python's sqlite3. A large one is read by a process of its own,
with ADBC, which is four times as fast and leaves this process's core to others. ADBC may not read
it *here*: it carries an SQLite library of its own, and when that closes the file the kernel drops
every lock that this process holds on it, so that another process may delete the log that we are
writing to (https://sqlite.org/howtocorrupt.html#_multiple_copies_of_sqlite_linked_into_the_same_application).
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger.bulk_read import Query, Reading, Words
from incarts_pipeline.outgoing import environment_of_child
from incarts_pipeline.sqlite import explain

_LARGE_BYTES = 32 * 1024 * 1024
_BUSY_SECONDS = 10.0  # another process that closes the file may hold it for a moment
_BATCH_ROWS = 20_000
_EXIT_SECONDS = 5.0  # for a process that has nothing more to do


WORDS = Words(
    content_hash_as_hex="LOWER(HEX(operation.content_hash))",
    body_as_text="CAST(body.body AS TEXT)",
    wanted="json_each(?1) AS wanted CROSS",
    index_of_open="INDEXED BY one_open_operation_per_row",
    index_of_closed="INDEXED BY operation_closed",
    index_of_disputed="INDEXED BY link_disputed",
)


def stored(query: Query) -> pa.Schema:
    """Return a query's schema in SQLite's own types.

    SQLite has four of them: yes and no, moments and smaller integers are integers in it.
    """
    return pa.schema([(f.name, _STORED.get(f.type, pa.int64())) for f in query.schema])


def sampled(query: Query) -> str:
    """Return a query's SQL with a row before all others that has a value of each type.

    ADBC takes a column's type from the values that it sees first, and a column may begin with any
    number of nulls.
    """
    sample = ", ".join(_SAMPLES[field.type] for field in stored(query))
    return f"SELECT {sample} UNION ALL SELECT * FROM ({query.text(WORDS)})"  # noqa: S608 - our own text


_SAMPLES = {pa.string(): "''", pa.binary(): "x''", pa.float64(): "0.0", pa.int64(): "0"}
_STORED = {kind: kind for kind in _SAMPLES}


@contextmanager
def open_reading(path: Path, *, large: bool | None = None) -> Iterator[Reading]:
    """Open the ledger for bulk reads that change nothing; `large` None looks at its size.

    Raises:
        LedgerError: it can't be read.
    """
    log = path.with_name(f"{path.name}-wal")
    size = sum(file.stat().st_size for file in (path, log) if file.exists())
    way = _elsewhere if (size > _LARGE_BYTES if large is None else large) else _here
    with way(path) as found:
        yield found


@contextmanager
def _here(path: Path) -> Iterator[Reading]:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(
            sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
        ) as connection:
            yield _Here(connection)
    except sqlite3.Error as error:
        raise explain(error, path) from error


class _Here:
    """Reads with Python's sqlite3."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def batches(self, query: Query, *parameters: str | int) -> Iterator[pa.RecordBatch]:
        own = stored(query)
        with closing(self._connection.execute(query.text(WORDS), parameters)) as cursor:
            while rows := cursor.fetchmany(_BATCH_ROWS):
                columns = zip(*rows, strict=True)
                arrays = [pa.array(c, f.type) for c, f in zip(columns, own, strict=True)]
                yield pa.record_batch(arrays, schema=own).cast(query.schema)


@contextmanager
def _elsewhere(path: Path) -> Iterator[Reading]:
    program = Path(__file__).with_name("bulk_read_process.py")
    # -P keeps this folder, whose modules have everyday names, off the program's import path.
    command = [sys.executable, "-P", str(program), f"{path.absolute().as_uri()}?mode=ro"]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment_of_child(),
        ) as process,
    ):
        try:
            yield _Elsewhere(process, complaints, path)
        finally:
            process.kill()  # whatever it still wanted to say is of no use to anybody
            with suppress(OSError):  # a query that it didn't take
                process.stdin and process.stdin.close()


class _Elsewhere:
    """Has another process read with ADBC."""

    def __init__(self, process: subprocess.Popen[bytes], complaints: Any, path: Path) -> None:
        self._process, self._complaints, self._path = process, complaints, path

    def batches(self, query: Query, *parameters: str | int) -> Iterator[pa.RecordBatch]:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise TypeError("the process was started without pipes")
        try:
            to.write(json.dumps([sampled(query), parameters]).encode() + b"\n")
            to.flush()
            rows = 0
            with pa.ipc.open_stream(back) as stream:
                for batch in stream:
                    own = batch.slice(0 if rows else 1)  # behind the sample
                    rows += batch.num_rows
                    yield own.rename_columns(query.schema.names).cast(query.schema)
            if back.readline() != b"%d\n" % rows:
                raise EOFError(f"it was read for {rows - 1:,} rows, and not to its end")
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> LedgerError:
        """Return what is wrong: what the process said, how it ended, or what was seen here."""
        try:
            code = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it has more to send, which nobody reads
            code = 0
        if code < 0:
            return LedgerError(
                f"The process that read the ledger {self._path} was ended by "
                f"{signal.Signals(-code).name}, as it is when memory runs out.",
                fix="Free some memory, and run again.",
            )
        self._complaints.seek(0)
        text = self._complaints.read().decode(errors="replace").strip()
        return explain(OSError(text.splitlines()[-1] if text else str(error)), self._path)
