"""Audit of a sandbox: what was made, and what was made twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Something that should stand alone: `what` is a key or a body's hash, `by` what came of it."""

    project: str | None
    what: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the sandbox counted.

    `requests`, `statuses` (`lost` for requests without an answer) and `limited_share`, the part of
    them that was answered with a 429, count since the start; all else is in the state and survives
    a restart.

    Attributes:
        links: how many exist.
        qr_codes: how many exist beside the links' own.
        duplicates: idempotency keys, per project, under which more than one link or more than one
            QR code was made; `duplicated_keys` lists them with the ids.
        repeated_bodies: exact bodies of which one project has more than one link, under whatever
            keys or none; `repeated_links` lists them with the links' ids.
        second_bodies: keys that came with more than one body, whatever the answer was;
            `disputed_keys` lists them with the hashes of path and body.
        unanswered: requests at work now: whoever sent one may be gone, and a link still come of it.
    """

    links: int
    qr_codes: int
    duplicates: int
    repeated_bodies: int
    second_bodies: int
    requests: int
    statuses: dict[str, int]
    limited_share: float = 0.0
    unanswered: int = 0
    duplicated_keys: tuple[Repeated, ...] = ()
    repeated_links: tuple[Repeated, ...] = ()
    disputed_keys: tuple[Repeated, ...] = ()


def audit(db: sqlite3.Connection, statuses: Mapping[str, int], unanswered: int) -> Audit:
    """Count what was made, and what was made twice."""
    requests = sum(statuses.values())
    # One key, two links: the server's own fault, or a key that was used after it was forgotten.
    duplicated = _repeated(db, "link", "project, idempotency_key", "id")
    duplicated += _repeated(db, "qr", "project, idempotency_key", "id")
    # One body, two links: what a client does that takes a new key for each attempt. Two rows of a
    # catalog may also mean the same, so this is no proof by itself.
    repeated = _repeated(db, "link", "project, body_hash", "id")
    # One key, two bodies: nobody can say which of them a replay is answered for.
    disputed = _repeated(db, "sent", "NULL, idempotency_key", "fingerprint")
    return Audit(
        links=_count(db, "link"),
        qr_codes=_count(db, "qr"),
        duplicates=len(duplicated),
        repeated_bodies=len(repeated),
        second_bodies=len(disputed),
        requests=requests,
        statuses=dict(statuses),
        limited_share=statuses.get("429", 0) / requests if requests else 0.0,
        unanswered=unanswered,
        duplicated_keys=duplicated,
        repeated_links=repeated,
        disputed_keys=disputed,
    )


def from_json(content: Mapping[str, Any]) -> Audit:
    """Return an audit from the JSON that the sandbox's own page shows."""
    lists = {
        name: tuple(Repeated(**{**one, "by": tuple(one["by"])}) for one in content[name])
        for name in ("duplicated_keys", "repeated_links", "disputed_keys")
    }
    return Audit(**{**content, **lists})


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608 (ours)


def _repeated(
    db: sqlite3.Connection, table: str, columns: str, member: str
) -> tuple[Repeated, ...]:
    """Return what more than one row shares; rows without a key share nothing."""
    rows = db.execute(
        f"SELECT {columns}, json_group_array({member}) FROM {table} "  # noqa: S608
        # A call without a key promises nothing.
        f"WHERE {columns.partition(', ')[2]} IS NOT NULL "
        "GROUP BY 1, 2 HAVING COUNT(*) > 1 ORDER BY MIN(rowid)"
    )
    return tuple(
        Repeated(project=project, what=what, by=tuple(sorted(json.loads(members))))
        for project, what, members in rows
    )
