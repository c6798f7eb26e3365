"""Answers that teach a rate controller."""

from __future__ import annotations

from incarts_pipeline.models import Answer, AnswerKind, RateHints


def refused(hint: float | None = None) -> Answer:
    """Return a 429."""
    hints = RateHints(retry_after=hint)
    return Answer(kind=AnswerKind.RATE_LIMITED, correlation_id="", status=429, hints=hints)


ACCEPTED = Answer(kind=AnswerKind.LINK, correlation_id="", status=201)
LOST = Answer(kind=AnswerKind.UNKNOWN, correlation_id="")
FAILED = Answer(kind=AnswerKind.UNKNOWN, correlation_id="", status=503)
