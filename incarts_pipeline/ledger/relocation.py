"""Relocation of a ledger: all of it goes to another place, and the old one is refused from then on.

The order is what keeps two ledgers from being at work at once, wherever a process is killed:

1. The old ledger is marked and sealed, in one transaction that excludes all others and in which no
   run lives. From then on its database refuses every change, also those of other versions.
2. The new place is reserved: nobody can begin a ledger there.
3. All rows are copied and compared, and the reservation is taken away, in one transaction.
4. It is committed while the old ledger's mark is held, and says that this attempt is still the one
   that counts. Then the mark says that the move has ended.

Who comes after a killed process takes the move on under an attempt of its own: a place that is
reserved is filled anew, and one that is complete is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerForeignError,
    LedgerMovedError,
    RefusedError,
)
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.database import clock_of
from incarts_pipeline.ledger.integrity import counts_of
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.ledger.relocation_marks import (
    BUSY_SCHEMA,
    MOVED,
    MoveMark,
    check_moved,
    shown_place,
)
from incarts_pipeline.ledger.relocation_rows import Side, check_keepable
from incarts_pipeline.ledger.relocation_steps import (
    There,
    begin,
    check_nobody_runs,
    end,
    facts_at,
    fill,
    free,
    reserve,
    unmark,
    what_is_there,
    within,
)
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.models import State
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.settings import LedgerPlace
from incarts_pipeline.text import counted

logger = logger_of(__name__)

_CLOCKS_APART_SECONDS = 5.0


def relocate(source: LedgerPlace, target: LedgerPlace) -> dict[str, int]:
    """Move a ledger, or go on with a move that broke off; return its rows by table.

    Raises:
        RefusedError: a run is at work on it, it isn't the newest, or the new place isn't empty or
            can't keep what is in it.
        LedgerMovedError: it was moved to another place before.
        LedgerError: there is no ledger, or one of the two can't be used. Unless the error says
            otherwise, the ledger is where it was.
    """
    facts = facts_at(source)
    mark = MoveMark.of(facts, MOVED)
    if mark is not None and mark.ended:
        if what_is_there(facts_at(target), facts, mark) is not There.COMPLETE:
            check_moved(facts, source)
    elif mark is not None:
        _check_version(source, facts)
        _what_is_at(target, facts, mark)
        _carry_out(source, target, facts)
    else:
        facts = _facts_to_move(source)
        _what_is_at(target, facts, None)
        _check_movable(source, target)
        _carry_out(source, target, facts)
    with within(target, read_only=True) as connection:
        return counts_of(connection)


def give_up(source: LedgerPlace, target: LedgerPlace) -> None:
    """Let a ledger be where it was, whose move to a place has not ended.

    Raises:
        RefusedError: it isn't being moved there, or all of it is there already.
        LedgerError: one of the two can't be used, so that it can't be told.
    """
    facts = facts_at(source)
    mark = MoveMark.of(facts, MOVED)
    if mark is None:
        raise RefusedError(
            f"The ledger {source} isn't being moved.",
            fix="There is nothing to cancel.",
            guard="not_moving",
        )
    _what_is_at(target, facts, mark)  # it must be the place of this move
    if not mark.ended:
        mark = begin(source, target)  # what another process still does counts no more
    if mark.ended or _what_is_at(target, facts, mark) is There.COMPLETE:
        raise RefusedError(
            f"All of the ledger {source} is at {mark.place} already.",
            fix="Run the same without --cancel, which ends the move. Then it can be moved back.",
            guard="move_ended",
        )
    unmark(source, mark)
    free(target, mark)


def _facts_to_move(source: LedgerPlace) -> dict[str, str]:
    """Return the facts of a ledger that may be used, lifted to this version."""
    facts = LedgerReader(source).facts
    if not facts:
        raise LedgerError(
            f"There is no ledger {source} yet.", fix="Give the place of the ledger that is to move."
        )
    return facts


def _carry_out(source: LedgerPlace, target: LedgerPlace, facts: Mapping[str, str]) -> None:
    mark = begin(source, target)
    committing: list[bool] = []
    try:
        if reserve(source, target, mark, facts) is There.COMPLETE:
            committing.append(True)
            end(source, mark)
        else:
            fill(source, target, mark, committing)
    except BaseException as error:
        told = _taken_back(source, target, mark, possible=not committing)
        if told and isinstance(error, LedgerError | RefusedError):
            error.message = f"{error.message} {told}"
        raise


def _taken_back(
    source: LedgerPlace, target: LedgerPlace, mark: MoveMark, *, possible: bool
) -> str | None:
    """Let the ledger be where it was; return what is to be said when it isn't."""
    if possible:
        try:
            unmark(source, mark)
        except LedgerError as error:
            logger.error("The ledger could not be given free again: %s", error)
        else:
            with suppress(LedgerError):  # what is reserved for it can be taken at the next move
                free(target, mark)
            return None
    return "The move has not ended: the ledger is refused until it is run again."


