"""Answers of the API, as signals to rate control."""

from __future__ import annotations

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.rate_limit.signals import NO_HINTS, Hints, Outcome, Policy, Signal

_UNAVAILABLE = 503
# What the API itself says to a request that its limiter let through.
_ACCEPTED = frozenset(
    {
        AnswerKind.LINK,
        AnswerKind.REFUSED,
        AnswerKind.CONFLICT,
        AnswerKind.UNAUTHORIZED,
        AnswerKind.FORBIDDEN,
    }
)
_WORDS = ("rate limit", "rate_limit", "ratelimit", "throttl", "too many requests", "quota")
_ACCEPTING = Signal(outcome=Outcome.ACCEPTED)
_TELLING_NOTHING = Signal(outcome=Outcome.UNKNOWN)


def signal_of(answer: Answer) -> Signal:
    """Return what an answer says to rate control.

    A 503 is a refusal when it says when to come back, or speaks of a limit: proxies throttle so.
    Any other trouble says nothing, as nobody knows whether a limiter counted it.
    """
    hints = _hints(answer)
    if answer.kind is AnswerKind.RATE_LIMITED or _is_throttled(answer):
        return Signal(outcome=Outcome.REFUSED, hints=hints, said=_said(answer))
    if answer.kind in _ACCEPTED and answer.is_own:
        return _ACCEPTING if hints is NO_HINTS else Signal(outcome=Outcome.ACCEPTED, hints=hints)
    return _TELLING_NOTHING


def _is_throttled(answer: Answer) -> bool:
    if answer.status != _UNAVAILABLE:
        return False
    said = f"{answer.error_code} {answer.error_message}".lower()
    return answer.hints.retry_after is not None or any(word in said for word in _WORDS)


def _hints(answer: Answer) -> Hints:
    told = answer.hints
    if told.retry_after is None and not told.policies:
        return NO_HINTS
    policies = (Policy(remaining=one.remaining, reset=one.reset) for one in told.policies)
    return Hints(retry_after=told.retry_after, policies=tuple(policies))


def _said(answer: Answer) -> str:
    after = answer.hints.retry_after
    return f"{answer.status}" + ("" if after is None else f", Retry-After {after:g} s")
