"""What a simulated run needs of a ledger: a model in memory and real SQLite both give it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Call, Claim, Operation
from incarts_pipeline.ledger.rekeying import KeyChange
from incarts_pipeline.models import Action, State

SET_ID = 1
_SAME = b"s" * 32


def call_for(row_key: str, body: bytes, expected_op_id: int | None) -> Call:
    """Return the call that makes a row's link; a body of its own is a destination of its own."""
    content_hash = hashlib.sha256(body).digest()
    return Call(
        project_id="demo",
        link_set="s",
        set_id=SET_ID,
        row_key=row_key,
        action=Action.CREATE if expected_op_id is None else Action.REPLACE,
        retailer="walmart",
        intent="add_to_cart",
        content_hash=content_hash,
        groups=(content_hash, _SAME, _SAME),
        body=body,
        expected_op_id=expected_op_id,
    )


class Ledger(Protocol):
    """Every call is one transaction."""

    def doubts(self, run: str, living: Collection[str]) -> list[Operation]: ...
    def claim(
        self, call: Call, run: str, living: Collection[str], now: Stamp
    ) -> tuple[Claim, Operation | None]: ...
    def mark_sent(self, run: str, sent: Sent) -> bool: ...
    def record(self, run: str, outcome: Outcome) -> None: ...
    def reuse(
        self, row_key: str, op_id: int, expected: int | None, run: str, now: Stamp
    ) -> None: ...
    def rekey(self, change: KeyChange, run: str, living: Collection[str], now: Stamp) -> bool: ...
    def row(self, row_key: str) -> Row: ...
    def adopt(self, op_id: int, link_id: str, now: Stamp) -> None: ...
    def recreate(self, op_id: int, now: Stamp) -> None: ...
    def operations(self) -> list[Known]: ...
    def held(self) -> set[str]: ...
    def back_up(self) -> None: ...
    def roll_back(self) -> None: ...
    def is_newest(self) -> bool: ...
    def restore(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """One operation as the checks see it."""

    op_id: int
    key: str
    row_key: str
    content_hash: bytes
    generation: int
    state: State
    links: frozenset[str]
    disputed: frozenset[str]  # those of the links that may not be used


@dataclass(frozen=True, slots=True)
class Row:
    """What planning reads of a row: its link, and its operations."""

    op_id: int | None
    content_hash: bytes | None
    operations: list[Known]
    link_id: str | None
