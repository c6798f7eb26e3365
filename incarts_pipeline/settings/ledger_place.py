"""Place of the ledger: where the memory of what was sent is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

LedgerPlace: TypeAlias = Path
