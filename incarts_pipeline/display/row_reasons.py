"""Reasons of a row in words: why it has its status, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from incarts_pipeline.display.answer_remedies import of_row
from incarts_pipeline.display.remedies import PROBLEMS, REASONS, came_to
from incarts_pipeline.models import SUSPICIONS, Reason, Severity, Status, severity_of
from incarts_pipeline.text import Surface, spelled

# Statuses of rows that wait for something or somebody.
OPEN = (Status.REJECTED, Status.HELD, Status.PENDING, Status.IN_DOUBT)


def why(row: Mapping[str, Any]) -> str:
    """Return why a row of links.parquet has its status; a line per broken rule or suspicion."""
    reason = Reason(row["reason"])
    # The messages of a row's own problems quote its values; the reason alone would not.
    told = {Reason.INVALID, Reason.DUPLICATE_KEY, Reason.LOOKS_REKEYED, *SUSPICIONS}
    if reason in told and (broken := _broken(row)):
        return "\n".join(f"{one['field']}: {one['message']}" for one in broken)
    said = row["error_message"] or row["error_code"]
    if reason is Reason.REFUSED_BY_API:
        answer = f" with {row['http_status']}" if row["http_status"] else ""
        return f"refused by Incarts{answer}: {said or 'no reason given'}"
    meaning = came_to(Status(row["status"]), reason)
    return f"{meaning} ({said})" if said else meaning


def fix(row: Mapping[str, Any]) -> str:
    """Return what to do about a row of links.parquet, a line per problem; else nothing."""
    if row["status"] not in OPEN:
        return ""
    reason, status, code = Reason(row["reason"]), row["http_status"], row["error_code"]
    if reason in {Reason.INVALID, *SUSPICIONS} and (broken := _broken(row)):
        # A code of a later version may be in a file that this one reads.
        found = [PROBLEMS[one["code"]].fix for one in broken if one["code"] in PROBLEMS]
        fixes = [spelled(one, Surface.PYTHON) for one in found or [REASONS[reason].fix]]
        return "\n".join(dict.fromkeys(filter(None, fixes)))
    return spelled(of_row(reason, http_status=status, error_code=code).fix, Surface.PYTHON)


def _broken(row: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return the broken rules and suspicions of a row, without mere notes."""
    # By the code: files of earlier versions name no severity.
    problems = row["problems"] or ()
    return [one for one in problems if severity_of(one["code"]) is not Severity.NOTE]
