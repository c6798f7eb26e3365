"""Case groups: what is in flight, in doubt or for a person, counted, grouped, and until when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from incarts_pipeline.clock import from_micros
from incarts_pipeline.ledger import Case
from incarts_pipeline.text import clock_time, counted

_FOR_PERSON = (
    "Incarts can tell whether these exist: send them the file of `incarts review evidence`. Then "
    "`incarts review adopt KEY LINK_ID` for one that does, `incarts review recreate KEY` for one "
    "that doesn't, and run `incarts apply` again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCases:
    """The open operations of a ledger, oldest first."""

    cases: Sequence[Case]

    @property
    def for_person(self) -> list[Case]:
        """Those that only a person settles."""
        return [case for case in self.cases if case.needs_person]

    @property
    def in_flight(self) -> list[Case]:
        """Those that a living run is at, and settles."""
        return [case for case in self.cases if case.run_id is not None]

    @property
    def in_doubt(self) -> list[Case]:
        """Those that the next run settles, as long as it is in time."""
        return [case for case in self.cases if not case.needs_person and case.run_id is None]

    @property
    def apply_before(self) -> dt.datetime | None:
        """When the first of those that a run can settle needs a person; None when there is none."""
        ends = [case.settles_until for case in self.in_doubt if case.settles_until is not None]
        return from_micros(min(ends)) if ends else None

    def __str__(self) -> str:
        parts = []
        if self.in_doubt:
            until = self.apply_before
            by = f" before {clock_time(until, dt.datetime.now(dt.UTC))}" if until else " again"
            parts.append(f"{len(self.in_doubt):,} in doubt; run `incarts apply`{by}")
        if self.for_person:
            parts.append(counted(len(self.for_person), "needs a person", "need a person"))
        if self.in_flight:
            parts.append(f"{len(self.in_flight):,} in flight")
        return ". ".join(parts) or "nothing is in doubt"

    def groups(self) -> dict[tuple[str, str], list[Case]]:
        """Return the cases by what they have in common and what to do about it, urgent first."""
        found: dict[tuple[str, str], list[Case]] = {}
        for case in [*self.for_person, *self.in_doubt, *self.in_flight]:
            found.setdefault((_title(case), _FOR_PERSON if case.needs_person else ""), []).append(
                case
            )
        return found


def _title(case: Case) -> str:
    """Say of which set a case is, how it stands, and who settles it."""
    if case.needs_person:
        return f"{case.link_set}, needs review: {case.reason}"
    if case.run_id is not None:
        return f"{case.link_set}, in flight: run {case.run_id} is at it and settles it"
    return f"{case.link_set}, in doubt: {case.reason}; the next run settles it"
