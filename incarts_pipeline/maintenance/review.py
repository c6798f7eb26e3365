"""Review of what may exist at Incarts: the cases, the evidence, and giving an operation up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import MappingError, RefusedError
from incarts_pipeline.identity import joined_key
from incarts_pipeline.ledger import (
    Case,
    HistoryEntry,
    Process,
    entries_of,
    existing_ledger,
    key_columns,
    living_runs,
    once,
    replay_rule,
    review,
)
from incarts_pipeline.settings import Settings, load_settings

_QUESTION = (
    "For each operation: was a link, or at an endpoint …/qr-codes a QR code, created under this "
    "idempotency key, and what is its id? "
    "Attempts are listed with their correlation ids and UTC times."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that Incarts' support needs, as one JSON object; it holds no API key."""

    cases: Sequence[Case]
    content: dict[str, Any]


def open_cases(settings: Settings | None = None, *, keys: Sequence[str] = ()) -> list[Case]:
    """Return the operations whose link may exist, oldest first; with `keys`, only those.

    A case with `needs_person` false is settled by the next run, or by the living one that is at it
    (`run_id`); only a person settles the others. With `keys`, none may be a living run's. The
    settings are those of the environment and incarts.toml, unless others are given; so it is with
    the functions below.

    Raises:
        LedgerError: there is no ledger, or it can't be read.
        RefusedError: one of the keys is not open.
    """
    chosen = settings or load_settings()
    return existing_ledger(chosen).read(lambda connection: _cases(connection, chosen, keys))


def evidence(settings: Settings | None = None, *, keys: Sequence[str] = ()) -> Evidence:
    """Gather what is known of all open operations, or of some; raises as `open_cases` does.

    What a living run is at is left out: that run will know.
    """

    def gather(connection: sa.Connection) -> Evidence:
        found = [case for case in _cases(connection, chosen, keys) if case.run_id is None]
        content = {
            "question": _QUESTION,
            "generated_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "base_url": view.facts["base_url"],
            "ledger_id": view.ledger_id,
            "operations": review.evidence(connection, found),
        }
        return Evidence(cases=found, content=content)

    chosen = settings or load_settings()
    view = existing_ledger(chosen)
    return view.read(gather)


def recreate(keys: Sequence[str], settings: Settings | None = None) -> list[Case]:
    """Give operations up that have no link; the next run makes new ones under a new key.

    If one of them had a link after all, it becomes a duplicate: ask Incarts first.

    Raises:
        RefusedError: a key is not open, or the next run can still settle it by itself.
        LedgerError: the ledger can't be used.
    """
    chosen = settings or load_settings()
    with once(existing_ledger(chosen).file) as connection:
        found = cases_to_settle(connection, chosen, keys)
        for case in found:
            if not case.needs_person:
                raise RefusedError(
                    f"{case.idempotency_key} can still be settled under its own key.",
                    fix="Run `incarts apply` again; only what needs review can be recreated.",
                    guard="still_in_doubt",
                )
            review.recreate(connection, case.op_id, Clock().now())
    return found


def row_history(
    row: str | Mapping[str, object],
    settings: Settings | None = None,
    *,
    link_set: str | None = None,
) -> list[HistoryEntry]:
    """Return all that was ever sent for a row, oldest first, in one link set or in all.

    `row` is a row key, or its key columns' values by their names.

    Raises:
        MappingError: the rows of the link set are known by other columns.
        LedgerError: there is no ledger, or it can't be read.
    """
    view = existing_ledger(settings or load_settings())
    known = view.read(key_columns)
    columns = {names for name, names in known.items() if link_set in (None, name)}
    row_key = row if isinstance(row, str) else _row_key(row, columns)
    return view.read(lambda connection: entries_of(connection, row_key, link_set))


def _row_key(row: Mapping[str, object], columns: set[tuple[str, ...]]) -> str:
    """Return the row key of named values, in the order of the link set's unique key."""
    for names in columns or {tuple(row)}:
        if set(names) == set(row):
            return joined_key([str(row[name]) for name in names])
    keys = " or ".join(", ".join(names) for names in sorted(columns))
    raise MappingError(
        f"The rows are known by {keys}, not by {', '.join(row)}.",
        fix="Give each of these columns once, like sku=123.",
    )


def cases_to_settle(
    connection: sa.Connection, settings: Settings, keys: Sequence[str]
) -> list[Case]:
    """Return the cases of some keys as `open_cases` does, in the transaction that settles them.

    What was looked up before it may be another run's by now.
    """
    review.wait_for_claims(connection)
    return _cases(connection, settings, keys)


def _cases(connection: sa.Connection, settings: Settings, keys: Sequence[str]) -> list[Case]:
    now = Clock().now()
    living = living_runs(connection, Process.current(), now)
    found = review.cases(connection, replay_rule(settings), now, list(living), keys)
    unknown = set(keys) - {case.idempotency_key for case in found if case.run_id is None}
    if unknown:
        raise RefusedError(
            f"{min(unknown)} is not open: it is settled, a run is at it, or it isn't in this "
            "ledger.",
            fix="`incarts review list` shows what is open.",
            guard="not_in_review",
        )
    return found
