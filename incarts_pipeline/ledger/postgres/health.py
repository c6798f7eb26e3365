"""Health of a ledger's database: whether what it has acknowledged lasts."""

from __future__ import annotations

import psycopg

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
