"""What senders need of whatever says when to send."""

from __future__ import annotations

from typing import Protocol

from incarts_pipeline.models import Answer
from incarts_pipeline.pacing.learned import Learned

# Seconds that are as good as none: a clock that counts from the boot may not be able to tell less,
# and whoever waited so long would ask at the same instant for ever.
NO_TIME = 1e-6
NEVER = -1e18  # seconds: before everything, and unlike an infinity it can be written as JSON


class Pacer(Protocol):
    """Says when to send, and learns from the answers; all times are on one monotonic clock."""

    @property
    def learned(self) -> Learned | None:
        """What is known of the limit."""

    @property
    def pace(self) -> float | None:
        """Requests a second that this sender may count on now, None when nobody knows."""

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""

    def answered(self, answer: Answer, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""

    def hopeless_for(self, now: float, /) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run."""

    def waiting_for(self, now: float, /) -> str:
        """Say in words what is being waited for, empty when nothing is."""
