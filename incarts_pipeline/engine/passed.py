"""Passed rows: what an engine's tasks hand to each other and to the driver.

An engine doesn't look into the payloads: rows of its own would cost a conversion each, and change
types on their way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pyarrow as pa

PASSED = pa.schema(
    [
        pa.field("bucket", pa.int32(), nullable=False),
        pa.field("what", pa.string(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("beside", pa.binary(), nullable=False),  # what belongs to it, or nothing
    ]
)


class What(StrEnum):
    """What a payload holds: a batch of Arrow's, unless it says something else."""

    REQUESTS = "requests"  # link requests; beside them the lines of baskets
    HASHES = "hashes"  # those of link requests, records of `ledger_comparison.REQUEST`
    LINKS = "links"  # the ledger's, records of `ledger_comparison.LINK`; beside them their keys
    GIVEN = "given"  # numbers (int64) of rows that are to be planned and aren't at the driver
    QUIET = "quiet"  # numbers of requests that have their links, of `plan.QUIET`
    GONE = "gone"  # keys that the catalog doesn't have, of `plan.GONE`
    OPEN = "open"  # hashes of keys about which something is open: lower halves; beside them upper
    COUNTS = "counts"  # of rows that were read, chosen and left out, as JSON
    ERROR = "error"  # why the catalog can't be read, as JSON


def passed_row(what: What, payload: bytes, bucket: int = 0, beside: bytes = b"") -> dict[str, Any]:
    """Return a row of `PASSED`."""
    return {"bucket": bucket, "what": what.value, "payload": payload, "beside": beside}


def counts_row(counts: Mapping[str, object]) -> dict[str, Any]:
    """Return a row with counts, which add up."""
    return passed_row(What.COUNTS, json.dumps(counts).encode())


def payload_of(batch: pa.RecordBatch) -> bytes:
    """Return a batch as a payload."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def batch_of(payload: bytes, schema: pa.Schema | None = None) -> pa.RecordBatch:
    """Return the batch that a payload holds, with the types of a schema where one is given."""
    with pa.ipc.open_stream(payload) as reader:
        batch = reader.read_next_batch()
    return batch if schema is None else batch.cast(schema)
