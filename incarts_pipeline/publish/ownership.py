"""Ownership of published tables: nothing is sent for, or written over, what belongs to others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from incarts_pipeline.catalog import DeltaUri
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.kinds import Kind
from incarts_pipeline.ledger import LedgerReader, read_facts
from incarts_pipeline.models import Status
from incarts_pipeline.publish.delta_log import DELTA_LOG, DeltaLog
from incarts_pipeline.publish.files import check_place, files_of, in_folder, local_file, resolve
from incarts_pipeline.publish.freshness import is_current
from incarts_pipeline.publish.manifest import Manifest, has_its_files, is_as_noted
from incarts_pipeline.publish.output import (
    Output,
    Owner,
    bucket_name,
    bucket_number,
    facts_of,
    is_folder,
)
from incarts_pipeline.publish.tables import TABLES
from incarts_pipeline.schemas import HISTORY, MISSING
from incarts_pipeline.text import Option, OptionText

_BATCH = 50_000
_PARQUET = b"PAR1"  # how every Parquet file begins
_TELLING = {  # columns that just one kind of table has, and every version of it
    ("link_id", "verdict"): "verdicts",
    ("link_id", "missing_since"): "missing links",
    ("link_id", "is_current"): "a history",
    ("link_id", "identifier"): "QR codes",
    ("link_id", "is_stale"): "links",
    ("url", "verdict", "redirects"): "destinations",
}


def check_output(kind: Kind, output: Output, ledger: LedgerReader, owner: Owner) -> None:
    """Refuse, before anything is sent, tables that can't be written or that aren't ours.

    Ours are tables of this host and project, of one of these link sets, whose links the ledger
    knows. It knows those of a file that is as it was published from the ledger as it is. A table
    that doesn't say whose it is may be anybody's. A table of a kind that doesn't list all that
    there is may have been another link set's: nothing is made anew for that.

    Raises:
        PublishError: as `check_place` raises.
        RefusedError: one of them is another host's, project's or link set's, `output.links` holds
            links that the ledger doesn't know, or is no table of links.
    """
    check_place(output.links, or_folder=kind.is_catalog)
    manifest = _manifest_of(output, ledger, owner) if output.is_dataset else None
    if manifest is not None and _is_as_published(output, manifest, ledger):
        return
    ours = manifest is not None and manifest.facts.get("ledger_id") == ledger.ledger_id
    told, schemas = dict[str, dict[str, str]](), (TABLES[kind].columns, MISSING, HISTORY)
    for target, schema in zip(output.tables_of(kind), schemas, strict=False):
        for file in files_of(target) if is_folder(target) else [target]:
            if (ours or target != output.links) and is_damaged(file, or_other=ours):
                continue  # all that a companion or bucket tells is in the ledger
            check_replaceable(file, schema, or_by_hand=file == output.links)
            told[file], found = _told(file)
            check_owner(file, told[file], owner)
            if kind.is_catalog:
                _check_link_sets(file, found, owner)
    # Once for all tables, and after they were: another run may just have published.
    known = cache(lambda: sequence_of(ledger))
    for file, facts in told.items():
        check_newest(file, output.links if output.is_dataset else file, facts, ledger, known)
    # Of a table that is gone, the history still tells.
    places = files_of(output.links) or (files_of(output.history) if output.is_dataset else [])
    if manifest is not None and not ours and not places:
        raise _all_gone(output)
    _check_known(kind, output.links, places, ledger, owner, or_damaged=ours)


def _manifest_of(output: Output, ledger: LedgerReader, owner: Owner) -> Manifest | None:
    """Return a dataset's manifest, None when there is none.

    Raises:
        RefusedError: the folder has something else in it, or its manifest is another's.
    """
    _check_folder(output)
    manifest = Manifest.of(output)
    if manifest is not None:
        check_owner(output.links, manifest.facts, owner)
        check_newest(output.links, output.links, manifest.facts, ledger)
        _check_link_sets(output.links, named_sets(manifest.facts), owner)
    return manifest


def _is_as_published(output: Output, manifest: Manifest, ledger: LedgerReader) -> bool:
    """Say whether a dataset is as this ledger noted it, so that it knows all links in it."""
    return is_as_noted(ledger.file, output, manifest) and has_its_files(
        output, manifest, by_size=True
    )


def _check_folder(output: Output) -> None:
    """Refuse a folder that has something else, which whoever reads it would take for rows."""
    names = [info.base_name for info in in_folder(output.links)]
    if output.is_delta and (log := DeltaLog.of(output.links)).table is not None:
        _check_delta(output, log)
        return
    if not output.is_delta and DELTA_LOG in names:
        raise RefusedError(
            f"{output.links} is a Delta table, whose files are not replaced.",
            fix=f"Publish it as {DeltaUri(folder=output.links.rstrip('/'))}, or choose a new "
            "folder.",
            guard="unknown_output",
        )
    for name in names:
        number = bucket_number(name)
        # A Delta table's are there without its log when the first run was killed.
        is_bucket = number is not None and (name == bucket_name(number)) != output.is_delta
        if name[0] in "._" or is_bucket:
            continue
        what = "Delta table" if output.is_delta else "table"
        raise RefusedError(
            f"{output.links} holds {name}, which is no part of a {what} of links: whoever reads "
            "the folder would take it for one.",
            fix="Choose a new folder, or move the file away.",
            guard="unknown_output",
        )


def _check_delta(output: Output, log: DeltaLog) -> None:
    """Refuse a Delta table that was not published here, or can't be any more."""
    log.check_commits()
    kind = _kind_of(log.columns or pa.schema([]))
    if kind != _TELLING["link_id", "is_stale"] or log.partitions:
        raise RefusedError(
            f"{output.links} is a Delta table of {kind or 'something else'}, not one of links that "
            "was published from here.",
            fix="Choose a new folder, or move the table away.",
            guard="unknown_output",
        )


