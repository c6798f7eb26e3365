"""Why a row stands as it does and what to do about it, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from incarts_pipeline.models import Reason, Status

MEANING: Mapping[Reason, str] = {
    Reason.NEW: "no link yet",
    Reason.CHANGED: "content changed",
    Reason.CHANGED_BACK: "content is back to one that has a link",
    Reason.SAME: "link is up to date",
    Reason.IGNORED_CHANGE: "changed only where that is ignored",
    Reason.ANSWER_UNKNOWN: "sent before, answer unknown",
    Reason.NEEDS_REVIEW: "may exist at Incarts; needs a person",
    Reason.EARLIER_IN_DOUBT: "older content is in doubt",
    Reason.POLICY_HOLD: "changed, and the policy says hold",
    Reason.PINNED: "changed, but the link is pinned",
    Reason.INVALID: "breaks a rule; see problems",
    Reason.DUPLICATE_KEY: "rows share a key but differ",
    Reason.REFUSED_BY_API: "refused by Incarts before",
    Reason.NO_PRODUCTS: "no link wanted",
    Reason.OVER_LIMIT: "over the limit given",
    Reason.OUT_OF_TIME: "out of the time given",
    Reason.STOPPED: "the run was stopped",
    Reason.CIRCUIT_OPEN: "the run had to end early",
    Reason.CLAIMED_ELSEWHERE: "another run is sending it",
    Reason.CHANGED_ELSEWHERE: "another run moved it on",
}

_SETTLE = "Run again soon: it is settled under its own key and bytes."
_REVIEW = "It is never sent again by itself: `incarts review list` shows the way out."

FIX: Mapping[Reason, str] = {
    Reason.ANSWER_UNKNOWN: _SETTLE,
    Reason.NEEDS_REVIEW: _REVIEW,
    Reason.EARLIER_IN_DOUBT: f"{_SETTLE} If it stays so: `incarts review list`.",
    Reason.POLICY_HOLD: "Set on_change to replace for it in the mapping, or undo the change.",
    Reason.PINNED: "Undo the change, or clear the pinned column to have the link replaced.",
    Reason.INVALID: "Correct the row and run again.",
    Reason.DUPLICATE_KEY: "Keep one of the rows, or add a column to unique_key.",
    Reason.REFUSED_BY_API: "Correct the row and run again. To try the same content once more, "
    "retry rejected rows.",
    Reason.OVER_LIMIT: "Run again without the limit.",
    Reason.OUT_OF_TIME: "Run again to go on.",
    Reason.STOPPED: "Run again to go on.",
    Reason.CIRCUIT_OPEN: "See what ended the run, then run again.",
    Reason.CLAIMED_ELSEWHERE: "Wait for the other run, then run again.",
    Reason.CHANGED_ELSEWHERE: "Run again.",
}

# An option of the shell's commands, with its value if it is a digest; not inside of a command.
_OPTION = re.compile(r"`[^`]*`|--approve (?P<digest>[0-9a-f]{12})|--(?P<name>[a-z][a-z-]+)")

_FLAGS = ("allow_empty", "retry_rejected")

# Statuses of rows that wait for something or somebody.
OPEN = (Status.REJECTED, Status.HELD, Status.PENDING, Status.IN_DOUBT)


def why(row: Mapping[str, Any]) -> str:
    """Return why a row of links.parquet stands as it does; a line per broken rule."""
    reason = Reason(row["reason"])
    if reason in (Reason.INVALID, Reason.DUPLICATE_KEY) and row["problems"]:
        return "\n".join(f"{one['field']}: {one['message']}" for one in row["problems"])
    said = row["error_message"] or row["error_code"]
    if reason is Reason.REFUSED_BY_API:
        answer = f" with {row['http_status']}" if row["http_status"] else ""
        return f"refused by Incarts{answer}: {said or 'no reason given'}"
    return f"{MEANING[reason]} ({said})" if said else MEANING[reason]


def fix(row: Mapping[str, Any]) -> str:
    """Return what to do about a row of links.parquet; nothing for one that has its link."""
    return FIX.get(Reason(row["reason"]), "") if row["status"] in OPEN else ""


def in_python(text: str) -> str:
    """Name the arguments of `write_links` where a message names the shell's options."""
    return _OPTION.sub(_argument, text)


def _argument(found: re.Match[str]) -> str:
    if digest := found["digest"]:
        return f'approve="{digest}"'
    if not found["name"]:
        return found[0]
    name = found["name"].replace("-", "_")
    return f"{name}=True" if name in _FLAGS else name
