"""Store of the sandbox, in SQLite: links, QR codes and the keys that it remembers."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incarts_pipeline.sandbox.audit import Audit, audit

# Crockford's base 32, without the letters that look like digits, as ULIDs are written.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# What of tracking, options and URLs comes back isn't published: here nothing does.
_SHOWN = ("projectId", "name", "publicName", "retailer", "intent", "products")
_VERSION = 2
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS link (
    id TEXT PRIMARY KEY, short_id TEXT NOT NULL UNIQUE, project TEXT NOT NULL,
    idempotency_key TEXT, body_hash TEXT NOT NULL, target TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS qr (
    id TEXT PRIMARY KEY, link_id TEXT NOT NULL, project TEXT NOT NULL, identifier TEXT NOT NULL,
    idempotency_key TEXT, content TEXT NOT NULL, UNIQUE (link_id, identifier));
CREATE TABLE IF NOT EXISTS remembered (
    owner TEXT, idempotency_key TEXT, fingerprint TEXT NOT NULL, at REAL NOT NULL,
    status INTEGER NOT NULL, made TEXT, error TEXT, PRIMARY KEY (owner, idempotency_key));
CREATE TABLE IF NOT EXISTS sent (
    idempotency_key TEXT, fingerprint TEXT, UNIQUE (idempotency_key, fingerprint));
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the server keeps under a key: what was asked for, and what it answered.

    `made` is the id of a link or QR code; `error` is set when `status` is 400 or more.
    """

    fingerprint: str
    status: int
    made: str | None = None
    error: Mapping[str, Any] | None = None


class Store:
    """The sandbox's memory; all calls come from one thread at a time.

    Raises:
        ValueError: the file is another version's.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            # API keys are in it, as the owners of what was remembered.
            with suppress(OSError):  # it is there, or SQLite says what is wrong
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._db = sqlite3.connect(
            # Transactions are begun by hand: one spans several of the methods below.
            path or ":memory:",
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._open(path)
        except BaseException:
            self._db.close()
            raise

    def _open(self, path: Path | None) -> None:
        [version] = self._db.execute("PRAGMA user_version").fetchone()
        [tables] = self._db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        # Somebody's own database, a ledger for one, must not get our tables.
        if tables and version != _VERSION:
            raise ValueError(f"{path} is not this sandbox's state; name another file")
        self._db.execute("PRAGMA journal_mode=WAL")
        # It survives the process, and needn't survive the machine.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing: a link never exists without the memory of its key."""
        # Not deferred, which could fail at the first write instead of here.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def note(self, key: str, fingerprint: str) -> None:
        """Note that a key came with this path and body, for the audit."""
        self._db.execute("INSERT OR IGNORE INTO sent VALUES (?, ?)", (key, fingerprint))

    def recall(self, owner: str, key: str, since: float) -> Remembered | None:
        """Return what is remembered of a key first used after `since`.

        Args:
            owner: an API key or a project, as the switch says.
            key: the idempotency key.
            since: seconds since 1970.
        """
        row = self._db.execute(
            "SELECT fingerprint, status, made, error FROM remembered "
            "WHERE owner = ? AND idempotency_key = ? AND at > ?",
            (owner, key, since),
        ).fetchone()
        if row is None:
            return None
        error = json.loads(row[3]) if row[3] else None
        return Remembered(fingerprint=row[0], status=row[1], made=row[2], error=error)

    def remember(self, owner: str, key: str, at: float, what: Remembered) -> None:
        """Keep a key's answer; `at` is when the key was first used.

        Args:
            owner: an API key or a project, as the switch says.
            key: the idempotency key.
            at: when the key was first used, in seconds since 1970.
            what: the body that it came with, and the answer.
        """
        error = None if what.error is None else json.dumps(what.error)
        self._db.execute(
            # A key that was forgotten begins anew, with the time of its new first use.
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?, ?, ?)",
            (owner, key, what.fingerprint, at, what.status, what.made, error),
        )

    def add_link(self, content: Mapping[str, Any], key: str | None, body_hash: str) -> None:
        """Keep a link, as the API shows it."""
        self._db.execute(
            "INSERT INTO link VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                content["id"],
                content["shortId"],
                content["projectId"],
                key,
                body_hash,
                content["targetUrl"],
                json.dumps(content),
            ),
        )

    def alter(self, link_id: str, changes: Mapping[str, Any] | None) -> None:
        """Change fields of a link as if somebody did at Incarts; None lets it disappear.

        Raises:
            ValueError: there is no such link.
        """
        link = self.link(link_id)
        if link is None:
            raise ValueError(f"there is no link {link_id}")
        if changes is None:
            self._db.execute("DELETE FROM link WHERE id = ?", (link_id,))
            return
        # Only what is shown: `body_hash` stays, by which the audit knows the link.
        content = json.dumps({**link, **changes})
        self._db.execute("UPDATE link SET content = ? WHERE id = ?", (content, link_id))

    def add_qr(self, content: Mapping[str, Any], project: str, key: str | None) -> bool:
        """Keep a QR code, as the API shows it; False when the link has its identifier already."""
        values = (content["id"], content["linkId"], project, content["identifier"], key)
        cursor = self._db.execute(
            # The database decides, not a look before: two requests may ask at once.
            "INSERT INTO qr VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (link_id, identifier) DO NOTHING",
            (*values, json.dumps(content)),
        )
        return cursor.rowcount == 1

    def link(self, link_id: str) -> dict[str, Any] | None:
        """Return a link as the API shows it."""
        return self._content("SELECT content FROM link WHERE id = ?", link_id)

    def made(self, made_id: str) -> dict[str, Any] | None:
        """Return a link or a QR code as the API shows it."""
        # Ids say by their prefix which they are, but nobody should have to rely on it.
        query = "SELECT content FROM qr WHERE id = ?"
        return self.link(made_id) or self._content(query, made_id)

    def link_of_short_id(self, short_id: str) -> dict[str, Any] | None:
        """Return the link that a short id belongs to."""
        return self._content("SELECT content FROM link WHERE short_id = ?", short_id)

    def qr_of_identifier(self, link_id: str, identifier: str) -> dict[str, Any] | None:
        """Return a link's QR code by its identifier."""
        query = "SELECT content FROM qr WHERE link_id = ? AND identifier = ?"
        return self._content(query, link_id, identifier)

    def _content(self, query: str, *values: str) -> dict[str, Any] | None:
        row = self._db.execute(query, values).fetchone()
        found: dict[str, Any] | None = json.loads(row[0]) if row else None
        return found

    def audit(self, statuses: Mapping[str, int], unanswered: int) -> Audit:
        """Count what was made, and what was made twice."""
        return audit(self._db, statuses, unanswered)


