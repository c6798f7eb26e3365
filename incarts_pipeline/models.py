"""The values that pass between the stages: closed sets as enums, records as frozen dataclasses."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum


class Intent(StrEnum):
    """What a link does; the values are the API's."""

    CUSTOM_URL = "custom_url"  # any retailer: goes to customUrl
    ADD_TO_CART = "add_to_cart"  # walmart
    PRODUCT_DETAIL = "product_detail"  # target; published as coming soon
    SHOPPING_LIST = "shopping_list"  # instacart
    RECIPE = "recipe"  # instacart


QR_CODE = "qr_code"  # stands for the intent where an operation makes a further QR code


class Policy(StrEnum):
    """What happens when a group of fields changed on a row that has a link."""

    REPLACE = "replace"  # a new link that records the one it follows
    HOLD = "hold"  # keep the link, report the row, wait for a person
    IGNORE = "ignore"  # keep the link


class Action(StrEnum):
    """What the plan wants to do with a row."""

    CREATE = "create"  # no link yet
    REPLACE = "replace"  # content changed: a new link
    REUSE = "reuse"  # content is back to one that has a link already
    UNCHANGED = "unchanged"  # same content, or changed only where that is ignored
    SETTLE = "settle"  # sent before, answer unknown: same key and bytes again
    HOLD = "hold"  # policy, pinned, or a doubt that needs a person
    REJECT = "reject"  # breaks a rule, or refused by the API before
    SKIP = "skip"  # an entry of a wide table whose products are null: no link wanted


class Status(StrEnum):
    """How a row stands once the run is over."""

    CREATED = "created"
    REPLACED = "replaced"
    REUSED = "reused"
    UNCHANGED = "unchanged"
    HELD = "held"
    IN_DOUBT = "in_doubt"  # sent, answer unknown; the link may exist
    REJECTED = "rejected"
    PENDING = "pending"  # not tried; run again to go on
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why a row has its action or status."""

    NEW = "new"
    CHANGED = "changed"
    CHANGED_BACK = "changed_back"
    SAME = "same"
    IGNORED_CHANGE = "ignored_change"
    ANSWER_UNKNOWN = "answer_unknown"
    NEEDS_REVIEW = "needs_review"
    EARLIER_IN_DOUBT = "earlier_in_doubt"  # older content of the row is in doubt
    POLICY_HOLD = "policy_hold"
    PINNED = "pinned"
    INVALID = "invalid"
    DUPLICATE_KEY = "duplicate_key"
    REFUSED_BY_API = "refused_by_api"
    NO_PRODUCTS = "no_products"
    OVER_LIMIT = "over_limit"
    OUT_OF_TIME = "out_of_time"
    STOPPED = "stopped"
    CIRCUIT_OPEN = "circuit_open"
    CLAIMED_ELSEWHERE = "claimed_elsewhere"
    CHANGED_ELSEWHERE = "changed_elsewhere"  # another run moved the row on since the plan


class State(StrEnum):
    """Where one operation (one idempotency key) stands in the ledger."""

    INTENDED = "intended"  # recorded, provably not at the server
    SENT = "sent"  # an attempt was about to leave; after a crash this means in doubt
    IN_DOUBT = "in_doubt"  # the link may exist; may be replayed inside the idempotency window
    NEEDS_REVIEW = "needs_review"  # only a link id or a person clears it
    DONE = "done"  # has a link
    REJECTED = "rejected"  # refused by the API; parked until its content changes
    ABANDONED = "abandoned"  # a person said: recreate; a later generation took its place


class AnswerKind(StrEnum):
    """What one attempt's answer means for exactly-once."""

    LINK = "link"  # 2xx with an id: done
    RATE_LIMITED = "rate_limited"  # 429: not effected
    UNAUTHORIZED = "unauthorized"  # 401: not effected
    FORBIDDEN = "forbidden"  # 403: not effected
    WRONG_ENDPOINT = "wrong_endpoint"  # 3xx, 404, 405, 415: not the create endpoint
    NOT_SENT = "not_sent"  # provably never left
    REFUSED = "refused"  # 400, 413, 422
    CONFLICT = "conflict"  # 409
    UNKNOWN = "unknown"  # 5xx, timeout, reset, half an answer, 2xx without id


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One broken rule of one row: the field (a snake case path), a code, and the fix in words."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QrCode:
    """A QR code as the API returns it; absent fields are None."""

    id: str
    link_id: str | None = None
    name: str | None = None
    identifier: str | None = None
    image_url: str | None = None
    encoded_url: str | None = None
    is_default: bool | None = None
    created_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as the API returns it; absent fields are None, unknown ones stay in `raw`."""

    id: str
    project_id: str | None = None
    name: str | None = None
    public_name: str | None = None
    retailer: str | None = None
    intent: str | None = None
    status: str | None = None
    short_link: str | None = None
    short_id: str | None = None
    target_url: str | None = None
    created_at: dt.datetime | None = None
    qr_code: QrCode | None = None
    raw: dict[str, object] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateHints:
    """What an answer's headers said of the limit; all seconds are from the answer's arrival."""

    retry_after: float | None = None  # seconds
    limit: int | None = None  # requests per window
    remaining: int | None = None  # requests
    reset: float | None = None  # seconds
    window: float | None = None  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one attempt brought back, classified; never raised.

    `correlation_id` is the one that we sent, `echoed_id` what came back; `is_own` is whether an
    answer without a link has the API's shape, which a web page hasn't.
    """

    kind: AnswerKind
    correlation_id: str
    status: int | None = None
    link: Link | None = None
    echoed_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    is_own: bool = True
    hints: RateHints = RateHints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that the API doesn't publish; generous, and settable."""

    max_products: int = 200
    max_quantity: int = 9_999
    max_body_bytes: int = 262_144
    max_url_characters: int = 2_048
