"""Moves of a ledger: from a file to a database, back, or to another name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from incarts_pipeline.ledger import give_up, relocate, shown_place
from incarts_pipeline.settings import LedgerPlace, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLedger:
    """A ledger that was moved: its `place`, without a password, and its `rows` by table."""

    place: str
    rows: Mapping[str, int]

    @property
    def links(self) -> int:
        """The links in it."""
        return self.rows["link"]


def move_ledger(source: str | Path, destination: str | Path) -> MovedLedger:
    """Move a ledger with all that is in it, and have the old one refused from then on.

    Both are files, or URIs of PostgreSQL databases. Every row is compared with its original. Where
    a move broke off, the same call goes on with it. The way back is a move, too.

    Raises:
        RefusedError: a run is at work on the ledger, it isn't the newest, or the new place isn't
            empty or can't keep what is in it.
        LedgerMovedError: it was moved to another place before.
        LedgerError: there is no ledger, or one of the two can't be used. Unless the error says
            otherwise, the ledger is where it was.
    """
    target = _place(destination)
    return MovedLedger(rows=relocate(_place(source), target), place=shown_place(target))


def cancel_move(source: str | Path, destination: str | Path) -> str:
    """Give up a move that has not ended; return where the ledger is, without a password.

    Raises:
        RefusedError: the ledger isn't being moved there, or all of it is there already.
        LedgerError: one of the two can't be used, so that it can't be told.
    """
    place = _place(source)
    give_up(place, _place(destination))
    return shown_place(place)


def _place(given: str | Path) -> LedgerPlace:
    return load_settings(ledger=given).ledger
