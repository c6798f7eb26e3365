"""Program that reads a large ledger for another process: queries in, Arrow streams out.

It is run by its path, with the ledger as its argument. Each line on standard input is a JSON list
of an SQL query and its parameters; each answer on standard output is one Arrow IPC stream, and then
a line with the number of its rows. An error goes to standard error and ends the program.

Half of its time would go into starting: pyarrow imports NumPy if it is there, and pandas with the
first array. Nothing here wants them, so both count as not installed, which pyarrow can do with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

for _name in ("numpy", "pandas"):
    sys.modules[_name] = None  # type: ignore[assignment] # which is how Python notes "not there"

import adbc_driver_manager  # noqa: E402 - after what is not to be imported
import adbc_driver_sqlite  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.ipc  # noqa: E402

_BUSY_MILLISECONDS = 10_000


def main(uri: str) -> None:
    """Answer queries until standard input ends."""
    with (
        adbc_driver_sqlite.connect(uri) as database,
        adbc_driver_manager.AdbcConnection(database) as connection,
    ):
        # Another process that closes the file may hold it for a moment.
        with answer(connection, f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}", []) as reader:
            reader.read_all()
        for line in sys.stdin:
            query, parameters = json.loads(line)
            send(connection, query, parameters)


def send(
    connection: adbc_driver_manager.AdbcConnection, query: str, parameters: list[str | int]
) -> None:
    """Write a query's rows to standard output, as one Arrow stream, and how many they are.

    A stream alone proves nothing: its end is written also when the rows end with an error, and for
    its reader the end of the file is one too.
    """
    rows = 0
    with (
        answer(connection, query, parameters) as reader,
        pyarrow.ipc.new_stream(sys.stdout.buffer, reader.schema) as stream,
    ):
        for batch in reader:
            stream.write_batch(batch)
            rows += batch.num_rows
    sys.stdout.buffer.write(b"%d\n" % rows)
    sys.stdout.buffer.flush()


@contextmanager
def answer(
    connection: adbc_driver_manager.AdbcConnection, query: str, parameters: list[str | int]
) -> Iterator[pa.RecordBatchReader]:
    """Run a query while the block reads its rows."""
    with adbc_driver_manager.AdbcStatement(connection) as statement:
        statement.set_sql_query(query)
        if parameters:
            names = [str(i) for i in range(len(parameters))]
            statement.bind(pa.record_batch([pa.array([p]) for p in parameters], names=names))
        handle, _ = statement.execute_query()
        with pa.RecordBatchReader.from_stream(handle) as reader:
            yield reader


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
        sys.exit(str(error).splitlines()[0])  # the query follows
