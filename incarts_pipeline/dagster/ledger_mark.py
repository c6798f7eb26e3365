"""Mark of a ledger in a materialization: how far it had come, as Dagster remembers it.

The ledger's folder, with the output in it, may have been rolled back as a whole: then only Dagster
knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.dagster.metadata import LEDGER

if TYPE_CHECKING:
    from incarts_pipeline.settings import Settings

# How many materializations are looked through for the last from the same Incarts: mostly one.
_PAGE = 20
_MOST_PAGES = 50


def check_ledger(
    instance: dg.DagsterInstance, key: dg.AssetKey, settings: Settings, output: str
) -> None:
    """Refuse a ledger that is older than an asset's last materialization, or gone since.

    Args:
        instance: has the materializations.
        key: the asset's.
        settings: name the ledger, and the Incarts.
        output: the published table, for messages.

    Raises:
        RefusedError: as said.
    """
    from incarts_pipeline.errors import RefusedError
    from incarts_pipeline.ledger import LedgerReader
    from incarts_pipeline.publish import check_newest

    facts = _last_mark(instance, key, settings.base_url)
    if facts is None:
        return
    told_by = f"The last materialization of {key.to_user_string()}"
    ledger = LedgerReader(settings.ledger, base_url=settings.base_url)
    try:
        if ledger.path is None:
            raise RefusedError(
                f"{told_by} was made from a ledger ({facts['ledger_id']}), and there is no "
                f"{settings.ledger}. Going on would make links again that exist.",
                fix="Take over what was published with "
                f"`incarts import {output}`, or put a backup in place with "
                "`incarts ledger restore BACKUP`.",
                guard="rolled_back",
            )
        check_newest(told_by, output, facts, ledger)
    except RefusedError as error:
        error.fix = f"{error.fix} To begin anew on purpose, wipe the asset's materializations."
        raise


def _last_mark(
    instance: dg.DagsterInstance, key: dg.AssetKey, base_url: str | None
) -> Mapping[str, Any] | None:
    """Return how far the ledger of this Incarts had come at the last materialization from it.

    Not just the last of all: a run against another Incarts between would hide it.
    """
    cursor = None
    for _ in range(_MOST_PAGES):
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        for record in page.records:
            made = record.asset_materialization
            mark = made.metadata.get(LEDGER) if made is not None else None
            facts = mark.value if isinstance(mark, dg.JsonMetadataValue) else None
            if isinstance(facts, dict) and facts.get("base_url") == base_url:
                return facts
        if not page.has_more:
            break
        cursor = page.cursor
    return None
