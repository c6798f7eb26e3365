"""Values that pass between the folders: closed sets as enums, records as frozen dataclasses.

The comment beside each member is its meaning; docs/vocabulary.md has the same words, and a test
compares them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum


class Intent(StrEnum):
    """What a link does; the values are the API's."""

    CUSTOM_URL = "custom_url"  # goes to `customUrl`; any retailer
    ADD_TO_CART = "add_to_cart"  # fills a cart; walmart
    PRODUCT_DETAIL = "product_detail"  # shows a product; target; announced as coming soon
    SHOPPING_LIST = "shopping_list"  # opens a shopping list; instacart
    RECIPE = "recipe"  # opens a recipe; instacart


QR_CODE = "qr_code"  # takes the intent's place where an operation makes a further QR code


class Policy(StrEnum):
    """What happens when a group of fields changed on a row that has a link."""

    REPLACE = "replace"  # a new link that records the one it follows
    HOLD = "hold"  # keep the link, report the row, wait for a person
    IGNORE = "ignore"  # keep the link


class Rekeyed(StrEnum):
    """What becomes of a new row whose content is that of a row that left the catalog."""

    HOLD = "hold"  # nothing, until a person says which of the other two it is
    MOVE = "move"  # it is that row under another key: its link moves over
    NEW = "new"  # it is another row: it gets a link of its own


class Action(StrEnum):
    """What the plan wants to do with a row."""

    CREATE = "create"  # no link yet: make one
    REPLACE = "replace"  # content changed: make a new link
    REUSE = "reuse"  # content is back to one that has a link already: use that, no call
    UNCHANGED = "unchanged"  # same content, or changed only where that is ignored
    REKEY = "rekey"  # a row that left, under another key: its link moves over, no call
    SETTLE = "settle"  # sent before, answer unknown: same key and bytes again
    HOLD = "hold"  # policy, pinned, suspicious, or a doubt that needs a person: send nothing
    REJECT = "reject"  # breaks a rule, or refused by the API before: send nothing
    SKIP = "skip"  # an entry of a wide table with nothing to link to: no link wanted


class Status(StrEnum):
    """What became of a row once the run is over."""

    CREATED = "created"  # a new link was made
    REPLACED = "replaced"  # a new link was made, and follows the row's old one
    REUSED = "reused"  # the row uses a link again that it had before
    REKEYED = "rekeyed"  # the row has the link that it had under another key
    UNCHANGED = "unchanged"  # the row keeps its link
    HELD = "held"  # changed or suspicious, and stays as it is until a person says otherwise
    IN_DOUBT = "in_doubt"  # sent, answer unknown: the link may exist
    REJECTED = "rejected"  # breaks a rule, or was refused by the API; no link of this content
    PENDING = "pending"  # not tried; run again to go on
    SKIPPED = "skipped"  # no link wanted


class Reason(StrEnum):
    """Why a row has its action or status."""

    NEW = "new"  # the row has no link yet
    CHANGED = "changed"  # content changed where the policy is `replace`
    CHANGED_BACK = "changed_back"  # content is one that the row had a link for before
    REKEYED = "rekeyed"  # a person said that the row left the catalog under another key
    SAME = "same"  # content is the link's
    IGNORED_CHANGE = "ignored_change"  # content changed only where the policy is `ignore`
    ANSWER_UNKNOWN = "answer_unknown"  # sent, and no answer says whether the link exists
    NEEDS_REVIEW = "needs_review"  # in doubt, and only a link id or a person clears it
    EARLIER_IN_DOUBT = "earlier_in_doubt"  # older content of the row is in doubt
    POLICY_HOLD = "policy_hold"  # content changed where the policy is `hold`
    PINNED = "pinned"  # content changed, but the link is in print
    LOOKS_REKEYED = "looks_rekeyed"  # a new row has the content of one that left the catalog
    LOOKS_LIKE_GTIN = "looks_like_gtin"  # an item id has a GTIN's length and check digit
    LOOKS_ROUNDED = "looks_rounded"  # an item id of 16 digits or more ends in a zero
    NOT_ONE_ID = "not_one_id"  # an item id with a sign of an address, or of a list of ids
    LOOKS_EMPTY = "looks_empty"  # a name, or a part of a key, that may stand for nothing: NA, -
    LOOKS_CONVERTED = "looks_converted"  # a key as spreadsheets write numbers, dates or truth
    ODD_CHARACTER = "odd_character"  # a name with a control character, or garbled: U+FFFD
    LOST_ZEROS = "lost_zeros"  # a key without the zeros with which those beside it begin
    PRIVATE_HOST = "private_host"  # a URL that only its own network can open
    PLACEHOLDER_IN_URL = "placeholder_in_url"  # something was to be filled in: /p/{handle}
    NOT_HTTPS = "not_https"  # a URL that begins with http://
    NON_ASCII_HOST = "non_ascii_host"  # a URL whose host not every program reads alike
    DEAD_DESTINATION = "dead_destination"  # `incarts check` found that a URL leads nowhere
    INVALID = "invalid"  # the row breaks a rule: see its problems
    DUPLICATE_KEY = "duplicate_key"  # rows share a key, but not their content
    REFUSED_BY_API = "refused_by_api"  # a 400, 413 or 422; parked until the content changes
    NO_PRODUCTS = "no_products"  # nothing to link to
    OVER_LIMIT = "over_limit"  # beyond the number of links that this run may make
    OUT_OF_TIME = "out_of_time"  # beyond the time that this run may take
    STOPPED = "stopped"  # somebody ended the run
    CIRCUIT_OPEN = "circuit_open"  # going on was useless: see why the run ended
    ENQUEUED = "enqueued"  # recorded for workers, and not sent yet
    NOT_ENQUEUED = "not_enqueued"  # nothing was told to make it since it was planned
    CLAIMED_ELSEWHERE = "claimed_elsewhere"  # another run is sending the row
    CHANGED_ELSEWHERE = "changed_elsewhere"  # another run moved the row on since the plan


