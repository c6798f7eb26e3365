"""What the sandbox made, in SQLite: links, QR codes and the keys that it remembers."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS link (
    id TEXT PRIMARY KEY, short_id TEXT UNIQUE, project TEXT, idempotency_key TEXT,
    body_hash TEXT, target TEXT, content TEXT);
CREATE TABLE IF NOT EXISTS qr (
    id TEXT PRIMARY KEY, link_id TEXT, identifier TEXT, idempotency_key TEXT, content TEXT,
    UNIQUE (link_id, identifier));
CREATE TABLE IF NOT EXISTS remembered (
    owner TEXT, idempotency_key TEXT, body_hash TEXT, status INTEGER, answer TEXT, at REAL,
    PRIMARY KEY (owner, idempotency_key));
CREATE TABLE IF NOT EXISTS seen (idempotency_key TEXT, body_hash TEXT,
    PRIMARY KEY (idempotency_key, body_hash)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the sandbox counted.

    `duplicates` are idempotency keys under which more than one link was made; `repeated_bodies`
    are (project, body) of which more than one link exists, under whatever keys; `second_bodies`
    are keys that came with more than one body.
    """

    links: int
    qr_codes: int
    duplicates: int
    repeated_bodies: int
    second_bodies: int
    requests: int
    statuses: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the server knows under a key; `status` None means that it is still at work."""

    body_hash: str
    status: int | None
    answer: str


class Store:
    """The sandbox's memory; all calls come from one thread."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def recall(self, owner: str, key: str, now: float, window: float) -> Remembered | None:
        """Return what is remembered of a key within the window."""
        row = self._db.execute(
            "SELECT body_hash, status, answer FROM remembered "
            "WHERE owner = ? AND idempotency_key = ? AND (at > ? OR status IS NULL)",
            (owner, key, now - window),
        ).fetchone()
        return Remembered(body_hash=row[0], status=row[1], answer=row[2]) if row else None

    def begin(self, owner: str, key: str, body_hash: str, now: float) -> None:
        """Note that a key is being worked on."""
        self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, body_hash))
        self._db.execute(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, NULL, '', ?)",
            (owner, key, body_hash, now),
        )

    def finish(self, owner: str, key: str, status: int, answer: str) -> None:
        """Remember a key's answer."""
        self._db.execute(
            "UPDATE remembered SET status = ?, answer = ? WHERE owner = ? AND idempotency_key = ?",
            (status, answer, owner, key),
        )

    def forget(self, owner: str, key: str) -> None:
        """Drop a key whose request failed without effect."""
        self._db.execute(
            "DELETE FROM remembered WHERE owner = ? AND idempotency_key = ?", (owner, key)
        )

    def add_link(self, body: dict[str, Any], key: str, body_hash: str, host: str) -> dict[str, Any]:
        """Make a link and return it as the API shows it."""
        link_id, short_id = f"lnk_{_ulid()}", os.urandom(5).hex()
        now, target = _now(), _target(body)
        short = f"{host}/s/{short_id}"
        content = {
            "id": link_id,
            **{
                str(name): body[name]
                for name in ("projectId", "name", "publicName", "retailer", "intent", "products")
                if name in body
            },
            "status": "active",
            "shortLink": short,
            "shortId": short_id,
            "targetUrl": target,
            "createdAt": now,
            "updatedAt": now,
            "metadata": body.get("metadata", {}),
            "qrCode": {
                "id": f"qr_{_ulid()}",
                "linkId": link_id,
                "name": "default",
                "imageUrl": f"{host}/qr/{short_id}.png",
                "encodedUrl": short,
                "isDefault": True,
                "createdAt": now,
                "metadata": {},
            },
        }
        self._db.execute(
            "INSERT INTO link VALUES (?, ?, ?, ?, ?, ?, ?)",
            (link_id, short_id, body["projectId"], key, body_hash, target, json.dumps(content)),
        )
        return content

    def add_qr(
        self, link_id: str, body: dict[str, Any], key: str, host: str
    ) -> dict[str, Any] | None:
        """Make a QR code; None when the link has that identifier already."""
        short = self.short_link(link_id, host)
        code = {
            "id": f"qr_{_ulid()}",
            "linkId": link_id,
            "identifier": body["identifier"],
            "name": body["name"],
            "imageUrl": f"{host}/qr/{short.rpartition('/')[2]}.png?code={body['identifier']}",
            "encodedUrl": f"{short}?qr={body['identifier']}",
            "isDefault": False,
            "createdAt": _now(),
            "metadata": body.get("metadata", {}),
        }
        try:
            self._db.execute(
                "INSERT INTO qr VALUES (?, ?, ?, ?, ?)",
                (code["id"], link_id, body["identifier"], key, json.dumps(code)),
            )
        except sqlite3.IntegrityError:
            return None
        return code

    def link(self, link_id: str) -> dict[str, Any] | None:
        """Return a link as the API shows it."""
        row = self._db.execute("SELECT content FROM link WHERE id = ?", (link_id,)).fetchone()
        found: dict[str, Any] | None = json.loads(row[0]) if row else None
        return found

    def short_link(self, link_id: str, host: str) -> str:
        """Return a link's short URL."""
        [short_id] = self._db.execute(
            "SELECT short_id FROM link WHERE id = ?", (link_id,)
        ).fetchone()
        return f"{host}/s/{short_id}"

    def target(self, short_id: str) -> str | None:
        """Return where a short link leads."""
        row = self._db.execute("SELECT target FROM link WHERE short_id = ?", (short_id,)).fetchone()
        return row[0] if row else None

    def audit(self, statuses: dict[str, int]) -> Audit:
        """Count what was made, and what was made twice."""

        def count(query: str) -> int:
            return int(self._db.execute(f"SELECT COUNT(*) FROM ({query})").fetchone()[0])  # noqa: S608

        return Audit(
            links=count("SELECT id FROM link"),
            qr_codes=count("SELECT id FROM qr"),
            duplicates=count("SELECT 1 FROM link GROUP BY idempotency_key HAVING COUNT(*) > 1")
            + count("SELECT 1 FROM qr GROUP BY idempotency_key HAVING COUNT(*) > 1"),
            repeated_bodies=count(
                "SELECT 1 FROM link GROUP BY project, body_hash HAVING COUNT(*) > 1"
            ),
            second_bodies=count("SELECT 1 FROM seen GROUP BY idempotency_key HAVING COUNT(*) > 1"),
            requests=sum(statuses.values()),
            statuses=statuses,
        )


def body_hash(body: bytes) -> str:
    """Return the hash by which bodies are told apart."""
    return hashlib.sha256(body).hexdigest()


def _ulid() -> str:
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10))
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _target(body: dict[str, Any]) -> str:
    if body["intent"] == "custom_url":
        return str(body["customUrl"])
    if body["retailer"] == "instacart":
        return "https://www.instacart.com/store/partner_recipe"
    items = ",".join(f"{p['retailerProductId']}_{p['quantity']}" for p in body["products"])
    if body["retailer"] == "target":
        return f"https://www.target.com/p/{body['products'][0]['retailerProductId']}"
    return f"https://www.walmart.com/sc/cart/addToCart?items={items}"
