"""Answers: what each command prints with `--json`, one shape per command.

The files in docs/json/ are made from these classes. `schema_version` rises when something is taken
away or means something else; what is new doesn't raise it. Times are ISO 8601, in UTC.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from incarts_pipeline.cli.ledger_answers import (
    BackupAnswer,
    LedgerCheckAnswer,
    MoveAnswer,
    RestoreAnswer,
)
from incarts_pipeline.cli.run_answers import (
    Answer,
    ChangedValue,
    EarlyEnd,
    ErrorAnswer,
    ForbiddenLinks,
    PlanAnswer,
    RunAnswer,
)
from incarts_pipeline.models import Reason, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What `init` found for a field of the mapping; `value` is as YAML has it."""

    field: str
    value: Any
    why: str
    others: Sequence[Any]
    doubt: str | None
    is_offer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InitAnswer(Answer):
    """Of `init`: what it guessed, and the plan with the mapping that it wrote."""

    mapping: str
    platform: str | None
    rows: int
    findings: Sequence[Guess]
    plan: PlanAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportAnswer(Answer):
    """Of `import`."""

    links: int
    known: int
    needs_review: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRun:
    """A run that may be sending now."""

    run_id: str
    link_sets: Sequence[str]
    pid: int
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCounts:
    """One link set in numbers; `kind` says whether its links or its codes are counted."""

    project_id: str
    link_set: str
    kind: str
    links: int
    missing: int
    intended: int
    sent: int
    in_doubt: int
    needs_review: int
    rejected: int
    enqueued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAnswer(Answer):
    """Of `status`; rates and waiting are told by the fingerprints of their API keys."""

    ledger: Mapping[str, str]
    sets: Sequence[SetCounts]
    running: Sequence[RunningRun]
    rates: Mapping[str, str]
    waiting: Mapping[str, str]
    two_links_for_one_key: int
    damage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAnswer(Answer):
    """Of `stop`: the runs that were asked."""

    asked: Sequence[RunningRun]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueAnswer(Answer):
    """Of `apply --enqueue`: the links and doubts left to workers, and the rows that weren't."""

    run_id: str
    digest: str
    enqueued: int
    doubts: int
    behind_doubts: int
    in_doubt: int
    busy: int
    moved: int
    stopped: Reason | None
    seconds: float
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkAnswer(Answer):
    """Of `work`: what became of what this worker settled, and what is left, whoever is at it."""

    run_id: str
    link_sets: Sequence[str]
    settled: Mapping[State, int]
    left: Mapping[State, int]
    requests: int
    stopped: Reason | None
    end: EarlyEnd | None
    forbidden: Sequence[ForbiddenLinks]
    unrecorded: Sequence[str]
    seconds: float
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What `doctor` looked at; `ok` is null for what can't be checked."""

    check: str
    ok: bool | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSetting:
    """A setting that isn't a default, and the place where it stands."""

    setting: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorAnswer(Answer):
    """Of `doctor`."""

    ok: bool
    checks: Sequence[Check]
    settings: Sequence[GivenSetting]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHost:
    """A host that an API key is for, by the key's fingerprint, unless that was `withdrawn`."""

    host: str
    key: str
    withdrawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnswer(Answer):
    """Of `trust`: what was said now, or all that was said."""

    hosts: Sequence[KeyHost]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request that was sent; `said` is the error's code and message."""

    number: int
    correlation_id: str
    sent_at: dt.datetime
    answered_at: dt.datetime | None
    http_status: int | None
    said: str | None
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLink:
    """A link, or a QR code, that an operation made."""

    link_id: str
    short_link: str | None
    target_url: str | None
    received_at: dt.datetime
    in_use: bool
    proof: str | None
    status: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One operation of a row; `for_link_id` is the link whose QR code it makes."""

    project_id: str
    link_set: str
    row_key: str
    idempotency_key: str
    generation: int
    action: str
    state: State
    reason: str | None
    intended_at: dt.datetime
    missing_since: dt.datetime | None
    changed: Sequence[str]
    differences: Sequence[ChangedValue]
    attempts: Sequence[Attempt]
    links: Sequence[MadeLink]
    for_link_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowAnswer(Answer):
    """Of `show`: a row's operations, oldest first."""

    entries: Sequence[Chapter]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """An operation whose link may exist; `settles_until` is null when no run can settle it."""

    idempotency_key: str
    project_id: str
    link_set: str
    row_key: str
    state: State
    reason: str
    attempts: int
    first_sent_at: dt.datetime | None
    settles_until: dt.datetime | None
    needs_person: bool
    run_id: str | None
    http_status: int | None
    correlation_id: str | None
    for_link_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewListAnswer(Answer):
    """Of `review list`; the first row that a run can settle says until when it must begin."""

    needs_person: int
    in_doubt: int
    in_flight: int
    apply_before: dt.datetime | None
    cases: Sequence[OpenCase]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRun:
    """A living run; `per_second` and `errors` are those of the last minute."""

    run_id: str
    link_sets: Sequence[str]
    pid: int
    host: str
    started_at: dt.datetime
    made: int
    per_second: float
    in_flight: int
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An answer that was none."""

    at: dt.datetime
    run_id: str
    row_key: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchAnswer(Answer):
    """Of `watch`: one look; rates and waiting are told by the fingerprints of their API keys."""

    at: dt.datetime
    runs: Sequence[WatchedRun]
    rates: Mapping[str, str]
    waiting: Mapping[str, str]
    needs_person: int
    in_doubt: int
    in_flight: int
    apply_before: dt.datetime | None
    failures: Sequence[FailedAttempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyAnswer(Answer):
    """Of `verify`; `verified` names the table of verdicts."""

    verified: str | None
    verdicts: Mapping[str, int]
    disputed: int
    requests: int
    stopped: Reason | None
    end: EarlyEnd | None
    seconds: float
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A URL that is not ok; `catalog_row` is the first row that leads there."""

    url: str
    verdict: str
    http_status: int | None
    reason: str | None
    redirects: Sequence[str]
    links: int
    catalog_row: int
    fields: Sequence[str]
    checked_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnswer(Answer):
    """Of `check`; `checked` names the table of URLs, null without --output."""

    checked: str | None
    verdicts: Mapping[str, int]
    requests: int
    not_ok: Sequence[Destination]
    exit_code: int


# By the command's name; whatever was asked for, an error has the shape of `error`.
ANSWERS: Mapping[str, type[Answer]] = {
    "init": InitAnswer,
    "plan": PlanAnswer,
    "apply": RunAnswer,
    "apply --enqueue": EnqueueAnswer,
    "work": WorkAnswer,
    "publish": RunAnswer,
    "rekey": RunAnswer,
    "import": ImportAnswer,
    "status": StatusAnswer,
    "watch": WatchAnswer,
    "stop": StopAnswer,
    "doctor": DoctorAnswer,
    "trust": TrustAnswer,
    "show": ShowAnswer,
    "qr": RunAnswer,
    "verify": VerifyAnswer,
    "check": CheckAnswer,
    "review list": ReviewListAnswer,
    "ledger backup": BackupAnswer,
    "ledger restore": RestoreAnswer,
    "ledger check": LedgerCheckAnswer,
    "ledger move": MoveAnswer,
    "error": ErrorAnswer,
}
