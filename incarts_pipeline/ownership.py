"""Whose a published table is: nothing is sent for, or written over, what belongs to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger.view import LedgerView
from incarts_pipeline.models import Status
from incarts_pipeline.placing import check_place, local_file, resolve
from incarts_pipeline.publish import facts_of
from incarts_pipeline.standing import stands

_BATCH = 50_000
_LINK_ID = "link_id"


def check_output(
    target: str,
    ledger: LedgerView,
    project: str,
    link_sets: Sequence[str],
    *,
    id_column: str = _LINK_ID,
) -> None:
    """Refuse, before anything is sent, an output that can't be written or that isn't ours.

    Ours is a table of this project, of one of these link sets, whose links the ledger knows:
    `id_column` has their ids. It knows those of a file that is as it was published from the ledger
    as it is. A table that doesn't say whose it is may be anybody's.

    Raises:
        PublishError: as `check_place` raises.
        RefusedError: it is another project's or link set's, holds links that the ledger doesn't
            know, or is no table of links.
    """
    check_place(target)
    filesystem, path = resolve(target)
    if filesystem.get_file_info(path).type is fs.FileType.NotFound:
        return
    try:
        with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
            facts = facts_of(file.schema_arrow)
            check_project(target, facts, project)
            _check_link_sets(target, facts, link_sets)
            if id_column == _LINK_ID and stands(ledger.file, local_file(target)):
                return
            unknown = _unknown_links(file, ledger, id_column)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise RefusedError(
            f"{target} exists but is not a table of links ({error}).",
            fix="Choose another output, or move the file away.",
            guard="unknown_output",
        ) from error
    if unknown:
        raise RefusedError(
            f"{target} holds {len(unknown):,} links or doubts that the ledger {ledger.file} "
            f"doesn't know, like {unknown[0]}: wrong folder, lost ledger, or an old backup? Going "
            "on would make them again.",
            fix="Point INCARTS_LEDGER at the ledger that made them; if it is lost, take them over "
            f"with `incarts import {target}` (or `incarts apply --adopt`).",
            guard="unknown_output",
        )


def check_project(target: str, facts: Mapping[str, str], project: str) -> None:
    """Refuse a table whose facts name another project; raises RefusedError."""
    owner = facts.get("project_id", project)
    if owner != project:
        raise RefusedError(
            f"{target} holds links of the project {owner}, not of {project}.",
            fix="Set INCARTS_PROJECT_ID, choose the right --target, or another output.",
            guard="another_project",
        )


def _check_link_sets(target: str, facts: Mapping[str, str], link_sets: Sequence[str]) -> None:
    """Refuse a table that has none of these link sets: it would be lost, and all made anew.

    A mapping may gain or lose a set of several, and a plan without rows has none.
    """
    owners = facts.get("link_sets", "").split()
    if owners and link_sets and not set(owners) & set(link_sets):
        raise RefusedError(
            f"{target} holds links of the link set {', '.join(owners)}, not of "
            f"{', '.join(link_sets)}: every link would be made anew.",
            fix="Correct link_set; for a new set choose another output, or move the file away.",
            guard="another_link_set",
        )


def _unknown_links(file: pq.ParquetFile, ledger: LedgerView, id_column: str) -> list[str]:
    """Return the links and the keys in doubt of an output that the ledger doesn't have."""
    unknown: list[str] = []
    names = file.schema_arrow.names
    if id_column not in names:
        raise KeyError(id_column)
    wanted = [name for name in (id_column, "status", "idempotency_key") if name in names]
    for batch in file.iter_batches(_BATCH, columns=wanted):
        ids = pc.unique(batch.column(id_column).drop_null()).to_pylist()
        unknown += sorted(set(ids) - ledger.known_links(ids))
        if len(wanted) == 3:
            doubts = batch.filter(pc.equal(batch.column("status"), Status.IN_DOUBT.value))
            keys = doubts.column("idempotency_key").drop_null().to_pylist()
            unknown += sorted(set(keys) - ledger.known_keys(keys))
    return unknown
