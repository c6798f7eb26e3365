"""Overview of a ledger: counts of what it holds, and whether it is intact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.kinds import KINDS
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.limits import known_rates
from incarts_pipeline.ledger.restore import IMPORTED
from incarts_pipeline.ledger.runs import LivingRun, Process, living_runs
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import Proof, State
from incarts_pipeline.outgoing import shown
from incarts_pipeline.rate_limit import Learned
from incarts_pipeline.text import counted

# What is not done, by state, and what that means.
OPEN_STATES: Mapping[State, str] = {
    State.INTENDED: "recorded, but not sent; the next run sends it",
    State.SENT: "being sent, or left by a run that broke off; the next run settles it",
    State.IN_DOUBT: "sent, answer unknown; the next run settles it",
    State.NEEDS_REVIEW: "may exist at Incarts; see `incarts review list`",
    State.REJECTED: "refused by Incarts; correct the row",
}

_O = tables.operation.c
_R = tables.row.c


# Whether Incarts itself is known to have made a link under its key: a person, or a table that was
# made by hand, may have named another one, and what is disputed was another key's.
_ANSWERED = sa.and_(
    sa.or_(
        tables.link.c.proof.is_(None),
        tables.link.c.proof.not_in((Proof.DISPUTED.value, Proof.REVIEW.value)),
    ),
    tables.link.c.run_id != IMPORTED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOverview:
    """One link set in numbers: `links` in use, `missing` of them, and what is not done by state.

    Of the kind `qr_codes` it is the further QR codes of the set's links that are counted.
    """

    project_id: str
    link_set: str
    kind: str  # a `models.Kind` by its name
    links: int
    missing: int
    states: dict[State, int]
    enqueued: int = 0  # of the intended ones, those that workers send

    def __str__(self) -> str:
        numbers = [counted(self.links, KINDS[self.kind].noun), f"{self.missing:,} missing"]
        numbers += [f"{n:,} {state.value.replace('_', ' ')}" for state, n in self.states.items()]
        numbers += [f"{self.enqueued:,} enqueued"] if self.enqueued else []
        return f"{self.project_id} {self.link_set}: {', '.join(numbers)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A ledger in numbers.

    `damage` is what its database found wrong, empty for nothing; what that means says `soundness`.
    """

    facts: dict[str, str]
    sets: list[SetOverview]
    running: dict[str, LivingRun]
    rates: dict[str, Learned]  # by the fingerprint of their API key
    waiting: dict[str, str]  # what the runs of an API key wait for just now
    two_links: int  # keys under which Incarts made more than one link
    damage: str
    soundness: str

    def __str__(self) -> str:
        counts = [f"  {one}" for one in self.sets]
        head = f"ledger for {self.facts['base_url']}"
        return "\n".join(map(shown, [head, *counts, *self.lines(), *self.alarms()]))

    def shown_states(self) -> list[State]:
        """Return the states that any set has operations in."""
        return [state for state in OPEN_STATES if any(one.states.get(state) for one in self.sets)]

    def lines(self) -> list[str]:
        """Return what the counts mean, and what else is to be known of the ledger."""
        lines = ["missing: has a link, but left the catalog"] if self._has_missing() else []
        lines += [
            f"{state.value.replace('_', ' ')}: {OPEN_STATES[state]}"
            for state in self.shown_states()
        ]
        if any(one.enqueued for one in self.sets):
            lines.append("enqueued: of the intended ones, what `incarts work` sends")
        lines += [f"running now: {run}" for run in self.running.values()]
        lines += [] if self.running else ["nothing is running"]
        lines += [f"rate limit {_of_key(key)}: {found}" for key, found in self.rates.items()]
        lines += [f"waiting {_of_key(key)}: {reason}" for key, reason in self.waiting.items()]
        return lines if self.damage else [*lines, self.soundness]

    def alarms(self) -> list[str]:
        """Return what must not be."""
        told = counted(self.two_links, "key has", "keys have")
        alarms = [f"alarm: {told} more than one link"] if self.two_links else []
        return alarms + ([f"damaged: {self.damage}"] if self.damage else [])

    def _has_missing(self) -> bool:
        return any(one.missing for one in self.sets)


def _of_key(fingerprint: str) -> str:
    return f"for the API key with the fingerprint {fingerprint}"


def overview(
    connection: sa.Connection, facts: dict[str, str], now: Stamp, waiting: dict[str, str]
) -> Overview:
    """Count what the ledger holds."""
    sets = connection.execute(sa.select(tables.link_set)).all()
    states = _states(connection)
    counts = sa.select(_O.set_id, sa.func.count()).where(
        tables.IS_ENQUEUED, _O.state == State.INTENDED.value
    )
    enqueued = {row[0]: row[1] for row in connection.execute(counts.group_by(_O.set_id))}
    twice = (
        sa.select(tables.link.c.op_id)
        .where(_ANSWERED)
        .group_by(tables.link.c.op_id)
        .having(sa.func.count() > 1)
        .subquery()
    )
    database = database_of(connection)
    check = list(database.damage(connection, quick=True))
    return Overview(
        facts=facts,
        sets=[
            _set(connection, s, states.get(s.set_id, {}), enqueued.get(s.set_id, 0)) for s in sets
        ],
        running=living_runs(connection, Process.current(), now),
        rates=known_rates(connection),
        waiting=waiting,
        two_links=connection.scalar(sa.select(sa.func.count()).select_from(twice)) or 0,
        damage="; ".join(check),
        soundness=database.soundness(connection),
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


def _set(
    connection: sa.Connection, found: Any, states: dict[State, int], enqueued: int
) -> SetOverview:
    links, missing = connection.execute(
        sa.select(sa.func.count(), sa.func.count(_R.missing_since)).where(_R.set_id == found.set_id)
    ).one()
    return SetOverview(
        project_id=found.project_id,
        link_set=found.name,
        kind=found.kind,
        links=links,
        missing=missing,
        states=states,
        enqueued=enqueued,
    )
