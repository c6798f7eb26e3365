"""A kept-alive connection: whoever asks reads the first answer that nobody has read yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.end_to_end.simulation.server import Reply


@dataclass(slots=True)
class Connection:
    """What is on it beside the answer that is asked for.

    Answers `waiting` can be seen before the next request leaves; those `coming` arrive once it has
    left.
    """

    waiting: list[Reply] = field(default_factory=list)
    coming: list[Reply] = field(default_factory=list)

    def close(self) -> None:
        """Begin a new one, on which there is nothing."""
        self.waiting, self.coming = [], []

    def exchange(self, answers: Sequence[Reply], *, late: bool) -> Reply:
        """Return what is read for a request to which the server gives these answers, in order.

        `late` says that what is left over comes only once the next request has left.
        """
        first, *rest = [*self.waiting, *self.coming, *answers]
        self.waiting, self.coming = ([], rest) if late else (rest, [])
        return first
