"""Result: how a run ended, and why what it did not try is pending."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from incarts_pipeline.errors import IncartsError, ours_only
from incarts_pipeline.ledger import Outcome
from incarts_pipeline.models import Reason
from incarts_pipeline.text import OptionText
from incarts_pipeline.write.circuit_breaker import End
from incarts_pipeline.write.options import WriteOptions


def left_over(written: WriteResult, options: WriteOptions) -> LeftOver:
    """Say why what a run did not try is pending."""
    # The circuit first: a run that it ended was asked to stop as well.
    circuit = written.end is not None
    return LeftOver(
        reason=Reason.CIRCUIT_OPEN if circuit else written.stopped or Reason.STOPPED,
        rows=[
            *((row, Reason.CLAIMED_ELSEWHERE) for row in written.busy),
            *((row, Reason.CHANGED_ELSEWHERE) for row in written.moved),
        ],
        closed=list(written.forbidden),
        limit=options.limit,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver:
    """Why rows were not tried.

    `rows` are ((link set, row key), reason) of single rows, `closed` the (retailer, intent) pairs
    whose circuit opened, `limit` the number of calls that the run was held to; every other row
    that was not tried is pending for `reason`.
    """

    reason: Reason
    rows: Sequence[tuple[tuple[str, str], Reason]] = ()
    closed: Sequence[tuple[str, str]] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """How a run ended. `busy` and `moved` are (link set, row key) of calls left to another run.

    `made_by_others` counts, by the id of the run that made them, the links that it waited for;
    `remaining` calls are left to later runs.
    """

    run_id: str
    end: End | None
    stopped: Reason | None
    forbidden: Mapping[tuple[str, str], str]
    accepted: int
    requests: int
    remaining: int = 0
    unrecorded: Sequence[str] = ()
    busy: Sequence[tuple[str, str]] = field(default=(), repr=False)
    moved: Sequence[tuple[str, str]] = field(default=(), repr=False)
    made_by_others: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_blocked(self) -> bool:
        """Whether running again is of no use before somebody has put something right."""
        return bool(self.forbidden) or (self.end is not None and not self.end.may_pass)


def lines_of(unrecorded: Sequence[Outcome]) -> list[str]:
    """Return what answers said that are not in the ledger: each key, and its link or state."""
    return [
        f"{one.operation.idempotency_key} → "
        f"{one.answer.made.id if one.answer and one.answer.made else one.state.value}"
        for one in unrecorded
    ]


@contextmanager
def telling_unrecorded(unrecorded: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Let the errors of a block say which answers are not in the ledger either.

    Nobody else knows of them, and what keeps the ledger from recording is what ends such a block.
    """
    try:
        with ours_only():
            yield
    except Exception as error:
        if lost := "; ".join(unrecorded()):
            _tell(error, f"These answers could not be recorded in the ledger: {lost}.")
        raise


def _tell(error: Exception, lost: str) -> None:
    if isinstance(error, IncartsError):
        error.message = OptionText(error.message, " ", lost)
        again = "Keep this message, and run again: they are settled under their own keys."
        error.fix = OptionText(error.fix, " ", again) if error.fix else again
    else:
        error.add_note(lost)
