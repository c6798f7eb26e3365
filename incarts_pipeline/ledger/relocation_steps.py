"""Steps of a move: the old ledger marked, the new place reserved and filled, and each taken back.

Each step is one transaction on one of the two ledgers, and is safe to repeat.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import Enum, auto

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerDamagedError, LedgerError, RefusedError
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.database import clock_of, open_engine, read_facts, transaction
from incarts_pipeline.ledger.queries import go_on_from
from incarts_pipeline.ledger.relocation_marks import (
    BUSY_SCHEMA,
    FILLING,
    MOVED,
    MOVES,
    MoveMark,
    check_moved,
    erase,
    moves_of,
    set_version,
    shown_place,
)
from incarts_pipeline.ledger.relocation_rows import Side, compare_rows, copy_rows
from incarts_pipeline.ledger.runs import Process, living_runs
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.settings import LedgerPlace


class There(Enum):
    """What is at the place that a ledger goes to."""

    NOTHING = auto()
    EARLIER = auto()  # the same ledger, as it was when it was moved away from there
    RESERVED = auto()  # for a move of the same ledger
    COMPLETE = auto()  # this move has brought it there


@contextmanager
def within(
    place: LedgerPlace, *, read_only: bool = False, marked: bool = True
) -> Iterator[sa.Connection]:
    """Run a block in one transaction on a ledger that may be marked, and close the ledger.

    Raises:
        LedgerError: it can't be read or written; nothing of the block is on disk.
    """
    engine = open_engine(place, read_only=read_only, pool=sa.pool.NullPool)
    try:
        with transaction(engine, place, marked=marked and not read_only) as connection:
            yield connection
    finally:
        engine.dispose()


def facts_at(place: LedgerPlace) -> dict[str, str]:
    """Return a ledger's facts, none where there is none; marked or not."""
    store = store_at(place)
    store.check()
    if not store.is_there():
        return {}
    with within(place, read_only=True) as connection:
        return read_facts(connection)


def what_is_there(
    there: Mapping[str, str], facts: Mapping[str, str], mark: MoveMark | None
) -> There | None:
    """Return what a place's facts say that it is; None for another ledger.

    Args:
        there: the facts at the new place.
        facts: those of the ledger that goes there.
        mark: of the move, None for one that isn't begun.
    """
    if not there:
        return There.NOTHING
    if there["ledger_id"] != facts["ledger_id"]:
        return None
    if FILLING in there:
        return There.RESERVED
    if mark is not None and mark.move in moves_of(there):
        return There.COMPLETE
    gone = MoveMark.of(there, MOVED)
    return There.EARLIER if gone is not None and gone.move in moves_of(facts) else None


def check_nobody_runs(place: LedgerPlace, connection: sa.Connection) -> None:
    """Refuse a ledger that a run is at work on; raises RefusedError."""
    living = living_runs(connection, Process.current(), clock_of(place, Clock()).now())
    if living:
        raise RefusedError(
            f"A run is at work on the ledger: {', '.join(map(str, living.values()))}.",
            fix="Stop it with `incarts stop`, and wait until it has ended. One that was killed on "
            "another machine holds the ledger for half a minute.",
            guard="running",
        )


def begin(source: LedgerPlace, target: LedgerPlace) -> MoveMark:
    """Mark the ledger as about to be moved, and seal it; or take on a move that was begun.

    Raises:
        RefusedError: a run is at work on it.
        LedgerMovedError: another process has ended the move just now.
    """
    store, place = store_at(source), shown_place(target)
    attempt, at = uuid.uuid4().hex, clock_of(source, Clock()).now().micros
    with within(source) as connection:
        store.locked(connection, ())
        facts = read_facts(connection)
        old = MoveMark.of(facts, MOVED)
        if old is None:
            store.seal(connection, f"its move to {place} was begun")
            check_nobody_runs(source, connection)
            set_version(connection, BUSY_SCHEMA + int(facts["schema_version"]))
            mark = MoveMark(move=uuid.uuid4().hex, attempt=attempt, place=place, at=at)
        else:
            if old.ended:
                check_moved(facts, source)
            mark = replace(old, attempt=attempt)
        mark.write(connection, MOVED)
    return mark


@contextmanager
def held(source: LedgerPlace, mark: MoveMark) -> Iterator[sa.Connection]:
    """Hold the old ledger's mark, which must be this attempt's.

    Raises:
        LedgerError: another process has taken the move on, or given it up.
    """
    with within(source) as connection:
        store_at(source).locked(connection, ())
        if MoveMark.of(read_facts(connection), MOVED) != mark:
            raise _overtaken()
        yield connection


