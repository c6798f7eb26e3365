"""Errors of PostgreSQL: which are gone with the next try, and what the others mean for the user."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

from incarts_pipeline.errors import LedgerDamagedError, LedgerError, LedgerLockedError
from incarts_pipeline.ledger.postgres.relocation import SEALED
from incarts_pipeline.ledger.relocation_marks import sealed_error
from incarts_pipeline.outgoing import shown
from incarts_pipeline.settings import DatabasePlace

# Classes and codes of https://www.postgresql.org/docs/15/errcodes-appendix.html
_GONE = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25006", "53300")
_AGAIN = ("40001", "40P01", "55P03")
_FULL = ("53100", "58030")
_NO_MEMORY = "53200"
_DAMAGED = ("XX001", "XX002")
_FORBIDDEN = ("42501", "28000", "28P01")


def code_of(error: BaseException) -> str:
    """Return the five characters of an error, empty where the database said nothing."""
    own = getattr(error, "orig", None) or error
    return getattr(own, "sqlstate", None) or ""


def is_gone(error: BaseException) -> bool:
    """Say whether the connection is lost, or the database is not to be written for now."""
    own = getattr(error, "orig", None) or error
    code = code_of(error)
    if code:
        return code.startswith(_GONE)
    return isinstance(own, psycopg.OperationalError | psycopg.InterfaceError)


def is_passing(error: BaseException) -> bool:
    """Say whether the same transaction may hold when it is tried again."""
    return code_of(error) in _AGAIN


def explain(error: Exception, place: DatabasePlace) -> LedgerError:
    """Return the LedgerError that says what an error means for the user."""
    text = _text(error)
    code = code_of(error)
    if code == "55P03":
        return LedgerLockedError(
            f"Another program holds the ledger {place} locked ({text}).",
            fix="Look in pg_stat_activity who has a transaction open in it, and run again.",
        )
    if code == SEALED:
        return sealed_error(place, text)
    if code in _DAMAGED:
        return LedgerDamagedError(
            f"The ledger {place} is damaged ({text}).",
            fix="Restore the database from a backup, and take over what was published since with "
            "`incarts import links.parquet`.",
        )
    return LedgerError(f"The ledger {place} can't be used ({text}).", fix=_fix(error, code))


def _text(error: Exception) -> str:
    # SQLAlchemy adds the statement, and PostgreSQL the row: not for a terminal.
    own = getattr(error, "orig", None) or error
    told = str(own).strip().splitlines()
    return shown(told[0]) if told else type(own).__name__


def _fix(error: Exception, code: str) -> str:
    if code in _FULL:
        return "Free some space on its disk, and run again: nothing is sent without a record."
    if code == _NO_MEMORY:
        return (
            "The server is out of memory. Its log says of which kind: give it more, lower work_mem "
            "or max_connections, or raise max_locks_per_transaction where locks have no room. Then "
            "run again: nothing is sent without a record."
        )
    if code in _FORBIDDEN:
        return (
            "Look at the role and its password in INCARTS_LEDGER or PGPASSFILE; what it must be "
            "granted is in the guide."
        )
    if is_gone(error):
        return (
            "Look whether the database runs and is reached from here, and run again: nothing is "
            "sent without a record."
        )
    return "Look at the database's log, and run again: nothing is sent without a record."


ERRORS: tuple[type[Exception], ...] = (sa.exc.DBAPIError, psycopg.Error)