# Suspicions: reasons that hold a row until `accept` names them, and codes of its problems as well.
SUSPICIONS = frozenset({
    Reason.LOOKS_LIKE_GTIN, Reason.LOOKS_ROUNDED, Reason.NOT_ONE_ID, Reason.LOOKS_EMPTY,
    Reason.LOOKS_CONVERTED, Reason.ODD_CHARACTER, Reason.LOST_ZEROS, Reason.PRIVATE_HOST,
    Reason.PLACEHOLDER_IN_URL, Reason.NOT_HTTPS, Reason.NON_ASCII_HOST, Reason.DEAD_DESTINATION,
})  # fmt: skip


class State(StrEnum):
    """The state in the ledger of one operation, which has one idempotency key."""

    INTENDED = "intended"  # recorded, provably not at the server
    SENT = "sent"  # an attempt was about to leave; after a crash this means in doubt
    IN_DOUBT = "in_doubt"  # the link may exist; may be replayed inside the idempotency window
    NEEDS_REVIEW = "needs_review"  # the link may exist; only a link id or a person clears it
    DONE = "done"  # has a link
    REJECTED = "rejected"  # refused by the API; parked until its content changes
    ABANDONED = "abandoned"  # a person said: recreate; a later generation took its place
    MOVED = "moved"  # its link is used under another row key now


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
    UNKNOWN = "unknown"  # 5xx, timeout, reset, half or another's answer, 302, 303, 2xx without id


class Proof(StrEnum):
    """What proves that a link is the one that was asked for."""

    ECHO = "echo"  # the answer had the correlation id of one of the attempts
    CONTENT = "content"  # the answer had what was sent: its products, URL or name
    ECHO_AND_CONTENT = "echo+content"  # both
    NOTHING_AGAINST_IT = "nothing against it"  # neither was there to compare
    REVIEW = "review"  # a person said so
    DISPUTED = "disputed"  # nothing: it turned out to be another row's, or to hold something else


