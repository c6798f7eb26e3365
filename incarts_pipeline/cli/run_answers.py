"""Answers of plans and runs with `--json`, and what all answers begin with (see `answers`)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from incarts_pipeline.models import Action, Reason, Severity, Status

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What all answers begin with."""

    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer(Answer):
    """Of any command that could not start, or was refused."""

    error: str
    fix: str | None
    guard: str | None
    digest: str | None
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How many rows get an action for a reason, and how many calls that takes."""

    link_set: str
    action: Action
    reason: Reason
    rows: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The first row of a group: its position, its key and what is wrong with it."""

    row: int
    key: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemCount:
    """Rows with one problem in one field."""

    severity: Severity
    field: str
    code: str
    rows: int
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRefusal:
    """A guard that stands in a plan's way."""

    guard: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedValue:
    """A value that differs, by its path; `old` or `new` is null where there is none."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldsCount:
    """How many rows differ in just these fields."""

    fields: Sequence[str]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPattern:
    """What the changed values of a field have in common, if anything: `alike` of its `values`."""

    field: str
    values: int
    pattern: str | None
    alike: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedExample:
    """A changed row; `more` values differ than these."""

    row: int
    key: str | None
    differences: Sequence[ChangedValue]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCount:
    """What changes in the rows that get one action for one reason.

    `only` are the commonest sets of fields; `other_fields` rows have further ones, and of
    `unknown_before` nobody knows what their link was made with.
    """

    link_set: str
    action: Action
    reason: Reason
    rows: int
    only: Sequence[FieldsCount]
    other_fields: int
    unknown_before: int
    patterns: Sequence[FieldPattern]
    examples: Sequence[ChangedExample]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAnswer(Answer):
    """Of `plan`, and of `qr --plan-only`; `seconds` is the expected time, null when unknown.

    `nights` of `to_make` calls each make all, null when a night makes none, or no pace is known
    that says how many; `last_night` is the day of the last one if this is the first.
    `catalog_version` is that of a lake table.
    """

    digest: str
    rows: int
    calls: int
    to_make: int
    doubts: int
    actions: Mapping[Action, int]
    reasons: Sequence[ReasonCount]
    changed: Sequence[ChangedCount]
    missing: Mapping[str, int]
    scopes: Mapping[str, int]
    missing_scopes: Sequence[str]
    warnings: Sequence[str]
    problems: Sequence[ProblemCount]
    refusals: Sequence[GuardRefusal]
    seconds: float | None
    nights: int | None
    last_night: dt.date | None
    catalog_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEnd:
    """Why a run ended early."""

    kind: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount:
    """How many rows have a status for a reason."""

    status: Status
    reason: Reason
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForbiddenLinks:
    """Links that Incarts answered with 403; a code has no retailer and intent of its own."""

    retailer: str
    intent: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer(Answer):
    """Of `apply` and `rekey` (`links` names the table) and of `qr` (`qr_codes` does).

    `remaining` calls are left to later runs, which are `nights_left` with the same limit or time;
    null where there was none. `catalog_version` is that of a lake table.
    """

    run_id: str
    digest: str
    catalog_version: str | None = None
    links: str | None = None
    qr_codes: str | None = None
    statuses: Mapping[Status, int]
    reasons: Sequence[StatusCount]
    requests: int
    remaining: int
    nights_left: int | None
    missing: Mapping[str, int]
    warnings: Sequence[str]
    made_by_others: Mapping[str, int]
    stopped: Reason | None
    end: EarlyEnd | None
    forbidden: Sequence[ForbiddenLinks]
    unrecorded: Sequence[str]
    seconds: float
    exit_code: int
