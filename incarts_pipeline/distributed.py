"""Distributed planning: an engine's tasks prepare and compare a catalog, the driver decides.

What the driver is given are the requests of open keys and the numbers of all others; the plan over
them is equal to the byte to that over the whole catalog (`plan.quiet`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping as Dict, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.catalog import Catalog, member_names
from incarts_pipeline.clock import Clock
from incarts_pipeline.engine import (
    PASSED,
    Spool,
    Work,
    links_by_bucket,
    needs_buckets,
    other_rows,
)
from incarts_pipeline.errors import raising_ours
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import LedgerReader, Reading, bulk_queries, clock_of, reading
from incarts_pipeline.mapping import Mapping
from incarts_pipeline.pipeline import opened, options_of
from incarts_pipeline.plan import (
    Plan,
    PlanOptions,
    PlanRequest,
    dead_destinations,
    make_plan,
    paths_read,
)
from incarts_pipeline.prepare import Chosen, Partition
from incarts_pipeline.prepare.prepare import preparation_of
from incarts_pipeline.schemas import link_request_schema
from incarts_pipeline.settings import Settings
from incarts_pipeline.telemetry import traced

_BUCKET_ROWS = 65_536
_MOST_BUCKETS = 1_024  # beyond, a batch's share of a bucket is a handful of rows


class Engine(Protocol):
    """What reads a catalog in parts, and carries out a plan's work where they are.

    Its tasks may be killed, tried again and speculated; none of them calls Incarts.
    """

    def counts(self, columns: Sequence[str]) -> Dict[int, int]:
        """Return how many rows each part has, by its number; no other columns will be read."""

    def values(self, column: str) -> Dict[str, int]:
        """Return how many rows have each value of a column of text, to the byte, "" for null."""

    def having(self, column: str, value: str) -> Engine:
        """Return what reads the rows alone that have a value in a column of text.

        It must have all of these; others in between only cost the reading. Its parts are counted,
        and its rows numbered, as if it were the whole catalog.
        """

    def found(self, work: Work, known: pa.Table | None = None) -> Iterable[Dict[str, Any]]:
        """Carry out the work: `engine.prepared` for each part, `engine.compared` for each bucket.

        Args:
            work: what all tasks share.
            known: the ledger's links, a table of `engine.PASSED`. Each bucket is compared with its
                own; they may be passed on among the requests. None where `work` has no buckets:
                what is prepared is all that is found.

        Yields:
            Rows of `engine.PASSED`, in any order.
        """


@raising_ours
@traced("incarts.plan")
def plan_on_engine(
    request: PlanRequest,
    settings: Settings,
    engine: Engine,
    *,
    whole: bool = False,
    clock: Clock | None = None,
) -> Plan:
    """Plan a catalog that an engine reads; sends nothing.

    Args:
        request: what to plan; its `catalog` is a `Catalog` with the engine's columns, which isn't
            read here.
        settings: as for `plan_catalog`.
        engine: reads it.
        whole: whether the plan has every row, and may be carried out.
        clock: tests pass their own.

    Raises:
        CatalogError: the catalog can't be read, or has other rows each time it is.
        MappingError: the mapping doesn't fit.
        SettingsError: the project id is missing.
        LedgerError: the ledger can't be read, or belongs to another base URL.
    """
    known = settings.for_planning()
    catalog, mapping = opened(request, known.limits)
    dead = dead_destinations(mapping)
    ledger = LedgerReader(known.ledger, base_url=known.base_url)
    options = options_of(request, known, mapping, ledger, dead)
    chosen = Chosen(request.partition, catalog.schema, mapping)
    partition = request.partition
    engine, others = _part_of(engine, partition, catalog, mapping)
    by = [partition.column] if partition is not None and partition.column is not None else []
    columns = _holding(catalog, [*mapping.columns(), *by])
    counts = engine.counts(columns)
    whole = whole or partition is not None
    work = Work(
        name=catalog.name,
        columns=(*mapping.columns(), *by),
        read=columns,
        preparation=preparation_of(
            mapping,
            schema=catalog.schema,
            project_id=options.project_id,
            limits=known.limits,
            dead=dead,
        ),
        buckets=_buckets(sum(counts.values())) if needs_buckets(mapping) or not whole else 0,
        firsts=_firsts(counts),
        counts=dict(counts),
        partition=partition,
        whole=whole,
    )
    with Spool() as found:
        _find(found, engine, work, _known(ledger, options, work))
        catalog.warnings += found.told()
        chosen.rows = found.counts["chosen"]
        chosen.others.update(found.others if others is None else others)
        return make_plan(
            link_request_schema(mapping.key_fields(catalog.schema)),
            found.requests(),
            catalog=catalog,
            kind=LINKS,
            ledger=ledger,
            options=options,
            now=clock_of(known.ledger, clock or Clock()).now(),
            read=paths_read(settings, mapping=request.mapping, hold_dead=mapping.hold_dead),
            chosen=chosen,
            quiet=None if whole else found.quiet(),
        )


def _part_of(
    engine: Engine, partition: Partition | None, catalog: Catalog, mapping: Mapping
) -> tuple[Engine, Dict[str, int] | None]:
    """Let an engine read a partition's rows alone, and count the other ones by their value.

    It saves reading, no more: tasks look at each row's value all the same, byte for byte, as what
    an engine takes for equal may be more. Only by a column of text: the texts of other types are
    the engine's own. And not with `where`: what it leaves out is in no partition, and only the
    tasks know of it. Then the others are None, and the tasks count them.
    """
    column = partition.column if partition is not None else None
    if partition is None or column is None or mapping.where is not None:
        return engine, None
    if _holding(catalog, [column]) != (column,) or catalog.schema.field(column).type != pa.string():
        return engine, None
    others = {value: n for value, n in engine.values(column).items() if value != partition.value}
    return engine.having(column, partition.value), others


def _holding(catalog: Catalog, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the catalog's own columns that hold some of a mapping's, which may be members."""
    wanted, members = set(columns), set(member_names(catalog.schema))
    return tuple(
        name
        for name in catalog.schema.names
        if name not in members
        and (name in wanted or any(one.startswith(f"{name}.") for one in wanted & members))
    )