def new_link(body: Mapping[str, Any], host: str, domain: str, now: float) -> dict[str, Any]:
    """Return a new link of a valid body; `host` serves its image, `domain` its short link.

    Args:
        body: a valid body.
        host: the base URL that serves its image.
        domain: the base URL of its short link.
        now: seconds since 1970.
    """
    # Random, not counted, so that two sandboxes don't give out the same one.
    short_id, link_id, at = _code(55).lower(), f"lnk_{_ulid(now)}", _time(now)
    short = f"{domain}/s/{short_id}"
    code = {
        "id": f"qr_{_ulid(now)}",
        "linkId": link_id,
        "name": "default",
        "imageUrl": f"{host}/qr/{short_id}.png",
        "encodedUrl": short,
        "isDefault": True,
        "createdAt": at,
        "metadata": {},
    }
    return {
        "id": link_id,
        **{name: body[name] for name in _SHOWN if name in body},
        "status": "active",
        "shortLink": short,
        "shortId": short_id,
        "targetUrl": _target(body),
        "createdAt": at,
        "updatedAt": at,
        "metadata": body.get("metadata", {}),
        "qrCode": code,
    }


def new_qr(
    body: Mapping[str, Any], link: Mapping[str, Any], host: str, now: float
) -> dict[str, Any]:
    """Return a new QR code of a link."""
    identifier = body["identifier"]
    return {
        "id": f"qr_{_ulid(now)}",
        "linkId": link["id"],
        "identifier": identifier,
        "name": body["name"],
        "imageUrl": f"{host}/qr/{link['shortId']}.png?code={identifier}",
        "encodedUrl": f"{link['shortLink']}?qr={identifier}",
        "isDefault": False,
        "createdAt": _time(now),
        "metadata": body.get("metadata", {}),
    }


def smart_select(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the offers and the store that a ZIP code leads to."""
    if "location" not in body:
        return {}
    location = body["location"]
    # Any choice will do, as long as it is the same for the same ZIP code.
    store = location.get("storeId") or str(int(location["zipCode"]) % 5000 + 1)
    offers = [
        {"retailerProductId": one["retailerProductId"], "storeId": store}
        for one in body["products"]
    ]
    return {"location": {"zipCode": location["zipCode"], "storeId": store}, "offers": offers}


def digest(content: bytes) -> str:
    """Return the hash by which bodies are told apart."""
    return hashlib.sha256(content).hexdigest()


def _ulid(now: float) -> str:
    # A ULID: 48 bits of milliseconds, so that ids sort by time, and 80 random ones.
    return _letters((int(now * 1000) << 80) | int.from_bytes(os.urandom(10)), 26)


def _code(bits: int) -> str:
    return _letters(int.from_bytes(os.urandom(8)) >> (64 - bits), bits // 5)


def _letters(number: int, length: int) -> str:
    return "".join([_CROCKFORD[(number >> at) & 31] for at in range(5 * length - 5, -1, -5)])


def _time(now: float) -> str:
    at = dt.datetime.fromtimestamp(now, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _target(body: Mapping[str, Any]) -> str:
    match body["intent"]:
        case "custom_url":
            return str(body["customUrl"])
        case "product_detail":
            return f"https://www.target.com/p/{body['products'][0]['retailerProductId']}"
        case "shopping_list" | "recipe" as intent:
            return f"https://www.instacart.com/store/partner_{intent}"
    items = ",".join(f"{one['retailerProductId']}_{one['quantity']}" for one in body["products"])
    return f"https://www.walmart.com/sc/cart/addToCart?items={items}"
