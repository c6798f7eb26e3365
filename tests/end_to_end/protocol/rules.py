"""The rules of the protocol, one by one: a test breaks one to show that the search notices."""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.state_machine import Replay, ReplayRule

TICK = LEASE_SECONDS  # seconds: time goes in steps of one lease
WINDOW = 5  # ticks that the server remembers a key; a margin is one tick, the deadline three


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a worker keeps to; by default all that the library does."""

    leases: bool = True  # what a run with a lease has claimed is left alone
    leases_end: bool = True
    marks_first: bool = True
    answers_first: bool = True  # in a transaction, before the marks
    epochs: bool = True  # an answer without a link counts for the claim that it was asked under
    looks_before_leaving: bool = True  # at the clock, for whether it stood still
    judges_again: bool = True  # and for whether the doubt may still be replayed
    sticky_doubts: bool = True
    replay: type[ReplayRule] = ReplayRule
    # Where transactions of several writers overlap, as in PostgreSQL under READ COMMITTED:
    locks_set: bool = True  # one claim of a link set at a time
    locks_rows: bool = True  # what a claim has read, nobody else changes before it is written
    operations_first: bool = True  # operations are read before the links in use
    commit_seq: bool = True  # asks, after a cut, whether the group is on disk


class Unjudged(ReplayRule):
    """Replays whatever its age."""

    __slots__ = ()

    def judge(self, first_sent: Stamp, now: Stamp, api_key_fingerprint: str | None) -> Replay:
        """Say yes."""
        return Replay.ALLOWED


class OneMargin(ReplayRule):
    """Leaves one margin for clocks and late requests together."""

    __slots__ = ()

    @property
    def deadline(self) -> float:
        """The age in seconds from which on nothing is replayed."""
        return self.window - self.margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may happen in one story."""

    overlapping: bool = False  # transactions of several writers overlap
    contents: tuple[str, str] = ("A", "A")  # what each worker's catalog wants of a row
    clocks: tuple[int, int] = (0, 0)  # ticks that each worker's clock is off by
    rows: int = 2
    troubles: int = 2  # crashes, cuts, faults of network and server, and leases not renewed, in all
    cuts: bool = False  # whether connections are cut around a COMMIT
    starts: int = 3  # of runs
    attempts: int = 2  # of one run at one operation
