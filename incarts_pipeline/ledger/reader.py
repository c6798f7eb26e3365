"""Reader of a ledger: changes nothing, and takes one that isn't there yet for an empty one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.kinds import LINKS, Kind
from incarts_pipeline.ledger.claims import Call, lost_calls
from incarts_pipeline.ledger.database import check_facts, clock_of, lift, once, read_facts
from incarts_pipeline.ledger.limits import load_rate
from incarts_pipeline.ledger.link_owners import without_link_to_use
from incarts_pipeline.ledger.lost_keys import has_lost
from incarts_pipeline.ledger.queries import Label, known_keys, known_links, labels_of, set_ids_of
from incarts_pipeline.ledger.runs import (
    LivingRun,
    Night,
    Process,
    complete_sets,
    living_runs,
    nights_of,
)
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.ledger.tables import SCHEMA_VERSION
from incarts_pipeline.rate_limit import Learned
from incarts_pipeline.settings import LedgerPlace, Settings
from incarts_pipeline.text import Option, OptionText

T = TypeVar("T")


class LedgerReader:
    """Reads one ledger; `path` is None while there is no ledger yet.

    Raises, from the constructor:
        RefusedError: it is older than its witness says, or can't be kept where it is.
        LedgerMovedError: the ledger was moved to another place, or is being moved.
        LedgerForeignError: the ledger belongs to another base URL or a newer version.
        LedgerDamagedError: the file is not an intact ledger.
        LedgerError: it is of an older version, and can't be written to lift it.
    """

    def __init__(self, path: LedgerPlace, *, base_url: str | None = None) -> None:
        self.file = path
        store = store_at(path)
        store.check()
        known = store.newest_known()  # before the facts, as other processes go on writing
        self.path: LedgerPlace | None = path if store.is_there() else None
        self.facts = self.read(read_facts) if self.path else {}
        store.check_newest(known, self.facts)
        if not self.facts:
            self.path = None
        else:
            check_facts(self.facts, base_url, path)
            if int(self.facts["schema_version"]) < SCHEMA_VERSION:
                lift(path)
                self.facts = self.read(read_facts)

    def clock(self, own: Clock) -> Clock:
        """Return the clock that decides how old something in the ledger is."""
        return clock_of(self.file, own)

    @property
    def ledger_id(self) -> str:
        """The ledger's UUID, empty while there is no ledger."""
        return self.facts.get("ledger_id", "")

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` on a read-only connection."""
        with once(self.file, read_only=True) as connection:
            return work(connection)

    def set_ids(self, project_id: str, names: Sequence[str], kind: Kind = LINKS) -> dict[str, int]:
        """Return the ids of those link sets that the ledger has."""
        if self.path is None or not names:
            return {}
        return self.read(lambda connection: set_ids_of(connection, project_id, names, kind))

    def learned(self, api_key_fingerprint: str | None) -> Learned | None:
        """Return what is known of a key's rate limit, None when nothing is."""
        if self.path is None or api_key_fingerprint is None:
            return None
        return self.read(lambda connection: load_rate(connection, api_key_fingerprint))

    def living_runs(self, now: Stamp) -> dict[str, LivingRun]:
        """Return the runs that may be sending now, by their ids."""
        if self.path is None:
            return {}
        return self.read(lambda connection: living_runs(connection, Process.current(), now))

    def complete_sets(self) -> set[str]:
        """Return the names of link sets that once had all links of their catalog."""
        return set() if self.path is None else self.read(complete_sets)

    def nights(self, link_sets: Iterable[str]) -> list[Night]:
        """Return what the runs over these link sets made night by night, oldest first."""
        if self.path is None:
            return []
        return self.read(lambda connection: nights_of(connection, link_sets))

    def known_links(self, link_ids: Sequence[str]) -> set[str]:
        """Return those of the link ids that the ledger has."""
        if self.path is None:
            return set()
        return self.read(lambda connection: known_links(connection, link_ids))

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Return those of the idempotency keys that the ledger has."""
        if self.path is None:
            return set()
        return self.read(lambda connection: known_keys(connection, keys))

    def held(
        self, batches: Iterable[Sequence[Call]], *, retry_rejected: bool
    ) -> list[dict[str, object]]:
        """Return the calls that need review instead: link set, row key and content hash.

        A restored ledger holds their keys, or they had a link of this content that is disputed.
        """
        if self.path is None:
            return []
        if not self.read(lambda c: has_lost(c) or without_link_to_use(c)):
            return []
        return [
            {"link_set": one.link_set, "row_key": one.row_key, "content_hash": one.content_hash}
            for calls in batches
            for one in self.read(partial(lost_calls, calls=calls, retry_rejected=retry_rejected))
        ]

    def labels(self, link_ids: Sequence[str]) -> dict[str, Label]:
        """Return what links were called when they were sent, by their ids."""
        if self.path is None:
            return {}
        return self.read(lambda connection: labels_of(connection, link_ids))


def existing_ledger(settings: Settings) -> LedgerReader:
    """Return the ledger that the settings name.

    Raises:
        LedgerError: there is none, or it can't be read.
    """
    ledger = LedgerReader(settings.ledger)
    if ledger.path is None:
        raise LedgerError(
            f"There is no ledger {settings.ledger} yet.",
            fix=OptionText(
                "The first `incarts apply` makes it; or point ",
                Option(name="ledger"),
                " or INCARTS_LEDGER at it.",
            ),
        )
    return ledger
