"""Moves of a ledger, killed at each word to a database in turn, and gone on with or given up.

Run as a module, with two places and what is killed: the process itself (`client`), or the server's
process at its other end (`backend`). Prints how many kills there were.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg
import sqlalchemy as sa

from incarts_pipeline.errors import IncartsError, LedgerMovedError, RefusedError
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.ledger.relocation import give_up, relocate
from incarts_pipeline.settings import DatabasePlace, LedgerPlace, load_settings
from tests.support.moves import content_of

_SURVIVED = 0
_SECONDS = 60


def main(first: str, second: str, killed: str, step: int) -> None:
    """Move a ledger there and back, until nothing is left that a kill could come before."""
    source, target = (load_settings(ledger=given).ledger for given in (first, second))
    database = next(one for one in (source, target) if isinstance(one, DatabasePlace))
    before, word, kills, survivors = content_of(source), 1, 0, 0
    while survivors < 2:  # one for each direction
        strike = kill_me if killed == "client" else lambda: kill_backends(database)
        code = in_child(source, target, word, strike)
        wait_for(database)
        survivors = survivors + 1 if code == _SURVIVED else 0
        kills += code != _SURVIVED
        usable = [one for one in (source, target) if is_usable(one)]
        assert len(usable) <= 1, f"two ledgers are at work after {word} words"
        if word % 2:
            try_to_give_up(source, target, before)
        relocate(source, target)
        assert content_of(target) == before, f"it is another one after {word} words"
        assert not is_usable(source)
        source, target, word = target, source, word + step
    sys.stdout.write(f"{kills}\n")


def in_child(
    source: LedgerPlace, target: LedgerPlace, word: int, strike: Callable[[], None]
) -> int:
    """Move in a process of its own that something befalls before it says a word."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = word

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            strike()

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    sa.event.listen(sa.Engine, "commit", count)
    try:
        relocate(source, target)
    except IncartsError:
        os._exit(1)
    os._exit(_SURVIVED if left > 0 else 1)


def kill_me() -> None:
    """End this process as the kernel does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_backends(place: DatabasePlace) -> None:
    """End the server's processes of this one's connections; the server starts anew for it."""
    found: list[tuple[int]] = []
    with closing(psycopg.connect(place.uri, autocommit=True)) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'incarts'"
        found = connection.execute(query).fetchall()
    for (pid,) in found:
        os.kill(pid, signal.SIGKILL)


def wait_for(place: DatabasePlace) -> None:
    """Wait until a database answers, and nobody else is at it."""
    until = time.monotonic() + _SECONDS
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'incarts'"
    while time.monotonic() < until:
        with suppress(psycopg.OperationalError), closing(psycopg.connect(place.uri)) as connection:
            if connection.execute(query).fetchone() == (0,):
                return
        time.sleep(0.02)


def is_usable(place: LedgerPlace) -> bool:
    """Say whether a run could begin on a ledger."""
    try:
        return LedgerReader(place).path is not None
    except LedgerMovedError:
        return False


def try_to_give_up(source: LedgerPlace, target: LedgerPlace, before: object) -> None:
    """Give a move up, unless all is there already, or nothing was begun."""
    try:
        give_up(source, target)
    except RefusedError as error:
        if error.guard not in ("not_moving", "move_ended"):
            raise
    else:
        assert is_usable(source)
        assert content_of(source) == before


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