def check_replaceable(target: str, schema: pa.Schema, *, or_by_hand: bool = False) -> None:
    """Refuse to put a table in place of something else, like links in that of a history.

    Raises:
        RefusedError: what is there is no table of this kind, nor, with `or_by_hand`, one that is
            none of ours.
    """
    with existing(target) as file:
        if file is None:
            return
        found, wanted = _kind_of(file.schema_arrow), _kind_of(schema)
    if found != wanted and not (or_by_hand and found is None):
        raise RefusedError(
            f"{target} exists and holds {found or 'something else'}, not {wanted}.",
            fix="Choose another output, or move the file away.",
            guard="unknown_output",
        )


def is_damaged(target: str, *, or_other: bool = False) -> bool:
    """Say whether there is a Parquet file that can't be read; with `or_other`, any other file."""
    filesystem, path = resolve(target)
    if filesystem.get_file_info(path).type is not fs.FileType.File:
        return False
    with filesystem.open_input_file(path) as source:
        if not or_other and source.read(len(_PARQUET)) != _PARQUET:
            return False
    try:
        with existing(target):
            return False
    except RefusedError:
        return True


def _kind_of(schema: pa.Schema) -> str | None:
    """Return what kind of table of ours columns are of, None for a table of others."""
    for columns, kind in _TELLING.items():
        if set(columns) <= set(schema.names):
            return kind
    return None