def _what_is_at(target: LedgerPlace, facts: Mapping[str, str], mark: MoveMark | None) -> There:
    """Return what is at the new place of the ledger that has these facts.

    Raises:
        RefusedError: another ledger is, or was.
        LedgerMovedError: the move that was begun goes to another place.
    """
    found = what_is_there(facts_at(target), facts, mark)
    if found is None:
        raise RefusedError(
            f"There is a ledger at {target} already.",
            fix="Give a place where none is: a file that isn't there, or another name of a ledger "
            "in the database, like `?ledger=new`.",
            guard="target_not_empty",
        )
    is_known = found in (There.COMPLETE, There.RESERVED)
    if mark is not None and mark.place != shown_place(target) and not is_known:
        raise LedgerMovedError(
            f"The move that was begun goes to {mark.place}, not to {shown_place(target)}.",
            fix="Give that place; with --cancel behind it, the ledger stays where it was.",
            place=mark.place,
        )
    store = store_at(target)
    known = store.newest_known()  # of a ledger that is no longer there, unless it was this one
    store.check_newest(known, {**facts, "commits": str(store.last_count())})
    return found


def _check_version(source: LedgerPlace, facts: Mapping[str, str]) -> None:
    version = int(facts["schema_version"]) - BUSY_SCHEMA
    if version != tables.SCHEMA_VERSION:
        raise LedgerForeignError(
            f"The move of the ledger {source} was begun by another version of incarts-pipeline "
            f"(schema {version}, this one has {tables.SCHEMA_VERSION}).",
            fix="Go on with that version; or give it up with --cancel, and move it anew.",
        )


def _check_movable(source: LedgerPlace, target: LedgerPlace) -> None:
    """Refuse, before anything is marked, a ledger that could not be moved.

    Raises:
        RefusedError: a run is at work, doubts would get another age, or a value can't be kept.
        LedgerDamagedError: the original is damaged.
    """
    now = clock_of(source, Clock()).now().wall
    apart = abs(now - clock_of(target, Clock()).now().wall)
    store = store_at(source)
    with within(source, read_only=True) as connection:
        check_nobody_runs(source, connection)
        if apart > _CLOCKS_APART_SECONDS:
            _check_no_doubts(connection, apart)
        found = next(iter(store.damage(connection, quick=True)), None)
        if found is not None:
            raise LedgerDamagedError(
                f"The ledger {source} is damaged ({found}).",
                fix="Restore it from a backup with `incarts ledger restore BACKUP`, and move that.",
            )
        if store.keeps_nul:  # the other one lets nothing in that this one couldn't keep
            check_keepable(Side(place=source, connection=connection), store_at(target))


def _check_no_doubts(connection: sa.Connection, apart: float) -> None:
    """Refuse to move doubts to where another clock would tell how old they are."""
    doubts = tables.operation.c.state.in_([State.SENT.value, State.IN_DOUBT.value])
    count = connection.scalar(sa.select(sa.func.count()).where(doubts))
    if count:
        raise RefusedError(
            f"The clocks of both places are {apart:,.0f} s apart, and by them "
            f"{counted(count, 'row')} in doubt would be of another age.",
            fix="Set the clock that is wrong; or settle them first, by running the job again.",
            guard="clocks_apart",
        )
