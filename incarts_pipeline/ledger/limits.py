"""Rate limits: what was learned of them, kept between runs."""

from __future__ import annotations

import dataclasses
import json

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.rate_limit import Learned, LimitKind

_R = tables.rate.c


def load_rate(connection: sa.Connection, api_key_fingerprint: str) -> Learned | None:
    """Return what is known of a key's limit, None when nothing is."""
    text = connection.scalar(
        sa.select(_R.learned).where(_R.api_key_fingerprint == api_key_fingerprint)
    )
    return _learned(text) if text else None


def save_rate(
    connection: sa.Connection, api_key_fingerprint: str, learned: Learned, now: Stamp
) -> None:
    """Keep what was learned of a key's limit."""
    insert = postgresql.insert(tables.rate).values(
        api_key_fingerprint=api_key_fingerprint,
        learned=json.dumps(dataclasses.asdict(learned)),
        learned_at=now.micros,
    )
    changed = {name: insert.excluded[name] for name in ("learned", "learned_at")}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["api_key_fingerprint"], set_=changed)
    )


def known_rates(connection: sa.Connection) -> dict[str, Learned]:
    """Return the limits that are known, by the fingerprints of their API keys."""
    rows = connection.execute(sa.select(_R.api_key_fingerprint, _R.learned))
    found = {row.api_key_fingerprint: _learned(row.learned) for row in rows}
    return {fingerprint: one for fingerprint, one in found.items() if one is not None}


def _learned(text: str) -> Learned | None:
    """Return a limit that was kept, None for what is damaged: it can be learned again."""
    try:
        content = json.loads(text)
        learned = Learned(**{**content, "kind": LimitKind(content["kind"])})
        return learned if learned.is_sensible else None
    except (ValueError, TypeError, KeyError):
        return None