def end(source: LedgerPlace, mark: MoveMark) -> None:
    """Say in the old ledger that all of it is at the new place."""
    with held(source, mark) as connection:
        replace(mark, ended=True).write(connection, MOVED)


def unmark(source: LedgerPlace, mark: MoveMark) -> None:
    """Let the ledger be where it was."""
    with held(source, mark) as connection:
        version = int(read_facts(connection)["schema_version"])
        store_at(source).unseal(connection)
        set_version(connection, version - BUSY_SCHEMA)
        erase(connection, MOVED)


def reserve(
    source: LedgerPlace, target: LedgerPlace, mark: MoveMark, facts: Mapping[str, str]
) -> There:
    """Reserve the new place, unless all is there already; return what was there.

    Raises:
        RefusedError: another ledger was made there just now.
    """
    store = store_at(target)
    if not store.is_there():
        store.create()
    with within(target, marked=False) as connection:
        store.locked(connection, ())
        found = what_is_there(read_facts(connection), facts, mark)
        if found is None:
            raise RefusedError(
                f"A ledger was made at {target} just now.",
                fix="Give a place where none is.",
                guard="target_not_empty",
            )
        if found is There.NOTHING:
            tables.meta.create(connection)
            _write_facts(connection, _none_of(facts))
        if found is not There.COMPLETE:
            replace(mark, place=shown_place(source)).write(connection, FILLING)
    return found


def _none_of(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts of a ledger of which nothing else is there yet."""
    busy = BUSY_SCHEMA + tables.SCHEMA_VERSION
    own = {"schema_version": str(busy), "sequence": "0", "commits": "0"}
    return {name: facts[name] for name in ("ledger_id", "base_url", "recipe")} | own


def free(target: LedgerPlace, mark: MoveMark) -> None:
    """Take the reservation of the new place away, and leave what was there before."""
    store = store_at(target)
    if not store.is_there():
        return
    with within(target, marked=False) as connection:
        store.locked(connection, ())
        there = read_facts(connection)
        found = MoveMark.of(there, FILLING)
        if found is None or found.move != mark.move:
            return
        if MOVED in there:
            erase(connection, FILLING)
        else:
            store.drop_tables(connection)


def fill(
    source: LedgerPlace, target: LedgerPlace, mark: MoveMark, committing: list[bool]
) -> dict[str, int]:
    """Bring all rows to the new place, and end the move; return how many each table has.

    `committing` gets an entry before anything of it may be there.

    Raises:
        LedgerDamagedError: the copy is not as the original.
        LedgerError: one of the two can't be used, or another process has taken the move on.
    """
    store = store_at(target)
    with ExitStack() as last:
        with within(target) as into:
            store.locked(into, ())
            _check_reserved(into, mark)
            store.drop_tables(into)
            store.create_tables(into)
            with within(source, read_only=True) as out:
                sides = Side(place=source, connection=out), Side(place=target, connection=into)
                _copy_facts(*sides, mark)
                rows = copy_rows(*sides)
                compare_rows(*sides)
            go_on_from(into, "commits", store.last_count())
            store.loaded(into)
            holding = last.enter_context(held(source, mark))
            committing.append(True)
        replace(mark, ended=True).write(holding, MOVED)
    return rows


def _check_reserved(connection: sa.Connection, mark: MoveMark) -> None:
    found = MoveMark.of(read_facts(connection), FILLING)
    if found is None or (found.move, found.attempt) != (mark.move, mark.attempt):
        raise _overtaken()


def _overtaken() -> LedgerError:
    return LedgerError(
        "Another process has taken this move on, or has given it up.",
        fix="Look where the ledger is by now: `incarts ledger check` says it.",
    )


def _copy_facts(source: Side, target: Side, mark: MoveMark) -> None:
    """Write what the ledger says of itself: all of it, but for marks of where it is."""
    facts = _all_facts(source)
    version = int(facts["schema_version"]) - BUSY_SCHEMA
    moves = json.dumps([*moves_of(facts), mark.move])
    wanted = {name: value for name, value in facts.items() if name not in (MOVED, FILLING)}
    wanted |= {"schema_version": str(version), MOVES: moves}
    _write_facts(target.connection, wanted)
    if _all_facts(target) != wanted:
        raise LedgerDamagedError(
            f"The copy in {target.place} is not as the original: the table meta differs.",
            fix="Look at both disks, and run again.",
        )


def _all_facts(side: Side) -> dict[str, str]:
    with side.explained():
        return {row.name: row.value for row in side.connection.execute(sa.select(tables.meta))}


def _write_facts(connection: sa.Connection, facts: Mapping[str, str]) -> None:
    rows = [{"name": name, "value": value} for name, value in facts.items()]
    connection.execute(sa.insert(tables.meta), rows)
