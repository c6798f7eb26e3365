"""An engine in this process, whose tasks are tried again, and whose rows come in any order."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.engine import NUMBERS, PASSED, What, Work, compared, prepared

BASKETS: dict[str, Any] = {
    "link_set": "baskets",
    "unique_key": ["sku"],
    "link": {
        "name": "{sku}",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "basket": True,
        "products": {
            "retailer_product_id": {"column": "retailer_product_id"},
            "quantity": {"column": "quantity"},
        },
    },
}


class LocalEngine:
    """A frame in partitions, as `dataframes.EngineFrame`.

    Each task is carried out up to three times, all but the last attempt broken off in the middle;
    the rows of the last one count. `before` rows stand in front that no task reads.
    """

    name, keeps = "the frame", "persist()"
    tells_case = True  # where it reads the rows of a value alone

    def __init__(
        self, partitions: Sequence[pa.Table], *, seed: float = 0, before: int = 0, batch: int = 7
    ) -> None:
        self._partitions = partitions
        self._chance = random.Random(seed)
        self._before, self._batch = before, batch
        self.attempts = 0
        self.passes: list[list[Mapping[str, Any]]] = []  # what was prepared in each reading
        self.then: Sequence[pa.Table] | None = None  # the partitions of the second reading

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._partitions[0].schema

    def counts(self, columns: Sequence[str]) -> dict[int, int]:
        """Return how many rows each partition has; those that have none aren't told of."""
        found = {number: one.num_rows for number, one in enumerate(self._partitions, 1)}
        return {n: rows for n, rows in found.items() if rows} | (
            {0: self._before} if self._before else {}
        )

    def values(self, column: str) -> dict[str, int]:
        """Return how many rows have each value of a column."""
        found = Counter(
            value or "" for one in self._partitions for value in one[column].to_pylist()
        )
        return dict(found)

    def having(self, column: str, value: str) -> LocalEngine:
        """Return those rows alone that have a value."""
        ours = [one.filter(self._is_alike(one[column], value)) for one in self._partitions]
        return LocalEngine(ours, seed=self._chance.random())

    def _is_alike(self, column: pa.ChunkedArray, value: str) -> pa.ChunkedArray:
        if self.tells_case:
            return pc.equal(column, value)
        return pc.equal(pc.utf8_lower(column), value.lower())

    def found(self, work: Work, known: pa.Table | None = None) -> Iterator[Mapping[str, Any]]:
        """Carry out the work."""
        rows_before = json.dumps({"rows": self._before}).encode()
        told = {"bucket": 0, "what": What.COUNTS.value, "payload": rows_before, "beside": b""}
        passed: list[Mapping[str, Any]] = [told]
        for number, table in enumerate(self._partitions, 1):
            rows = partial(self._rows, number, table, work)
            passed += self._task(lambda rows=rows: prepared(rows(), work))
        self._chance.shuffle(passed)
        self.passes.append(passed)
        self._partitions = self.then or self._partitions
        found = [*passed] if known is None else self._compared(passed, known, work)
        self._chance.shuffle(found)
        yield from found

    def _compared(
        self, passed: Sequence[Mapping[str, Any]], known: pa.Table, work: Work
    ) -> list[Mapping[str, Any]]:
        rows: dict[int, list[Mapping[str, Any]]] = {bucket: [] for bucket in range(work.buckets)}
        for row in [*passed, *known.to_pylist()]:
            rows[row["bucket"]].append(row)
        tables = [pa.Table.from_pylist(bucket, schema=PASSED) for bucket in rows.values()]
        return [row for one in tables for row in self._task(partial(_compared, one, work))]

    def _rows(self, number: int, table: pa.Table, work: Work) -> Iterator[pa.RecordBatch]:
        first = number << 33
        table = table.select(list(work.read)).append_column(
            NUMBERS, pa.array(range(first, first + table.num_rows), pa.int64())
        )
        yield from table.to_batches(max_chunksize=self._batch)

    def _task(self, work: Any) -> list[Mapping[str, Any]]:
        for _ in range(self._chance.randint(0, 2)):
            self.attempts += 1
            for _ in zip(work(), range(self._chance.randint(0, 2)), strict=False):
                pass  # and then it is killed
        self.attempts += 1
        batches: Iterable[pa.RecordBatch] = work()
        return [row for batch in batches for row in batch.to_pylist()]

    def head(self) -> pa.Table:
        """Return some rows."""
        return self.collected()

    def collected(self) -> pa.Table:
        """Return all rows."""
        return pa.concat_tables(self._partitions)

    def framed(self, table: pa.Table) -> pa.Table:
        """Return a table as it is."""
        return table


def _compared(rows: pa.Table, work: Work) -> list[pa.RecordBatch]:
    return compared(rows, work).to_batches()


def in_partitions(table: pa.Table, chance: random.Random) -> list[pa.Table]:
    """Cut a table into partitions, of which some have no rows."""
    cuts = sorted(chance.randint(0, table.num_rows) for _ in range(chance.randint(0, 4)))
    edges = [0, *cuts, table.num_rows]
    return [table.slice(a, b - a) for a, b in pairwise(edges)]
