"""Switches of the sandbox: one for everything that the real API leaves unpublished."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

DEFAULT_KEY = "ic_sandbox_all_scopes"
DEFAULT_PROJECT = "demo"
ALL_SCOPES = frozenset(
    {
        "links:write",
        "links:read",
        "qr-codes:write",
        "retailers:walmart",
        "retailers:instacart",
        "retailers:target",
        "retailers:custom",
    }
)
RETAILERS = frozenset({"walmart", "target", "instacart"})
INTENTS = frozenset({"custom_url", "add_to_cart", "product_detail", "shopping_list", "recipe"})

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Fault(StrEnum):
    """What can go wrong with one request."""

    LOST_BEFORE = "lost_before"  # the connection closes, nothing was done
    LOST_AFTER = "lost_after"  # the link is made, then the connection closes
    ERROR_BEFORE = "error_before"  # a 500, nothing was done
    ERROR_AFTER = "error_after"  # the link is made, then a 500
    LATE = "late"  # a 504 at once, or a closed connection; the link is made a while later
    HALF_ANSWER = "half_answer"  # the link is made, the answer breaks off
    MALFORMED = "malformed"  # the link is made, the answer is a web page
    NO_ID = "no_id"  # the link is made, the answer lacks its id
    STALL = "stall"  # the link is made, the answer takes its time


class LimitKind(StrEnum):
    """How requests are counted against a limit."""

    FIXED = "fixed"  # windows aligned to the clock
    ANCHORED = "anchored"  # a window begins with the first request after the last one
    SLIDING_LOG = "sliding_log"  # every request counts for exactly one window's length
    SLIDING_COUNTER = "sliding_counter"  # this window, and the last one's share that still reaches
    BUCKET = "bucket"  # tokens that fill up evenly


class Per(StrEnum):
    """Whose requests are counted together."""

    KEY = "key"
    PROJECT = "project"
    ADDRESS = "address"


class Owner(StrEnum):
    """What an idempotency key is remembered under."""

    KEY = "key"
    PROJECT = "project"


class Replay(StrEnum):
    """Which answers a key keeps, to give them again; others let the key start afresh."""

    SAME = "same"  # successes, and refusals by a business rule or a conflict
    STORED_ERRORS = "stored_errors"  # those, and 5xx
    FRESH = "fresh"  # successes alone


class OtherBody(StrEnum):
    """What a remembered key with another body gets."""

    CONFLICT = "conflict"  # 409
    UNPROCESSABLE = "unprocessable"  # 422
    REPLAY = "replay"  # the first body's answer, as if nothing were wrong


class Concurrent(StrEnum):
    """What a second request gets while the first one with its key is being worked on."""

    CONFLICT = "conflict"  # 409
    WAIT = "wait"  # the first one's answer, once it is there


class Hints(StrEnum):
    """What the answers say of the limit."""

    NONE = "none"
    RETRY_AFTER = "retry_after"  # seconds, rounded up, on refusals
    RETRY_AFTER_DATE = "retry_after_date"  # an HTTP date, on refusals
    RATELIMIT = "ratelimit"  # RateLimit and RateLimit-Policy of the IETF draft, on all answers
    X_RATELIMIT = "x_ratelimit"  # X-RateLimit-Limit, -Remaining and -Reset, on all answers


class ErrorShape(StrEnum):
    """How an error looks."""

    NESTED = "nested"  # {"error": {"code", "message", "details"}}
    TEXT = "text"  # {"error": "message"}
    FLAT = "flat"  # {"code", "message"}
    PROBLEM = "problem"  # application/problem+json, RFC 9457
    HTML = "html"  # a proxy's page
    EMPTY = "empty"  # no body


class _Switches(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Faults(_Switches):
    """The share of requests that each fault befalls, 0 to 1; `first` limits it to so many."""

    lost_before: Share = 0.0
    lost_after: Share = 0.0
    error_before: Share = 0.0
    error_after: Share = 0.0
    late: Share = 0.0
    half_answer: Share = 0.0
    malformed: Share = 0.0
    no_id: Share = 0.0
    stall: Share = 0.0
    first: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if sum(self.shares().values()) > 1 + 1e-9:
            raise ValueError("together the faults befall more than all requests")
        return self

    def shares(self) -> dict[Fault, float]:
        """Return the faults that can happen, each with its share."""
        shares = {fault: float(getattr(self, fault.value)) for fault in Fault}
        return {fault: share for fault, share in shares.items() if share > 0}

    @classmethod
    def spread(cls, share: float) -> Faults:
        """Return faults of every kind that together befall `share` of the requests."""
        return cls.model_validate({fault.value: share / len(Fault) for fault in Fault})


class Limit(_Switches):
    """A rate limit of `requests` per `seconds`.

    For a bucket that is the refill, and `burst` is its size (default: `requests`).
    """

    kind: LimitKind = LimitKind.FIXED
    requests: Count = 600
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    burst: Count | None = None
    per: Per = Per.KEY


class ApiKey(_Switches):
    """A key with what it may do."""

    key: Annotated[str, Field(min_length=1)] = DEFAULT_KEY
    projects: frozenset[str] = frozenset({DEFAULT_PROJECT})
    scopes: frozenset[str] = ALL_SCOPES


class SandboxConfig(_Switches):
    """All switches; times in seconds.

    Attributes:
        keys: the API keys that exist.
        idempotency_window: how long a key is remembered from its first use; 0 forgets at once.
        idempotency_scope: whether keys are remembered per API key or per project.
        replay: which answers a key keeps.
        other_body: what a remembered key with another body gets.
        concurrent: what a second request gets while the first is being worked on.
        limits: rate limits, all of which apply.
        hints: what the answers say of the limit.
        count_refused: whether refused requests use up the limit too.
        limit_first: whether the replay of a remembered key is checked against the limit.
        error_shape: how errors look.
        retailers: those with intents of their own; a custom URL goes with any.
        intents: those on offer. The real `product_detail` is announced as coming soon.
        smart_select: whether a Walmart link with a ZIP code names offers and a store.
        qr_needs_project: whether a QR code's body must name its project.
        max_products: more products than this are a 422; None for no bound.
        max_quantity: a higher quantity is a 422; None for no bound.
        max_body_bytes: a longer body is a 413; None for no bound.
        short_domain: where short links point, like `https://in2carts.com`; None for the sandbox
            itself, where they work.
        latency: how long every request takes.
        jitter: how much longer it takes at most, by chance.
        faults: what goes wrong how often; a number spreads over all kinds.
        late_seconds: how much later a late link is made.
        late_closes: whether a late request's connection is closed instead of answered with a 504.
        stall_seconds: how long a stalled answer takes.
        seed: chooses which requests have faults. The same keys in any order have the same ones.
    """

    keys: Annotated[tuple[ApiKey, ...], Field(min_length=1)] = (ApiKey(),)
    idempotency_window: Seconds = 86_400.0
    idempotency_scope: Owner = Owner.KEY
    replay: Replay = Replay.SAME
    other_body: OtherBody = OtherBody.CONFLICT
    concurrent: Concurrent = Concurrent.CONFLICT
    limits: tuple[Limit, ...] = ()
    hints: Hints = Hints.RETRY_AFTER
    count_refused: bool = False
    limit_first: bool = True
    error_shape: ErrorShape = ErrorShape.NESTED
    retailers: frozenset[str] = RETAILERS
    intents: frozenset[str] = INTENTS
    smart_select: bool = True
    qr_needs_project: bool = False
    max_products: Count | None = None
    max_quantity: Count | None = None
    max_body_bytes: Count | None = None
    short_domain: Annotated[str, Field(pattern=r"^https?://[^\s/]+$")] | None = None
    latency: Seconds = 0.0
    jitter: Seconds = 0.0
    faults: Faults = Faults()
    late_seconds: Seconds = 0.3
    late_closes: bool = False
    stall_seconds: Seconds = 0.5
    seed: int = 0

    @field_validator("faults", mode="before")
    @classmethod
    def _spread(cls, value: object) -> object:
        return Faults.spread(value) if isinstance(value, int | float) else value

    @field_validator("intents")
    @classmethod
    def _known_intents(cls, value: frozenset[str]) -> frozenset[str]:
        if unknown := value - INTENTS:
            raise ValueError(f"there is no intent {min(unknown)!r}")
        return value

    def with_changes(self, changes: Mapping[str, Any]) -> SandboxConfig:
        """Return a copy with switches changed; plain JSON values will do.

        Raises:
            ValueError: there is no such switch, or it can't take that value.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return SandboxConfig.model_validate({**values, **changes})
        except ValidationError as error:
            said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise ValueError("; ".join(said)) from None
