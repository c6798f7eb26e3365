"""Variants of the protocol with one rule broken each, and the bounds in which that shows."""

from __future__ import annotations

from dataclasses import dataclass

from tests.end_to_end.protocol.rules import Bounds, OneMargin, Rules, Unjudged

# One row shows it, and shortest.
_ONE = Bounds(rows=1, starts=2, troubles=1)
_TWO = Bounds(rows=1, starts=2, troubles=2)
_OVERLAPPING = Bounds(rows=1, starts=2, troubles=1, overlapping=True, cuts=True)
_TWO_CONTENTS = Bounds(rows=1, starts=2, troubles=1, overlapping=True, contents=("A", "B"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A worker, or a ledger, that would break a rule; `wrong` begins what comes of it."""

    told: str
    rules: Rules
    bounds: Bounds
    wrong: str


VARIANTS = (
    Variant(
        told="take on what a run with a lease is at",
        rules=Rules(leases=False),
        bounds=_ONE,
        wrong="an operation is in doubt that never left",
    ),
    Variant(
        told="wait for a killed run for ever",
        rules=Rules(leases_end=False),
        bounds=_ONE,
        wrong="the row is stuck",
    ),
    Variant(
        told="record an attempt only once it was sent",
        rules=Rules(marks_first=False),
        bounds=_TWO,
        wrong="a link is lost",
    ),
    Variant(
        told="write marks before the answers that came first",
        rules=Rules(answers_first=False),
        bounds=_ONE,
        wrong="a run gives up an operation that is its own",
    ),
    Variant(
        told="let the answer of an older claim count",
        rules=Rules(epochs=False),
        bounds=_TWO,
        wrong="a run gives up an operation that is its own",
    ),
    Variant(
        told="send on an old mark, however long it stood still",
        rules=Rules(looks_before_leaving=False),
        bounds=_ONE,
        wrong="a second link under one key",
    ),
    Variant(
        told="judge a doubt's age only before its mark",
        rules=Rules(judges_again=False),
        bounds=Bounds(rows=1, starts=2, troubles=1, clocks=(0, -1)),
        wrong="a second link under one key",
    ),
    Variant(
        told="believe a 429 or a 422 on a replay",
        rules=Rules(sticky_doubts=False),
        bounds=_TWO,
        wrong="a link is lost",
    ),
    Variant(
        told="replay a key whatever its age",
        rules=Rules(replay=Unjudged),
        bounds=_ONE,
        wrong="a second link under one key",
    ),
    Variant(
        told="leave no margin for clocks that are off",
        rules=Rules(replay=OneMargin),
        bounds=Bounds(rows=1, starts=2, troubles=1, clocks=(0, -1)),
        wrong="a second link under one key",
    ),
    Variant(
        told="claim without the link set's lock",
        rules=Rules(locks_set=False),
        bounds=_TWO_CONTENTS,
        wrong="a link is made although the row has one since",
    ),
    Variant(
        told="write a claim over what its owner has written since it was read",
        rules=Rules(locks_rows=False),
        bounds=_OVERLAPPING,
        wrong="an operation that is done is in doubt again",
    ),
    Variant(
        told="read the links in use before the operations",
        rules=Rules(operations_first=False),
        bounds=_TWO_CONTENTS,
        wrong="a link is made although the row has one since",
    ),
    Variant(
        told="take a connection that was cut for a group that is not on disk",
        rules=Rules(commit_seq=False),
        bounds=_OVERLAPPING,
        wrong="an operation is in doubt that never left",
    ),
)

# What holds: each is visited to its last world. Those of two rows share transactions, crashes and
# time; nothing else is theirs that a row alone doesn't have, so that tests visit a part of them.
TWO_ROWS = Bounds(rows=2, starts=2, troubles=1, attempts=1)
ALL_BOUNDS = (
    TWO_ROWS,
    Bounds(rows=1, starts=2, troubles=2),
    Bounds(rows=1, starts=2, troubles=2, clocks=(0, -1)),
    Bounds(rows=1, starts=2, troubles=2, contents=("A", "B")),
    Bounds(rows=1, starts=2, troubles=1, overlapping=True, cuts=True),
    Bounds(rows=1, starts=2, troubles=1, overlapping=True, cuts=True, contents=("A", "B")),
)
