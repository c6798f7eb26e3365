"""Start of a run: its plan is checked, and the ledger and its tables are told whose it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger import LedgerReader, ensure_sets, join_partition, next_sequence
from incarts_pipeline.plan import NamedPath, Plan, check_apart, check_signer
from incarts_pipeline.settings import ResolvedSettings

if TYPE_CHECKING:
    from incarts_pipeline.publish import Output, Owner


def check_plan(
    plan: Plan,
    settings: ResolvedSettings,
    base_url: str,
    tables: Output,
    read: Sequence[NamedPath],
) -> Owner:
    """Make sure that a plan may be carried out, and its tables written; return whose they are.

    Raises:
        RefusedError: its signature is missing, it is for another target, or the tables aren't
            this plan's to write.
        CatalogError: the catalog's files changed after they were planned.
        PublishError: the tables can't be written.
    """
    from incarts_pipeline.publish import Owner, check_columns, check_output

    if plan.kind.is_catalog:
        check_signer(plan.signed_by, settings.require_signature)
    made_for = plan.options.base_url or base_url, plan.ledger.file
    if made_for != (base_url, settings.ledger):
        raise RefusedError(
            f"The plan was made for {made_for[0]} with the ledger {made_for[1]}; the settings are "
            f"for {base_url} with {settings.ledger}.",
            fix="Use the settings that the plan was made with, or plan again.",
            guard="another_target",
        )
    owner = Owner(
        base_url=base_url, project_id=plan.options.project_id, link_sets=plan.options.link_sets
    )
    reader = LedgerReader(settings.ledger, base_url=base_url)
    check_apart(tables.paths_of(plan.kind), read)
    check_output(plan.kind, tables, reader, owner)
    check_columns(tables, plan.key_fields)
    if plan.fingerprint is not None:
        plan.fingerprint.check()
    return owner


def note_sets(plan: Plan, connection: sa.Connection) -> tuple[dict[str, int], int]:
    """Note in the ledger what is about to be done; return the sets' ids, and the sequence."""
    # What its rows are known by is told by the table that lists them all.
    keys = [field.name for field in plan.key_fields] if plan.kind.is_catalog else []
    options = plan.options
    set_ids = ensure_sets(connection, options.project_id, options.link_sets, keys, plan.kind)
    sequence = next_sequence(connection)
    for rows in plan.moved_rows(set_ids):
        join_partition(connection, rows, options.partition or "")
    return set_ids, sequence


def facts_of_run(plan: Plan, ledger_id: str, sequence: int, run_id: str) -> dict[str, str]:
    """Return what a published table says of itself, beside whose it is."""
    facts = {
        "ledger_id": ledger_id,
        "ledger_sequence": str(sequence),
        "run_id": run_id,
        "key_columns": json.dumps([field.name for field in plan.key_fields]),
    }
    partition = plan.options.partition
    return facts if partition is None else facts | {"partition": partition}