class Severity(StrEnum):
    """What a problem does to its row; a code has the same one everywhere."""

    ERROR = "error"  # can't be right: the row is rejected
    SUSPICION = "suspicion"  # mostly wrong: the row is held until a person accepts it
    NOTE = "note"  # worth knowing: the row is sent all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem of one row: the field (a snake case path), a code, and the fix in words."""

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
class RatePolicy:
    """One limit as headers tell it; all seconds are from the answer's arrival."""

    limit: int | None = None  # requests per window
    remaining: int | None = None  # requests
    reset: float | None = None  # seconds
    window: float | None = None  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RateHints:
    """What an answer's headers said of the limits, each by itself."""

    retry_after: float | None = None  # seconds from the answer's arrival
    policies: tuple[RatePolicy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one attempt brought back, classified; never raised.

    `made` is what was made or read, which has an id; `correlation_id` is the one that we sent,
    `echoed_id` what came back; `is_own` is whether an answer without either has the API's shape,
    which a web page hasn't. `proof` is what makes it the one that was asked for; `is_renamed` is
    whether its name is spelled in another way.
    """

    kind: AnswerKind
    correlation_id: str
    status: int | None = None
    made: Link | QrCode | None = None
    echoed_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    is_own: bool = True
    proof: Proof | None = None
    is_renamed: bool = False
    hints: RateHints = RateHints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that the API doesn't publish, and of what is read; generous, and settable."""

    max_products: int = 200
    max_quantity: int = 9_999
    max_body_bytes: int = 262_144
    max_url_characters: int = 2_048
    max_line_bytes: int = 8_388_608  # of JSON lines, and of a text in Parquet
    max_columns: int = 5_000  # of a catalog, with what is inside of objects
    max_mapping_bytes: int = 65_536  # of a mapping's YAML


class Dispute(StrEnum):
    """Why a link that was answered, or kept until now, is in doubt."""

    LINK_OF_ANOTHER_ROW = "link_of_another_row"  # its id is that of another row's link
    LINK_DISPUTED = "link_disputed"  # the row uses it, but it seems to be of something else


class ProblemCode(StrEnum):
    """Why a row is rejected before it is sent."""

    MISSING = "missing"  # a required value is null or blank
    NO_MATCH = "no_match"  # `extract` finds nothing in the value
    TOO_LONG = "too_long"  # a name or URL has too many characters
    NOT_A_COUNT = "not_a_count"  # a quantity that is no whole number from 1 on
    OVER_LIMIT = "over_limit"  # a quantity, the products or the body exceed their limit
    SPREADSHEET_ERROR = "spreadsheet_error"  # a spreadsheet's error for a value: #N/A
    SPREADSHEET_TEXT = "spreadsheet_text"  # a formula, or text with a mark before it: ="0055"
    NO_VALUE = "no_value"  # a word that stands for an empty cell: NULL, nan
    INVISIBLE_CHARACTER = "invisible_character"  # a character that nobody sees: U+200B
    REPEATS_HEADER = "repeats_header"  # the row is the header once more
    NUMBER_LIKE_ID = "number_like_id"  # a product id as numbers are written: 550098461.0
    WHITE_SPACE = "white_space"  # an id has white space in it
    NOT_A_ZIP_CODE = "not_a_zip_code"  # not five digits
    STORE_WITHOUT_ZIP_CODE = "store_without_zip_code"  # a store, but not where it is
    NOT_A_URL = "not_a_url"  # not http(s) with a host, or with characters that URLs can't have
    CREDENTIALS_IN_URL = "credentials_in_url"  # a user's name or password before a URL's host
    HTML_IN_URL = "html_in_url"  # a URL as HTML writes it: &amp; for &
    UNKNOWN_INTENT = "unknown_intent"  # none of `Intent`, and unknown ones aren't allowed
    UNKNOWN_RETAILER = "unknown_retailer"  # no intent but custom_url goes with it
    WRONG_RETAILER = "wrong_retailer"  # the intent belongs to another retailer
    WRONG_CASE = "wrong_case"  # `Walmart`, or white space around it, for `walmart`
    NEEDED = "needed"  # the intent can't do without a field that is absent
    NOT_A_FLAG = "not_a_flag"  # `pinned` is neither true nor false
    NOT_JSON = "not_json"  # text that should be JSON isn't
    NOT_AN_OBJECT = "not_an_object"  # JSON, but no object
    DUPLICATE_NAME = "duplicate_name"  # a JSON object has a name twice
    INEXACT_NUMBER = "inexact_number"  # a JSON number of 2^53 or more, or not finite
    TOO_DEEP = "too_deep"  # JSON nested deeper than 64
    LONE_SURROGATE = "lone_surrogate"  # JSON text with half a character
    EMPTY_KEY = "empty_key"  # a unique-key column is null or empty
    NUL_IN_KEY = "nul_in_key"  # where SQLite's functions end a text, so that queries would miss it
    NO_LINK = "no_link"  # a QR code is wanted for a row that has no link
    LINK_CHANGED = "link_changed"  # a table has another link than the row uses now
    IDENTIFIER_TAKEN = "identifier_taken"  # somebody else made a QR code under it
    NOT_AN_IDENTIFIER = "not_an_identifier"  # not 3 to 64 letters, digits and dashes
    EXPOSES_KEY = "exposes_key"  # a value has an API key in it, or another live secret
    BASKET_DIFFERS = "basket_differs"  # rows of one basket disagree about the link


class NoteCode(StrEnum):
    """What was adjusted on a row that is not rejected for it."""

    TRUNCATED = "truncated"  # the name was cut to 160 characters
    BACKUP_DROPPED = "backup_dropped"  # a backup was the product itself, or given twice
    PRIORITY_IGNORED = "priority_ignored"  # it is not a number
    KEY_PADDED = "key_padded"  # the unique key begins or ends with white space
    ODD_ID = "odd_id"  # a product id is unlike nearly all others: ABC-123, or 0, among numbers
    TAB_OR_BREAK = "tab_or_break"  # a name has a tab or a line break
    NOT_ACTIVE = "not_active"  # the link's status was another than `active` when it was made
    SHARED_LINK = "shared_link"  # another row that leads to the same has the link as well
    KEPT = "kept"  # a QR code exists, and keeps its name and metadata


def severity_of(code: str) -> Severity:
    """Return what a code in `problems` does to its row."""
    if code in _NOTES:
        return Severity.NOTE
    held = code in SUSPICIONS or code == Reason.LOOKS_REKEYED
    return Severity.SUSPICION if held else Severity.ERROR


_NOTES = frozenset(NoteCode)
