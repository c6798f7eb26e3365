"""Trouble that is not a limit: a budget for retries, and a breaker that opens. Pure.

The budget is the AWS SDKs' standard mode (500 tokens; a retry costs 5, after a timeout 10; a
success gives 1 back, and a retry's its price). The breaker is Nygard's, "Release It!": closed,
open, and half-open, when one request at a time finds out whether the trouble is over.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def landed(self, started_at: float) -> None:
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
