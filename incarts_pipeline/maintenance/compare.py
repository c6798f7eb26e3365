"""Comparison of a link that is read back with what was sent and answered when it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from incarts_pipeline.ledger import MadeLink
from incarts_pipeline.models import Answer, AnswerKind, Link

_ACTIVE = "active"
# Fields that are compared as they are. `location` is not: smart-select may fill in a store.
_PLAIN = ("projectId", "name", "publicName", "retailer", "intent", "customUrl", "fallbackUrl")
_LEADING = frozenset({"id", "projectId", "retailer", "intent", "customUrl", "products"})
_NOT_READ = (
    AnswerKind.NOT_SENT,
    AnswerKind.RATE_LIMITED,
    AnswerKind.UNAUTHORIZED,
)


class Verdict(StrEnum):
    """How a link stands at Incarts."""

    OK = "ok"
    DRIFTED = "drifted"  # something differs from what was sent, or was answered then
    GONE = "gone"  # 404: it does not exist, or isn't visible to this key
    INACTIVE = "inactive"  # its status is no longer `active`
    UNREADABLE = "unreadable"  # Incarts answered, but not with the link
    NOT_CHECKED = "not_checked"  # not tried, or nothing came back: stopped, or out of reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field that differs; a value that is not text stands there as JSON."""

    field: str
    sent: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out about one link; `status` is its status at Incarts."""

    verdict: Verdict
    differences: Sequence[Difference] = ()
    status: str | None = None
    http_status: int | None = None

    @property
    def is_of_something_else(self) -> bool:
        """Whether the link leads elsewhere than was asked for; a name may be spelled anew."""
        return any(one.field in _LEADING for one in self.differences)


def judge(made: MadeLink, answer: Answer | None) -> Finding:
    """Say how a link stands, given the answer to reading it; None when it wasn't read."""
    if answer is None or answer.kind in _NOT_READ:
        return Finding(verdict=Verdict.NOT_CHECKED, http_status=answer.status if answer else None)
    link = answer.made
    if not isinstance(link, Link):
        gone = answer.kind is AnswerKind.REFUSED and answer.status == 404
        verdict = Verdict.GONE if gone else Verdict.UNREADABLE
        return Finding(verdict=verdict, http_status=answer.status)
    found = differences(made, link)
    verdict = Verdict.DRIFTED if found else Verdict.OK
    if link.status is not None and link.status.lower() != _ACTIVE:
        verdict = Verdict.INACTIVE
    return Finding(
        verdict=verdict, differences=found, status=link.status, http_status=answer.status
    )


def differences(made: MadeLink, link: Link) -> list[Difference]:
    """Return what of a link that was read back differs from what was sent.

    Only what the answer carries is compared, since its fields are optional:

    - `id`; project, names, retailer, intent and URLs as they were sent;
    - `metadata`, of which Incarts may keep more than was sent;
    - `products` by their ids and quantities in order, and their backups where the answer has them.
      A location turns on smart-select, which may put a backup in a product's place: that is none;
    - `target_url`, `short_link` and what the QR code encodes, as they were answered when the link
      was made. With a location the target is Incarts' to resolve anew, and isn't compared.

    Tracking, options and location are not compared: what of them comes back is not published.
    """
    sent: dict[str, Any] = json.loads(made.body) if made.body else {}
    return [
        Difference(field=field, sent=_shown(was), found=_shown(now))
        for field, was, now in _compared(made, sent, link)
        if was != now
    ]


def _compared(
    made: MadeLink, sent: Mapping[str, Any], link: Link
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what can be compared: the field, what was sent or answered, and what there is now."""
    now: Mapping[str, Any] = link.raw
    code = link.qr_code.encoded_url if link.qr_code else None
    resolved = "location" in sent
    yield "id", made.link_id, link.id
    for name in _PLAIN:
        if name in sent and now.get(name) is not None:
            yield name, sent[name], now[name]
    if "metadata" in sent and isinstance(now.get("metadata"), dict):
        kept = {name: value for name, value in now["metadata"].items() if name in sent["metadata"]}
        yield "metadata", sent["metadata"], kept
    if "products" in sent and isinstance(now.get("products"), list):
        yield "products", *_products(sent["products"], now["products"], resolved=resolved)
    for name, was, found in (
        ("target_url", None if resolved else made.target_url, link.target_url),
        ("short_link", made.short_link, link.short_link),
        ("qr_encoded_url", made.encoded_url, code),
    ):
        if was is not None and found is not None:
            yield name, was, found


def _products(
    sent: Sequence[Mapping[str, Any]], found: Sequence[Any], *, resolved: bool
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return both lists as far as they can be compared."""
    if len(sent) != len(found) or not all(isinstance(one, dict) for one in found):
        return sent, found
    pairs = [_product(was, now, resolved=resolved) for was, now in zip(sent, found, strict=True)]
    return [was for was, _ in pairs], [now for _, now in pairs]


def _product(
    sent: Mapping[str, Any], found: Mapping[str, Any], *, resolved: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [name for name in sent if name in found]
    if resolved and found.get("retailerProductId") in sent.get("backupProductIds", ()):
        names = [name for name in names if name == "quantity"]  # a backup took the product's place
    return {name: sent[name] for name in names}, {name: found[name] for name in names}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
