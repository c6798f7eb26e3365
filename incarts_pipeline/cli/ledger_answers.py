"""Answers of `incarts ledger`: what its commands print with `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from incarts_pipeline.cli.run_answers import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupAnswer(Answer):
    """Of `ledger backup`: the copy, and its rows by table."""

    file: str
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreAnswer(Answer):
    """Of `ledger restore`; `held` keys were sent after the backup was made."""

    file: str
    rows: Mapping[str, int]
    held: int
    moved_aside: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheckAnswer(Answer):
    """Of `ledger check`."""

    ok: bool
    damage: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveAnswer(Answer):
    """Of `ledger move`: where the ledger is now; `rows` is null where a move was given up."""

    ledger: str
    rows: Mapping[str, int] | None
