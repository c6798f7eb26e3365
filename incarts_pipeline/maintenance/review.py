"""Review of what may exist at Incarts: the evidence, and the two ways out that a person has."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from incarts_pipeline.api import client_of, is_id
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import ApiError, MappingError, NotFoundError, RefusedError
from incarts_pipeline.identity import joined_key
from incarts_pipeline.ledger import (
    Case,
    HistoryEntry,
    Process,
    bodies_of,
    entries_of,
    existing_ledger,
    key_columns,
    living_runs,
    once,
    replay_rule,
    review,
)
from incarts_pipeline.models import Link, QrCode
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking

T = TypeVar("T")

_QUESTION = (
    "For each operation: was a link, or at an endpoint …/qr-codes a QR code, created under this "
    "idempotency key, and what is its id? "
    "Attempts are listed with their correlation ids and UTC times."
)
# What a link that was read back must have in common with what was sent.
_COMPARED = ("projectId", "name", "retailer", "intent")


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


def adopt(
    key: str, link_id: str, settings: Settings | None = None, *, unchecked: bool = False
) -> Link | QrCode:
    """Record that the link of an operation is `link_id`, and return it as Incarts has it.

    The link is read back (scope `links:read`) and compared with what was sent; `unchecked` takes
    the id alone. So does an operation that makes a QR code, since Incarts shows none by its id:
    `link_id` is the code's id then.

    Raises:
        RefusedError: the key is not open, the link is another row's, or it holds something else.
        ApiError: Incarts doesn't let us read the link.
        LedgerError: the ledger can't be used.
    """
    chosen = settings or load_settings()
    [case] = open_cases(chosen, keys=[key])
    made = _found(link_id, case, chosen, unchecked=unchecked)
    now = Clock().now()
    _write(chosen, lambda connection: review.adopt(connection, case.op_id, made, now))
    return made


def recreate(keys: Sequence[str], settings: Settings | None = None) -> list[Case]:
    """Give operations up that have no link; the next run makes new ones under a new key.

    If one of them had a link after all, it becomes a duplicate: ask Incarts first.

    Raises:
        RefusedError: a key is not open, or the next run can still settle it by itself.
        LedgerError: the ledger can't be used.
    """
    chosen = settings or load_settings()
    found = open_cases(chosen, keys=keys)
    for case in found:
        if not case.needs_person:
            raise RefusedError(
                f"{case.idempotency_key} can still be settled under its own key.",
                fix="Run `incarts apply` again; only what needs review can be recreated.",
                guard="still_in_doubt",
            )
    now = Clock().now()

    def give_up(connection: sa.Connection) -> None:
        for case in found:
            review.recreate(connection, case.op_id, now)

    _write(chosen, give_up)
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


def _write(settings: Settings, work: Callable[[sa.Connection], T]) -> T:
    with once(existing_ledger(settings).file) as connection:
        return work(connection)


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


async def _read_back(settings: Settings, link_id: str) -> Link:
    async with client_of(settings) as client:
        try:
            return await client.get_link(link_id)
        except ValueError as error:
            raise RefusedError(f"{error}.", fix="Check the id.", guard="unknown_link") from error
        except NotFoundError as error:
            raise RefusedError(
                f"Incarts knows no link {link_id}, or this key may not see it.",
                fix="Check the id.",
                guard="unknown_link",
            ) from error
        except ApiError as error:
            error.fix = (
                "Use a key with links:read, or adopt it with --unchecked; in Python unchecked=True."
            )
            raise


def _found(made_id: str, case: Case, settings: Settings, *, unchecked: bool) -> Link | QrCode:
    """Return what a person found by its id, compared with what was sent where that can be had."""
    if case.for_link_id is not None:
        return _code(made_id, case)
    if unchecked:
        return Link(id=made_id)
    link = run_blocking(lambda _: _read_back(settings, made_id))
    bodies = existing_ledger(settings).read(lambda c: bodies_of(c, [case.op_id]))
    _compare(link, bodies.get(case.op_id))
    return link


def _code(code_id: str, case: Case) -> QrCode:
    if not is_id(code_id) or code_id == case.for_link_id:
        raise RefusedError(
            f"{code_id!r} is not a QR code's id.",
            fix="Give the id of the code, not of its link: 3 to 128 characters, like qr_….",
            guard="unknown_link",
        )
    return QrCode(id=code_id, link_id=case.for_link_id)


def _compare(link: Link, body: bytes | None) -> None:
    """Refuse a link that holds something else than what was sent."""
    sent = json.loads(body) if body else {}
    differing = [
        f"{name} is {link.raw[name]!r}, not {sent[name]!r}"
        for name in _COMPARED
        if name in sent and name in link.raw and link.raw[name] != sent[name]
    ]
    if differing:
        raise RefusedError(
            f"{link.id} is not the link of this row: {'; '.join(differing)}.",
            fix="Check the id; --unchecked, in Python unchecked=True, adopts it all the same.",
            guard="another_link",
        )
