"""Health of a ledger's database: whether what it has acknowledged lasts."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError
from incarts_pipeline.settings import DatabasePlace
from incarts_pipeline.text import counted

# What sessions get without asking, as the server, the database and the role have it.
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit')"
_STANDBYS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IS DISTINCT FROM 'sync'"
_FIXES = {
    "fsync": "Set fsync = on in postgresql.conf: without it, a power cut makes links again.",
    "synchronous_commit": "Set synchronous_commit = on for the role, the database or the server.",
}


def health_of(connection: psycopg.Connection, place: DatabasePlace) -> list[str]:
    """Return the version, and what a failover may cost.

    Raises:
        LedgerError: what was acknowledged may be lost without one.
    """
    found: dict[str, str] = dict(connection.execute(_SETTINGS).fetchall())
    for name, fix in _FIXES.items():
        if found.get(name) == "off":
            raise LedgerError(
                f"The database of the ledger {place} has {name} = off: what it says is on disk may "
                "not be.",
                fix=fix,
            )
    version = connection.info.server_version
    told = [f"PostgreSQL {version // 10_000}.{version % 10_000}"]
    [standbys] = connection.execute(_STANDBYS).fetchone() or (0,)
    if standbys:
        told.append(
            f"{counted(standbys, 'standby', 'standbys')} asynchronous: what was written in the "
            "last moments before a failover may be lost; name them in synchronous_standby_names"
        )
    return told


_FAILED = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"


def damaged_pages(connection: sa.Connection) -> Iterator[str]:
    """Yield in words what the database has noticed of damage to its pages."""
    failed = connection.exec_driver_sql(_FAILED).scalar()
    if failed:
        yield f"the database has read {counted(failed, 'page')} whose checksum was wrong"


def soundness(connection: sa.Connection) -> str:
    """Return in words what it means that the database has noticed none."""
    if connection.exec_driver_sql("SHOW data_checksums").scalar() == "on":
        return "the database has noticed no damage to its pages"
    return "the database has no checksums by which it would notice damage to its pages"
