"""Marks of a move: what a ledger that goes to another place, or went there, says to who opens it.

All are facts in its table `meta`, so that no version of the tables has to know of them. As long as
one stands, the version of the schema is one that no program has: those that don't know the marks
refuse the ledger for it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline.clock import from_micros
from incarts_pipeline.errors import LedgerMovedError
from incarts_pipeline.ledger import tables
from incarts_pipeline.settings import LedgerPlace

MOVED = "moved"  # in the old ledger, from before anything is copied
FILLING = "filling"  # in the new one, until all is in it
MOVES = "moves"  # the moves that brought a ledger to where it is, a JSON list of their ids
BUSY_SCHEMA = 1_000_000  # what is added to the version of the schema under a mark


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveMark:
    """A move, as either of its ledgers has it.

    `place` is the other ledger's, as it may be shown; `attempt` changes with each process that
    takes the move on, and what an earlier one still does counts no more. `at` is in microseconds.
    """

    move: str
    attempt: str
    place: str
    at: int
    ended: bool = False

    @classmethod
    def of(cls, facts: Mapping[str, str], name: str) -> MoveMark | None:
        """Return the mark of a name among a ledger's facts."""
        return cls(**json.loads(facts[name])) if name in facts else None

    def write(self, connection: sa.Connection, name: str) -> None:
        """Put it in place of one that is there."""
        value = json.dumps(asdict(self))
        connection.execute(tables.replacing(tables.meta), {"name": name, "value": value})


def erase(connection: sa.Connection, name: str) -> None:
    """Take a mark away."""
    connection.execute(sa.delete(tables.meta).where(tables.meta.c.name == name))


def set_version(connection: sa.Connection, version: int) -> None:
    """Say which version of the schema a ledger has."""
    of_schema = tables.meta.c.name == "schema_version"
    connection.execute(sa.update(tables.meta).where(of_schema).values(value=str(version)))


def moves_of(facts: Mapping[str, str]) -> list[str]:
    """Return the ids of the moves that brought a ledger to where it is."""
    found: list[str] = json.loads(facts.get(MOVES, "[]"))
    return found


def shown_place(place: LedgerPlace) -> str:
    """Return a ledger's place as it may be shown anywhere: whole, and without a password."""
    return str(place.absolute() if isinstance(place, Path) else place)


def check_moved(facts: Mapping[str, str], place: LedgerPlace) -> None:
    """Refuse a ledger that was moved away, or that isn't there as a whole yet.

    Raises:
        LedgerMovedError: as said; it names the other place.
    """
    here = shown_place(place)
    coming, gone = MoveMark.of(facts, FILLING), MoveMark.of(facts, MOVED)
    if coming is not None:
        raise LedgerMovedError(
            f"The ledger {here} is being filled by a move from {coming.place}, since "
            f"{_time(coming)}, and that has not ended.",
            fix=_unfinished(coming.place, here),
            place=coming.place,
        )
    if gone is not None and gone.ended:
        raise LedgerMovedError(
            f"The ledger {here} was moved to {gone.place} on {_time(gone)}.",
            fix=f"Set INCARTS_LEDGER to {_to_set(gone.place)}. The way back is "
            f"`{_command(gone.place, here)}`.",
            place=gone.place,
        )
    if gone is not None:
        raise LedgerMovedError(
            f"The ledger {here} is being moved to {gone.place}, since {_time(gone)}, and that has "
            "not ended.",
            fix=_unfinished(here, gone.place),
            place=gone.place,
        )


def sealed_error(place: LedgerPlace, told: str) -> LedgerMovedError:
    """Return the error of a change that a sealed ledger has refused, by what its database told."""
    return LedgerMovedError(
        f"The ledger {shown_place(place)} takes no changes any more: {told.strip(': ()')}.",
        fix="Nothing of it was recorded, and nothing is sent. `incarts ledger check` says where "
        "the ledger is.",
    )


def _to_set(place: str) -> str:
    return f"{place}, with its user and options" if "://" in place else place


def _unfinished(source: str, target: str) -> str:
    command = _command(source, target)
    return (
        f"If nobody is at it, run `{command}` again: it goes on. With --cancel behind it, the "
        "ledger stays where it was."
    )


def _command(source: str, target: str) -> str:
    return f"incarts ledger move {shlex.quote(source)} {shlex.quote(target)}"


def _time(mark: MoveMark) -> str:
    return f"{from_micros(mark.at):%Y-%m-%d %H:%M:%S} UTC"
