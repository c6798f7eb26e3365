"""What a link says when it is read back, against what was sent and answered when it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from incarts_pipeline.ledger.lookups import MadeLink
from incarts_pipeline.models import Answer, AnswerKind, Link

_ACTIVE = "active"
# Fields that are compared as they are. `location` is not: smart-select may fill in a store.
_PLAIN = ("projectId", "name", "publicName", "retailer", "intent", "customUrl", "fallbackUrl")
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


def judge(made: MadeLink, answer: Answer | None) -> Finding:
    """Say how a link stands, given the answer to reading it; None when it wasn't read."""
    if answer is None or answer.kind in _NOT_READ:
        return Finding(verdict=Verdict.NOT_CHECKED, http_status=answer.status if answer else None)
    link = answer.link
    if link is None:
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
    raw = link.raw
    yield "id", made.link_id, link.id
    yield from (
        (name, sent[name], raw[name]) for name in _PLAIN if name in sent and _has(raw, name)
    )
    if "metadata" in sent and isinstance(raw.get("metadata"), dict):
        found: dict[str, Any] = raw["metadata"]  # type: ignore[assignment]
        yield (
            "metadata",
            sent["metadata"],
            {k: v for k, v in found.items() if k in sent["metadata"]},
        )
    if "products" in sent and isinstance(raw.get("products"), list):
        products: list[Any] = raw["products"]  # type: ignore[assignment]
        yield _products(sent["products"], products, resolved="location" in sent)
    code = link.qr_code.encoded_url if link.qr_code else None
    answered = (
        ("target_url", None if "location" in sent else made.target_url, link.target_url),
        ("short_link", made.short_link, link.short_link),
        ("qr_encoded_url", made.encoded_url, code),
    )
    yield from (one for one in answered if one[1] is not None and one[2] is not None)


def _has(raw: Mapping[str, object], name: str) -> bool:
    return raw.get(name) is not None


def _products(
    sent: Sequence[Mapping[str, Any]], found: Sequence[Any], *, resolved: bool
) -> tuple[str, Any, Any]:
    """Return both lists as far as they can be compared."""
    if len(sent) != len(found) or not all(isinstance(one, dict) for one in found):
        return "products", sent, found
    pairs = [_product(was, now, resolved=resolved) for was, now in zip(sent, found, strict=True)]
    return "products", [was for was, _ in pairs], [now for _, now in pairs]


def _product(
    sent: Mapping[str, Any], found: Mapping[str, Any], *, resolved: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [name for name in sent if name in found or name == "retailerProductId"]
    was = {name: sent[name] for name in names}
    now = {name: found.get(name) for name in names}
    backups = sent.get("backupProductIds", [])
    if resolved and now["retailerProductId"] in backups:
        was, now = {**was, "retailerProductId": now["retailerProductId"]}, now
        return {k: v for k, v in was.items() if k != "backupProductIds"}, {
            k: v for k, v in now.items() if k != "backupProductIds"
        }
    return was, now


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
