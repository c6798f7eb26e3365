"""Bucket files of a dataset: where each bucket's rows are, and how they get there.

In a folder each file has its name for good, and is replaced. In a Delta table what is written once
stays as it is: a bucket's new rows come in a file of another name, and one commit lets the new
files count instead of the old ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Set as AbstractSet

import pyarrow as pa

from incarts_pipeline.publish.buckets import changed_since, is_same, put_rows, read_whole
from incarts_pipeline.publish.delta_log import DeltaLog
from incarts_pipeline.publish.output import Output, Written, bucket_name, bucket_number, within


class BucketFiles:
    """Files that count as soon as they are written."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def name(self, number: int) -> str:
        """Return the name of a bucket's file within the dataset."""
        return bucket_name(number)

    def put(self, number: int, rows: pa.Table) -> tuple[str, Written]:
        """Write a bucket's rows, which were cleaned; return the file's name, and what it is."""
        name = self.name(number)
        return name, put_rows(rows, within(self._output.links, name))

    def put_changed(self, number: int, rows: pa.Table) -> tuple[str, Written]:
        """Do what `put` does, unless the rows are there already, but for the run."""
        name = self.name(number)
        found = read_whole(within(self._output.links, name))
        if found is not None and is_same(found[0], rows):
            return name, found[1]
        return self.put(number, rows)

    def finish(self, names: AbstractSet[str], facts: Mapping[str, str]) -> None:
        """Let just these files count from now on.

        Args:
            names: the files of all buckets.
            facts: of the run.

        Raises:
            PublishError: another run came between, or that can't be written.
        """


class DeltaBuckets(BucketFiles):
    """Files that count once they are committed."""

    def __init__(self, output: Output, schema: pa.Schema) -> None:
        """Look at the table as it is now; raises as `DeltaLog.of` does."""
        super().__init__(output)
        self._log, self._schema = DeltaLog.of(output.links), schema
        # Files of other columns are all written anew.
        kept = self._log.files if self._log.has_columns(schema) else ()
        numbers = {name: bucket_number(name) for name in kept}
        self._names = {n: name for name, n in numbers.items() if n is not None}
        self._added: dict[str, Written] = {}

    def name(self, number: int) -> str:
        """Return the name of the file that counts now, or one that none ever has."""
        return self._names.get(number, bucket_name(number))

    def put(self, number: int, rows: pa.Table) -> tuple[str, Written]:
        """Write a file under a name of its own."""
        name, like = bucket_name(number, uuid.uuid4().hex), self.name(number)
        folder = self._output.links
        self._added[name] = put_rows(rows, within(folder, name), like=within(folder, like))
        return name, self._added[name]

    def finish(self, names: AbstractSet[str], facts: Mapping[str, str]) -> None:
        """Commit, if the table has other files now."""
        removed = self._log.files.keys() - names
        if not self._added and not removed:
            return
        if not names - self._added.keys() <= {*self._names.values()}:
            raise changed_since(self._output.links)  # what was kept doesn't count any more
        self._log.commit(self._schema, self._added, removed, facts)


def buckets_of(output: Output, schema: pa.Schema) -> BucketFiles:
    """Return what writes an output's buckets of a schema; raises as `DeltaLog.of` does."""
    return DeltaBuckets(output, schema) if output.is_delta else BucketFiles(output)
