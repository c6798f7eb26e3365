"""Reasons of a row in words: why it has its status, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from incarts_pipeline.display.remedies import PROBLEMS, REASONS, of_row
from incarts_pipeline.models import NoteCode, Reason, Status
from incarts_pipeline.text import Surface, spelled

# Statuses of rows that wait for something or somebody.
OPEN = (Status.REJECTED, Status.HELD, Status.PENDING, Status.IN_DOUBT)


def why(row: Mapping[str, Any]) -> str:
    """Return why a row of links.parquet has its status; a line per broken rule."""
    reason = Reason(row["reason"])
    # The messages of a row's own problems quote its values; the reason alone would not.
    told = (Reason.INVALID, Reason.DUPLICATE_KEY, Reason.LOOKS_REKEYED)
    if reason in told and (broken := _broken(row)):
        return "\n".join(f"{one['field']}: {one['message']}" for one in broken)
    said = row["error_message"] or row["error_code"]
    if reason is Reason.REFUSED_BY_API:
        answer = f" with {row['http_status']}" if row["http_status"] else ""
        return f"refused by Incarts{answer}: {said or 'no reason given'}"
    meaning = REASONS[reason].meaning
    return f"{meaning} ({said})" if said else meaning


def fix(row: Mapping[str, Any]) -> str:
    """Return what to do about a row of links.parquet, a line per broken rule; else nothing."""
    if row["status"] not in OPEN:
        return ""
    reason, status, code = Reason(row["reason"]), row["http_status"], row["error_code"]
    if reason is Reason.INVALID and (broken := _broken(row)):
        # A code of a later version may be in a file that this one reads.
        found = [PROBLEMS[one["code"]].fix for one in broken if one["code"] in PROBLEMS]
        return "\n".join(dict.fromkeys(filter(None, found))) or REASONS[reason].fix
    return spelled(of_row(reason, http_status=status, error_code=code).fix, Surface.PYTHON)


def _broken(row: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return the broken rules of a row, without mere notes."""
    notes = list(NoteCode)
    return [one for one in row["problems"] or () if one["code"] not in notes]
