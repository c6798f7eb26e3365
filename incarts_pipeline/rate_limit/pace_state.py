"""State of a shared pace: as it is kept between two exchanges, and who keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from incarts_pipeline.rate_limit.leases import Lease, Report, Shared
from incarts_pipeline.rate_limit.limit import Wait

_LAYOUT = 8  # of the states; one of another layout is learned anew


class Pace(Protocol):
    """One process's way to a shared pace; used by one thread at a time."""

    def exchange(self, report: Report) -> Lease:
        """Tell what was heard, and lease slots; nothing is changed when it fails.

        Raises:
            LedgerError: what is shared can't be read or written.
        """

    def close(self) -> None:
        """Let go of it; the next exchange opens it again."""


# Opens the pace of a name, which begins with what the function returns when there is none yet.
OpenPace = Callable[[str, Callable[[], Shared]], Pace]


def pace_name(api_key_fingerprint: str, *, fixed: bool) -> str:
    """Return the name under which the processes of a key share their pace."""
    return f"{api_key_fingerprint} {'fixed' if fixed else 'adaptive'} {_LAYOUT}"


def kept_state(shared: Shared) -> str:
    """Return a state as text."""
    return _states().dump_json(shared).decode()


def restored_state(state: str) -> Shared | None:
    """Return a state that was kept; None for none, or one of another version."""
    try:
        return _states().validate_json(state)
    except ValidationError:
        return None


def waits_of(states: Iterable[tuple[str, str]], now: float) -> dict[str, Wait]:
    """Return what living processes wait for, by their key's fingerprint, of (name, state)."""
    found: dict[str, Wait] = {}
    for name, state in states:
        shared = restored_state(state)
        if shared is not None and shared.is_at_work(now):
            wait = shared.controller.waiting_for(now)
            if wait is not None:
                found[name.split()[0]] = wait
    return found


@cache
def _states() -> TypeAdapter[Shared]:
    return TypeAdapter(Shared)
