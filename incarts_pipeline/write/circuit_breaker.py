"""Circuit breaker: which answers mean that going on is useless, or has to wait. Pure.

Trouble that is not a limit has a budget for retries and a breaker that opens; times are arguments.
The budget is the AWS SDKs' standard mode (500 tokens; a retry costs 5, after a timeout 10; a
success gives 1 back, and a retry's its price). The breaker is Nygard's, "Release It!": closed,
open, and half-open, when one request at a time finds out whether the trouble is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from incarts_pipeline.models import Answer, AnswerKind

_PATIENCE = 180.0  # seconds of trouble without one good answer
_FOREIGN = 3  # answers that no API in trouble gives, before the first link: this is not the API
# What a web server answers a POST that it doesn't know. Not 500 and 502 to 504: with such pages a
# proxy tells of an outage behind it.
_NO_OUTAGE = frozenset({302, 303, 501, 505})
_UNREACHABLE = 3.0  # seconds without ever having reached the host


class EndKind(StrEnum):
    """Why a run was ended before its time."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    WRONG_ENDPOINT = "wrong_endpoint"
    UNREACHABLE = "unreachable"
    STORM = "storm"
    LEDGER = "ledger"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"  # a guard stands against what is left once doubts were settled


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a run: what happened, and what to do about it."""

    kind: EndKind
    message: str
    fix: str

    @property
    def may_pass(self) -> bool:
        """Whether running again later may help, with nothing changed."""
        final = (
            EndKind.UNAUTHORIZED,
            EndKind.FORBIDDEN,
            EndKind.WRONG_ENDPOINT,
            EndKind.REFUSED,
        )
        return self.kind not in final


class Circuits:
    """Watches every answer of a run; times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self.accepted = 0
        self.end: End | None = None
        self.forbidden: dict[tuple[str, str], str] = {}  # (retailer, intent) → what Incarts said
        self.reason = ""  # what the trouble is, while paused
        self._answered = False
        self._foreign = 0  # answers that are not the API's
        self._breaker = Breaker()

    def is_open(self, retailer: str, intent: str) -> bool:
        """Say whether this kind of link is not to be tried any more in this run."""
        return (retailer, intent) in self.forbidden

    def wait(self, now: float) -> float:
        """Return the seconds to wait before the next request because of trouble; 0.0 for none."""
        return self._breaker.wait(now)

    def started(self, now: float) -> None:
        """Note that a request goes out."""
        self._breaker.started(now)

    def finished(self, started_at: float) -> None:
        """Note that a request is over, however it ended."""
        self._breaker.finished(started_at)

    def answered(
        self,
        answer: Answer,
        retailer: str,
        intent: str,
        now: float,
        *,
        retry: bool = False,
        refused: bool = False,
    ) -> None:
        """Learn from an answer; `end`, `forbidden` and `wait` may change.

        `refused` is whether a limiter refused the request, whatever its status.
        """
        kind = answer.kind
        # A host that was never reached is another matter than one that has answered.
        if kind is AnswerKind.NOT_SENT:
            self._count_trouble(answer, now)
            return
        self._answered = True
        if refused:
            # The service is well, so the breaker closes; but a refusal earns no tokens.
            self._breaker.close()
        elif kind is AnswerKind.UNKNOWN:
            self._count_trouble(answer, now)
            self._foreign += _is_foreign(answer)
            if self._foreign >= _FOREIGN and not self.accepted:
                self._wrong_endpoint(answer, now)
        elif kind is AnswerKind.WRONG_ENDPOINT:
            self._wrong_endpoint(answer, now)
        else:
            self._breaker.succeeded(retry=retry)
        if kind is AnswerKind.LINK:
            self.accepted += 1
        elif kind is AnswerKind.UNAUTHORIZED:
            self.end = End(
                kind=EndKind.UNAUTHORIZED,
                message=f"Incarts refused the API key (401{_said(answer)}).",
                fix="Set INCARTS_API_KEY to a valid key of this target.",
            )
        elif kind is AnswerKind.FORBIDDEN:
            self.forbidden[retailer, intent] = answer.error_message or answer.error_code or ""

    def _wrong_endpoint(self, answer: Answer, now: float) -> None:
        # It is the API, as it has made links: something before it is in trouble for a while.
        if self.accepted:
            self._count_trouble(answer, now)
            return
        self.end = End(
            kind=EndKind.WRONG_ENDPOINT,
            message=f"What answers there is not the Incarts API (status {answer.status}"
            f"{_said(answer)}).",
            fix="Check INCARTS_API_BASE_URL: the scheme, the host, and the path without /v1.",
        )

    def _count_trouble(self, answer: Answer, now: float) -> None:
        self._breaker.failed(now, timeout=answer.status is None)
        self.reason = answer.error_message or answer.error_code or f"status {answer.status}"
        lasted = self._breaker.lasted(now)
        if not self._answered and lasted >= _UNREACHABLE:
            self.end = End(
                kind=EndKind.UNREACHABLE,
                message=f"Incarts can't be reached: {self.reason}.",
                fix="Check INCARTS_API_BASE_URL and the network.",
            )
        elif self._breaker.is_storm and lasted >= _PATIENCE:
            self.end = End(
                kind=EndKind.STORM,
                message=f"Incarts has not answered properly for {lasted:.0f} seconds "
                f"(last: {self.reason}).",
                fix="Run again later: what is in doubt is settled first, nothing is made twice.",
            )