def _find(spool: Spool, engine: Engine, work: Work, known: pa.Table) -> None:
    """Let an engine find what the driver needs: in one reading, or in a second one the open rows.

    Hashes alone went from task to task then, and the rows behind them stayed where they were.
    """
    spool.add(engine.found(work, known if work.buckets else None))
    expected = sum(work.counts.values())
    if spool.counts["rows"] != expected:
        raise other_rows(work.name, (expected, spool.counts["rows"]))
    if given := spool.given(work.firsts):
        spool.add_given(engine.found(replace(work, buckets=0, given=given)), work)


def _buckets(rows: int) -> int:
    """Return by how many buckets so many rows are compared: a power of two."""
    wanted = max(1, -(-rows // _BUCKET_ROWS))
    return min(_MOST_BUCKETS, 1 << (wanted - 1).bit_length())


def _firsts(counts: Dict[int, int]) -> dict[int, int]:
    firsts, row = {}, 0
    for partition in sorted(counts):
        firsts[partition] = row
        row += counts[partition]
    return firsts


def _known(ledger: LedgerReader, options: PlanOptions, work: Work) -> pa.Table:
    """Return the ledger's links as the engine passes them on; none where they aren't asked for."""
    set_ids = ledger.set_ids(options.project_id, options.link_sets)
    if work.whole or ledger.path is None or not set_ids:
        return PASSED.empty_table()
    with reading(ledger.path) as opened:
        batches = (
            batch
            for name, set_id in set_ids.items()
            for batch in links_by_bucket(name, _links(opened, set_id), work.buckets)
        )
        return pa.Table.from_batches(batches, PASSED)


def _links(ledger: Reading, set_id: int) -> Iterator[pa.RecordBatch]:
    """Yield a link set's rows of the ledger, as `engine.links_by_bucket` takes them."""
    unlinked = [batch["row_key"] for batch in ledger.batches(bulk_queries.UNLINKED, set_id)]
    keys = pa.chunked_array(unlinked, pa.string()).combine_chunks()
    for batch in ledger.batches(bulk_queries.ROWS, set_id):
        is_missing = pc.equal(batch["is_missing"], 1)
        is_open = pc.or_(is_missing, pc.is_in(batch["row_key"], value_set=keys))
        columns = [batch["row_key"], batch["content_hash"], is_open]
        yield pa.record_batch(columns, names=["row_key", "content_hash", "is_open"])
