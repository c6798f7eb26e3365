"""Counts of what a ledger holds, and whether its file is intact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.rates import known_rates
from incarts_pipeline.ledger.runs import LivingRun, Process, living_runs
from incarts_pipeline.ledger.states import Kind
from incarts_pipeline.models import State
from incarts_pipeline.pacing.learned import Learned

_O = tables.operation.c
_R = tables.row.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOverview:
    """One link set in numbers: `links` in use, `missing` of them, and what is not done by state.

    Of the kind `qr_codes` it is the further QR codes of the set's links that are counted.
    """

    project_id: str
    link_set: str
    kind: Kind
    links: int
    missing: int
    states: dict[State, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A ledger in numbers; `damage` is what SQLite's integrity check found, empty when intact."""

    facts: dict[str, str]
    sets: list[SetOverview]
    running: dict[str, LivingRun]
    rates: dict[str, Learned]  # by the fingerprint of their API key
    waiting: dict[str, str]  # what the runs of an API key wait for just now
    two_links: int  # keys under which Incarts made more than one link
    damage: str


def overview(
    connection: sa.Connection, facts: dict[str, str], now: Stamp, waiting: dict[str, str]
) -> Overview:
    """Count what the ledger holds."""
    sets = connection.execute(sa.select(tables.link_set)).all()
    states = _states(connection)
    twice = (
        sa.select(tables.link.c.op_id)
        .group_by(tables.link.c.op_id)
        .having(sa.func.count() > 1)
        .subquery()
    )
    check = connection.exec_driver_sql("PRAGMA quick_check(3)").scalars().all()
    return Overview(
        facts=facts,
        sets=[_set(connection, s, states.get(s.set_id, {})) for s in sets],
        running=living_runs(connection, Process.current(), now),
        rates=known_rates(connection),
        waiting=waiting,
        two_links=connection.scalar(sa.select(sa.func.count()).select_from(twice)) or 0,
        damage="" if check == ["ok"] else "; ".join(check),
    )


def _states(connection: sa.Connection) -> dict[int, dict[State, int]]:
    """Count each set's operations without a link, by what holds just them: the partial indexes."""
    found: dict[int, dict[State, int]] = {}
    for those in (tables.IS_OPEN, tables.IS_CLOSED):
        counts = sa.select(_O.set_id, _O.state, sa.func.count()).where(those)
        for set_id, state, n in connection.execute(counts.group_by(_O.set_id, _O.state)):
            if state != State.ABANDONED:
                found.setdefault(set_id, {})[State(state)] = n
    return found


def _set(connection: sa.Connection, found: Any, states: dict[State, int]) -> SetOverview:
    links, missing = connection.execute(
        sa.select(sa.func.count(), sa.func.count(_R.missing_since)).where(_R.set_id == found.set_id)
    ).one()
    return SetOverview(
        project_id=found.project_id,
        link_set=found.name,
        kind=Kind(found.kind),
        links=links,
        missing=missing,
        states=states,
    )