def _is_foreign(answer: Answer) -> bool:
    if answer.status is None:
        return False
    return answer.status < 300 or (answer.status in _NO_OUTAGE and not answer.is_own)


def _said(answer: Answer) -> str:
    said = answer.error_message or answer.error_code
    return f": {said}" if said else ""


_BUDGET = 500
_RETRY, _TIMEOUT = 5, 10  # what one costs
_AFTERWARDS = 100  # tokens that a breaker which closes begins with, at least
_STORM = 12  # troubles in a row
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
_POLL = 0.05  # seconds between looks while the probe is out


@dataclass(slots=True)
class Breaker:
    """Says how long to pause; times are seconds on one monotonic clock."""

    tokens: int = _BUDGET
    in_a_row: int = 0
    since: float | None = None  # when the trouble began
    pause: float = _FIRST_PAUSE
    open_until: float | None = None  # None: closed
    probe_sent: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds to wait before the next request; 0.0 for none."""
        if self.open_until is None:
            return 0.0
        if now < self.open_until:
            return self.open_until - now
        return 0.0 if self.probe_sent is None else _POLL

    def started(self, now: float) -> None:
        """Note that a request goes out: while half-open it is the only one."""
        if self.open_until is not None:
            self.probe_sent = now

    def finished(self, started_at: float) -> None:
        """Note that a request is over, however it ended."""
        if self.probe_sent is not None and started_at >= self.probe_sent:
            self.probe_sent = None

    def succeeded(self, *, retry: bool) -> None:
        """Give tokens back, and close."""
        self.tokens = min(_BUDGET, self.tokens + (_RETRY if retry else 1))
        self.close()

    def close(self) -> None:
        """End the trouble."""
        if self.open_until is not None:
            self.tokens = max(self.tokens, _AFTERWARDS)
        self.in_a_row, self.since, self.pause = 0, None, _FIRST_PAUSE
        self.open_until = self.probe_sent = None

    def failed(self, now: float, *, timeout: bool) -> None:
        """Pay for the retry that will follow, and open when there is too much trouble."""
        self.tokens = max(0, self.tokens - (_TIMEOUT if timeout else _RETRY))
        self.in_a_row += 1
        if self.since is None:
            self.since = now
        is_over = self.in_a_row >= _STORM or not self.tokens
        if is_over and (self.open_until is None or now >= self.open_until):
            self.open_until = now + self.pause
            self.pause = min(self.pause * 2, _LONGEST_PAUSE)

    def lasted(self, now: float) -> float:
        """Return for how many seconds there has been nothing but trouble."""
        return 0.0 if self.since is None else now - self.since

    @property
    def is_storm(self) -> bool:
        """Whether there was nothing but trouble for some time."""
        return self.in_a_row >= _STORM