def _told(target: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return whose a table says it is, and its link sets; nothing for one that isn't there.

    Raises:
        RefusedError: what is there is no table.
    """
    with existing(target) as file:
        if file is None:
            return {}, frozenset()
        facts = facts_of(file.schema_arrow)
        return facts, link_sets(file, facts)


def link_sets(file: pq.ParquetFile, facts: Mapping[str, str]) -> frozenset[str]:
    """Return the names of a table's link sets.

    An older one has them in one text, joined by spaces. Names may have spaces too, so that only
    its rows can tell several names from a long one.
    """
    if "link_set_names" in facts:
        return named_sets(facts)
    told = facts.get("link_sets", "")
    if " " not in told:
        return frozenset({told} - {""})
    found: set[str] = set()
    for batch in file.iter_batches(_BATCH, columns=["link_set"]):
        found.update(pc.unique(batch.column("link_set").drop_null()).to_pylist())
    return frozenset(found)


def named_sets(facts: Mapping[str, str]) -> frozenset[str]:
    """Return the names of the link sets that facts have, none where they don't say."""
    return frozenset(json.loads(facts.get("link_set_names", "[]")))


@contextmanager
def existing(target: str) -> Iterator[pq.ParquetFile | None]:
    """Open a table, None when there is none.

    Raises:
        RefusedError: there is something else, also when that only shows within the block.
    """
    filesystem, path = resolve(target)
    if filesystem.get_file_info(path).type is fs.FileType.NotFound:
        yield None
        return
    try:
        with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
            yield file
    except (ValueError, OSError, KeyError) as error:  # ArrowInvalid is a ValueError
        raise RefusedError(
            f"{target} exists but is not a table of links ({error}).",
            fix="Choose another output, or move the file away.",
            guard="unknown_output",
        ) from error


def check_owner(target: str, facts: Mapping[str, str], owner: Owner) -> None:
    """Refuse a table whose facts name another host or project; raises RefusedError."""
    host = facts.get("base_url", owner.base_url)
    if host != owner.base_url:
        raise RefusedError(
            f"{target} holds links of {host}, not of {owner.base_url}.",
            fix=OptionText(
                "Choose the right ",
                Option(name="target"),
                ", or another output. A sandbox that was started again is another host, and the "
                "earlier one's links are gone with it.",
            ),
            guard="another_host",
        )
    project = facts.get("project_id", owner.project_id)
    if project != owner.project_id:
        raise RefusedError(
            f"{target} holds links of the project {project}, not of {owner.project_id}.",
            fix=OptionText(
                "Set INCARTS_PROJECT_ID, choose the right ",
                Option(name="target"),
                ", or another output.",
            ),
            guard="another_project",
        )


def sequence_of(ledger: LedgerReader) -> int:
    """Return how many runs the ledger has seen by now: others may have published meanwhile."""
    return int(ledger.read(read_facts)["sequence"])


def check_newest(
    told_by: str,
    target: str,
    facts: Mapping[str, str],
    ledger: LedgerReader,
    known: Callable[[], int] | None = None,
) -> None:
    """Refuse a ledger that has seen fewer runs than is told of it: it is older than that.

    Args:
        told_by: what tells it, in words, like the published table itself.
        target: the published table, from which the ledger can learn what it lacks.
        facts: `ledger_id` and `ledger_sequence`, as that table has them.
        ledger: the ledger as it is now.
        known: returns its `sequence_of`, read after the facts were; None reads it here.

    Raises:
        RefusedError: as said.
    """
    if facts.get("ledger_id") != ledger.ledger_id or not ledger.ledger_id:
        return
    published = int(facts.get("ledger_sequence", 0))
    seen = known() if known else sequence_of(ledger)
    if published > seen:
        raise RefusedError(
            f"{told_by} was published from this ledger after its run {published:,}, and "
            f"{ledger.file} knows only {seen:,}: it is an older copy, or a backup. Going on would "
            "make links again that exist.",
            fix="Put the newest backup in place with `incarts ledger restore BACKUP`, and take "
            f"over what was published since with `incarts import {target}`.",
            guard="rolled_back",
        )


def _check_link_sets(target: str, found: frozenset[str], owner: Owner) -> None:
    """Refuse a table that has none of these link sets: it would be lost, and all made anew.

    A mapping may gain or lose one of several.
    """
    if found and found.isdisjoint(owner.link_sets):
        raise RefusedError(
            f"{target} holds links of {', '.join(sorted(found))!r}, not of the link set "
            f"{', '.join(owner.link_sets)!r}: every link would be made anew.",
            fix="Correct link_set, or choose another output for a new set.",
            guard="another_link_set",
        )


def _all_gone(output: Output) -> RefusedError:
    return RefusedError(
        f"{output.links} has lost its files but for the manifest, which is of another ledger.",
        fix="Point INCARTS_LEDGER at that ledger, put the files back, or choose a new folder.",
        guard="unknown_output",
    )


def _check_known(
    kind: Kind,
    target: str,
    places: Iterable[str],
    ledger: LedgerReader,
    owner: Owner,
    *,
    or_damaged: bool,
) -> None:
    """Refuse a table with ids, or keys in doubt, that the ledger doesn't have."""
    unknown: list[str] = []
    told: dict[str, str] = {}
    for place in places:
        if or_damaged and is_damaged(place, or_other=True):
            continue
        with existing(place) as file:
            if file is None:
                continue
            of_kind = set(TABLES[kind].columns.names) <= set(file.schema_arrow.names)
            if not (of_kind and is_current(ledger.file, local_file(place))):
                told = facts_of(file.schema_arrow)
                unknown += _unknown_links(file, ledger, kind.id_column)
    if unknown:
        raise RefusedError(
            f"{target} holds {len(unknown):,} links or doubts that the ledger {ledger.file} "
            f"doesn't know, like {unknown[0]}: wrong folder, lost ledger, or an old backup? Going "
            "on would make them again.",
            fix=_way_to_know(target, told, owner),
            guard="unknown_output",
        )


def _way_to_know(target: str, facts: Mapping[str, str], owner: Owner) -> str:
    """Say how a ledger gets to know a table's links; those of others it must never take over."""
    if_lost = "if it is lost,"
    if not {"base_url", "project_id"} <= facts.keys():
        if_lost = (
            "if it is lost, and you are sure that they are of the project "
            f"{owner.project_id} at {owner.base_url}, which the table doesn't say,"
        )
    return (
        f"Point INCARTS_LEDGER at the ledger that made them; {if_lost} take them over with "
        f"`incarts import {target}` (or `incarts apply --adopt`)."
    )


def _unknown_links(file: pq.ParquetFile, ledger: LedgerReader, id_column: str) -> list[str]:
    """Return the links and the keys in doubt of an output that the ledger doesn't have."""
    unknown: list[str] = []
    names = file.schema_arrow.names
    if id_column not in names:
        raise KeyError(id_column)
    wanted = [name for name in (id_column, "status", "idempotency_key") if name in names]
    # Others who write to a Delta table have text of other kinds.
    schema = pa.schema([(name, pa.string()) for name in wanted])
    for read in file.iter_batches(_BATCH, columns=wanted):
        batch = read.select(wanted).cast(schema)
        ids = pc.unique(batch.column(id_column).drop_null()).to_pylist()
        unknown += sorted(set(ids) - ledger.known_links(ids))
        if len(wanted) == 3:
            doubts = batch.filter(pc.equal(batch.column("status"), Status.IN_DOUBT.value))
            keys = doubts.column("idempotency_key").drop_null().to_pylist()
            unknown += sorted(set(keys) - ledger.known_keys(keys))
    return unknown
