"""State machine of an operation: pure, no I/O, and the time comes in as an argument.

    intended ─► sent ─┬─ link ─────────────────────────────► done
                      ├─ 429, 401, 403, wrong endpoint,
                      │  not sent ─────────────────────────► intended
                      ├─ 400, 413, 422 ────────────────────► rejected
                      ├─ 409 on the first attempt ─────────► needs review
                      └─ anything else, or killed ─────────► in doubt
    in doubt ─┬─ link ─────────────────────────────────────► done
              ├─ any other answer ─────────────────────────► in doubt, as old as before
              └─ too old, key rotated, clock jumped ───────► needs review

What each state means is said in `models.State`. A doubt is sticky: a 429 or a 422 on a replay says
nothing about the first attempt, so only a link id, or a person, clears it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from incarts_pipeline.clock import Stamp
from incarts_pipeline.models import AnswerKind, State
from incarts_pipeline.settings import ResolvedSettings, Settings, key_fingerprint

_NOT_EFFECTED = frozenset(
    {
        AnswerKind.RATE_LIMITED,
        AnswerKind.UNAUTHORIZED,
        AnswerKind.FORBIDDEN,
        AnswerKind.WRONG_ENDPOINT,
        AnswerKind.NOT_SENT,
    }
)

OPEN_STATES = (State.INTENDED, State.SENT, State.IN_DOUBT, State.NEEDS_REVIEW)
DOUBTFUL_STATES = (State.SENT, State.IN_DOUBT)
# Whose row has no link by them, and never will.
ENDED_STATES = (State.ABANDONED, State.MOVED)
NOT_EFFECTED_STATES = (State.INTENDED, State.REJECTED)  # provably no link under this key


def after_answer(kind: AnswerKind, *, doubtful: bool, attempts_before: int) -> State:
    """Return the state of an operation after one attempt's answer.

    `doubtful` says that an earlier attempt's outcome is unknown; `attempts_before` counts the
    attempts before this one.
    """
    if kind is AnswerKind.LINK:
        return State.DONE
    if doubtful or kind is AnswerKind.UNKNOWN:
        return State.IN_DOUBT
    if kind in _NOT_EFFECTED:
        return State.INTENDED
    if kind is AnswerKind.REFUSED:
        return State.REJECTED
    # A 409 on a key that nobody but us can have used means that something is wrong with the key
    # itself; on a key that was tried before it may be our own earlier attempt still at work.
    return State.NEEDS_REVIEW if attempts_before == 0 else State.IN_DOUBT


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationState:
    """The state of one operation, as its ledger row says; every step returns a new one.

    `first_sent` and `api_key_fingerprint` are those of the oldest attempt that may have taken
    effect; None means that provably none did. `doubtful` says whether one did before the attempt
    that is under way.
    """

    state: State = State.INTENDED
    attempts: int = 0
    first_sent: Stamp | None = None
    api_key_fingerprint: str | None = None
    doubtful: bool = False

    def claimed(self) -> OperationState:
        """Return it taken on by a run: what its last owner left as sent is in doubt."""
        doubtful = self.first_sent is not None
        state = State.IN_DOUBT if doubtful else State.INTENDED
        return replace(self, state=state, doubtful=doubtful)

    def sent(self, now: Stamp, api_key_fingerprint: str | None) -> OperationState:
        """Return it with one more attempt about to leave."""
        first = self.first_sent is None
        return OperationState(
            state=State.SENT,
            attempts=self.attempts + 1,
            first_sent=now if first else self.first_sent,
            api_key_fingerprint=api_key_fingerprint if first else self.api_key_fingerprint,
            doubtful=not first,
        )

    def answered(self, kind: AnswerKind) -> OperationState:
        """Return it after the answer to the attempt that was sent."""
        state = after_answer(kind, doubtful=self.doubtful, attempts_before=self.attempts - 1)
        undone = state in NOT_EFFECTED_STATES
        return OperationState(
            state=state,
            attempts=self.attempts,
            first_sent=None if undone else self.first_sent,
            api_key_fingerprint=None if undone else self.api_key_fingerprint,
            doubtful=self.doubtful if undone else state is State.IN_DOUBT,
        )


class Replay(StrEnum):
    """Whether an operation in doubt may be sent again under the same key."""

    ALLOWED = "allowed"
    TOO_OLD = "too_old"  # the server may have forgotten the key
    KEY_ROTATED = "key_rotated"  # the server may remember keys per API key
    CLOCK_JUMPED = "clock_jumped"  # the age can't be trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRule:
    """How long a key is trusted: `window` seconds of server memory, less two margins.

    A margin is a fifth of the window, at most 5 minutes. One is for clocks: a change within it is
    tolerated. One is for requests that a network or a proxy delivers late: what leaves just before
    the deadline must still arrive while the key is known.
    """

    window: float
    api_key_fingerprint: str | None  # None: whose key will be used is not known yet
    clock_error: float = 0.0  # seconds by which the clock may be off, beside the margin

    @property
    def margin(self) -> float:
        """The seconds by which clocks may be off, and requests late."""
        return min(300.0, self.window / 5) + self.clock_error

    @property
    def deadline(self) -> float:
        """The age in seconds from which on nothing is replayed."""
        return self.window - 2 * self.margin

    def judge(self, first_sent: Stamp, now: Stamp, api_key_fingerprint: str | None) -> Replay:
        """Say whether what was first sent at `first_sent` may be sent again at `now`."""
        if self.api_key_fingerprint not in (None, api_key_fingerprint):
            return Replay.KEY_ROTATED
        age = now.wall - first_sent.wall
        if age < -self.margin:
            return Replay.CLOCK_JUMPED
        if first_sent.boot_id == now.boot_id:
            by_boot = now.boot - first_sent.boot
            if abs(by_boot - age) > self.margin:
                return Replay.CLOCK_JUMPED
            age = max(age, by_boot)
        return Replay.ALLOWED if age < self.deadline else Replay.TOO_OLD


def replay_rule(settings: Settings | ResolvedSettings, clock_error: float = 0.0) -> ReplayRule:
    """Return when what is in doubt may be sent again by a client with the settings' key.

    `clock_error` is by how many seconds the clock may be off that its age is told by.

    Whoever sends takes it from the settings that it sends with: a plan may have been made with
    other ones, or without a key.
    """
    key = settings.api_key
    return ReplayRule(
        window=settings.idempotency_window,
        api_key_fingerprint=key_fingerprint(key) if key else None,
        clock_error=clock_error,
    )
