"""Result: how a run ended, and why what it did not try is pending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from incarts_pipeline.errors import PublishError
from incarts_pipeline.models import Reason
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

    `made_by_others` counts, by the id of the run that made them, the links that it waited for.
    """

    run_id: str
    end: End | None
    stopped: Reason | None
    forbidden: Mapping[tuple[str, str], str]
    accepted: int
    requests: int
    unrecorded: Sequence[str] = ()
    busy: Sequence[tuple[str, str]] = field(default=(), repr=False)
    moved: Sequence[tuple[str, str]] = field(default=(), repr=False)
    made_by_others: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_blocked(self) -> bool:
        """Whether running again is of no use before somebody has put something right."""
        return bool(self.forbidden) or (self.end is not None and not self.end.may_pass)


def with_unrecorded(error: PublishError, written: WriteResult) -> PublishError:
    """Say beside a failed output which answers are not in the ledger either."""
    if not written.unrecorded:
        return error
    lost = "\n".join(f"  {one}" for one in written.unrecorded)
    return PublishError(
        f"{error.message} These answers could not be recorded in the ledger:\n{lost}\n",
        fix="Keep this message. Make room, and run again: they are settled under their own keys.",
    )
