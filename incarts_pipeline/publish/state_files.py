"""State files of a dataset: what its last run saw of the catalog, bucket by bucket."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from incarts_pipeline.models import Reason, Status
from incarts_pipeline.plan import Seen
from incarts_pipeline.publish.files import put, resolve
from incarts_pipeline.publish.manifest import Files
from incarts_pipeline.publish.output import Output, Written, bucket_name, bucket_number, within

_FOLDER = "_state/"
_REPEATING = ["file", "settled"]


class StateFiles:
    """Those of one publication; `kept` are those that the dataset has."""

    def __init__(self, seen: Seen | None, output: Output, buckets: int, kept: Files) -> None:
        self._seen, self._output, self._buckets = seen, output, buckets
        self._kept = kept
        self._names = {bucket_number(name.removeprefix(_FOLDER)): name for name in kept}
        self.files: dict[str, Written] = {}

    def keep(self, bucket: int, rows: str) -> None:
        """Leave a bucket's file as it is, unless what was seen of the bucket is no longer that.

        `rows` is the name of the file that has the bucket's rows.
        """
        if self._seen is None:
            return
        name = self._names.get(bucket)
        if name is not None and not self._seen.is_stale(bucket):
            self.files[name] = self._kept[name]
        else:
            self.make(bucket, rows)

    def make(self, bucket: int, rows: str) -> None:
        """Write what was seen of a bucket whose rows are in place, in the file of that name."""
        if self._seen is None:
            return
        filesystem, path = resolve(within(self._output.links, rows))
        columns = ["row_key", "status", "reason"]
        self.write(bucket, pq.read_table(path, columns=columns, filesystem=filesystem))

    def write(self, bucket: int, rows: pa.Table) -> None:
        """Write what was seen of a bucket with these rows, if its file isn't just that."""
        if self._seen is None:
            return
        is_settled = pc.and_(
            pc.equal(rows["status"], Status.UNCHANGED.value),
            pc.equal(rows["reason"], Reason.SAME.value),
        )
        unsettled = rows["row_key"].filter(pc.invert(is_settled)).combine_chunks()
        table = self._seen.table(bucket, self._buckets, unsettled)
        sink = io.BytesIO()
        # Hashes don't compress, and are all different.
        repeating = [name for name in _REPEATING if name in table.column_names]
        pq.write_table(table, sink, compression="none", use_dictionary=repeating)
        content = sink.getvalue()
        sha256 = hashlib.sha256(content)
        written = Written(rows=table.num_rows, size=len(content), sha256=sha256.digest())
        # Named by what is in it, so that no other run can put something else in its place.
        name = _FOLDER + bucket_name(bucket, sha256.hexdigest()[:32])
        before = self._names.get(bucket)
        if name != before:
            like = within(self._output.links, before) if before is not None else None
            target = within(self._output.links, name)
            put(lambda file: _write(file, content, written), target, like=like)
        self.files[name] = written


def _write(file: BinaryIO, content: bytes, written: Written) -> Written:
    file.write(content)
    return written
