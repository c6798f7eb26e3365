"""Remedies of answers: what an HTTP status, or a code of ours, means for a link, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from incarts_pipeline.display.remedies import REASONS, REVIEW, RUN_AGAIN, Fix
from incarts_pipeline.models import Reason

# By HTTP status; 300 stands for every redirect, 500 for every server error without its own line.
STATUSES: Mapping[int, Fix] = {
    300: Fix(
        meaning="redirected: not the API", fix="Set INCARTS_API_BASE_URL to where it really is."
    ),
    400: Fix(
        meaning="malformed request", fix="Correct what the message names; see the row's fields."
    ),
    401: Fix(
        meaning="API key missing or invalid",
        fix="Set INCARTS_API_KEY to a valid key of this target.",
    ),
    403: Fix(
        meaning="the key may not do this",
        fix="Use a key that may use the project (INCARTS_PROJECT_ID) and has the scopes that the "
        "plan names.",
    ),
    404: Fix(meaning="not found", fix="Check INCARTS_API_BASE_URL, or the id."),
    405: Fix(meaning="not the API's endpoint", fix="Check INCARTS_API_BASE_URL, without /v1."),
    409: Fix(
        meaning="conflict: the key or the identifier is in use",
        fix=f"A link may exist already. {REVIEW}",
    ),
    413: Fix(
        meaning="the request is too large", fix="Shorten products, options or metadata of the row."
    ),
    415: Fix(meaning="not the API's endpoint", fix="Check INCARTS_API_BASE_URL, without /v1."),
    422: Fix(
        meaning="breaks a business rule of Incarts or the retailer",
        fix="Correct what the message names; the row is tried again once it has changed.",
    ),
    429: Fix(
        meaning="rate limited", fix="Nothing: the pipeline slows down and tries again by itself."
    ),
    500: Fix(
        meaning="trouble at Incarts or on the way; the link may have been made",
        fix=REASONS[Reason.ANSWER_UNKNOWN].fix,
    ),
    503: Fix(
        meaning="Incarts is not available; the link may have been made",
        fix=REASONS[Reason.ANSWER_UNKNOWN].fix,
    ),
}

# Answers that may come after the link was made, as `answers` reads them.
_IN_DOUBT = frozenset({303, 408, 421, 425, 499})

# Codes of our own where no HTTP status says it.
CODES: Mapping[str, Fix] = {
    "not_sent": Fix(
        meaning="the request never left", fix="Check the network and INCARTS_API_BASE_URL."
    ),
    "answer_lost": Fix(
        meaning="the answer was lost on the way", fix=REASONS[Reason.ANSWER_UNKNOWN].fix
    ),
    "kept_back": Fix(
        meaning="the run ended, a 429 came, or the process stood still before the request left",
        fix=RUN_AGAIN,
    ),
    "too_old": Fix(
        meaning="too long ago to trust that Incarts still knows its key",
        fix=f"{REVIEW} Sooner runs, or a longer INCARTS_IDEMPOTENCY_WINDOW on Incarts' word, "
        "settle such rows by themselves.",
    ),
    "key_rotated": Fix(
        meaning="sent under another API key",
        fix=f"Run with the key that it was sent under, if it is still valid. Else: {REVIEW}",
    ),
    "clock_jumped": Fix(meaning="the clock was changed: its age can't be trusted", fix=REVIEW),
    "imported": Fix(meaning="in doubt in the table that was imported", fix=REVIEW),
}


def of_status(status: int) -> Fix:
    """Return what an HTTP status means for a link and what to do."""
    if status in STATUSES:
        return STATUSES[status]
    # Unknown server errors too: whoever sends one may have made the link.
    if status in _IN_DOUBT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return STATUSES[500]
    if 300 <= status < 400:
        return STATUSES[300]
    return Fix(meaning=f"unexpected status {status}", fix=STATUSES[404].fix)


def of_forbidden(project_id: str) -> str:
    """Return what to do where Incarts answers 403; it doesn't always say which of them it is."""
    return (
        f"Check the project {project_id} (INCARTS_PROJECT_ID), and the key's access to it and "
        "its scopes."
    )


def of_row(reason: Reason, *, http_status: int | None = None, error_code: str | None = None) -> Fix:
    """Return what a row's reason means and what to do, as exactly as its last answer allows.

    Args:
        reason: the row's reason.
        http_status: of its last answer, None for none.
        error_code: Incarts' or ours, None for none.
    """
    # The last answer says it more exactly where there was one.
    own = REASONS[reason]
    if reason is Reason.REFUSED_BY_API and http_status is not None:
        return of_status(http_status)
    if reason is Reason.NEEDS_REVIEW and (http_status == HTTPStatus.CONFLICT):
        return STATUSES[409]
    if reason in (Reason.NEEDS_REVIEW, Reason.ANSWER_UNKNOWN) and error_code in CODES:
        said = CODES[error_code or ""]
        return Fix(meaning=f"{own.meaning}: {said.meaning}", fix=said.fix)
    return own
