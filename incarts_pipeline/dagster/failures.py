"""Failures in Dagster's terms: what a person must do, and whether a retry may help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from incarts_pipeline.outgoing import shown
from incarts_pipeline.text import Surface, joined, spelled

if TYPE_CHECKING:
    from incarts_pipeline.errors import RefusedError
    from incarts_pipeline.pipeline import RunResult

PENDING = "Rows are pending. Run again to go on: nothing is sent twice."


def unfinished(result: RunResult) -> dg.Failure | None:
    """Return the failure of a run that left rows pending, None when all is settled."""
    # In doubt (3) is no failure: the run did what it could, and a check tells it.
    if result.exit_code() not in (1, 4):
        return None
    end = result.written.end
    if end is not None:
        # A wrong key is wrong again in ten minutes; a host that is down may be up.
        told = spelled(joined(" ", [end.message, end.fix]), Surface.DAGSTER)
        return dg.Failure(shown(told), allow_retries=end.may_pass)
    if result.written.forbidden:
        return dg.Failure(_forbidden(result), allow_retries=False)
    return dg.Failure(PENDING)


def _forbidden(result: RunResult) -> str:
    from incarts_pipeline.display import forbidden_lines
    from incarts_pipeline.text import counted

    lines = ["The API key may not make some of the links.", *forbidden_lines(result)]
    if made := result.written.accepted:
        lines.append(f"{counted(made, 'other was', 'others were')} made.")
    return "\n".join(map(shown, lines))


def failure_of(error: Exception, op: str) -> dg.Failure:
    """Return what to do about an error that kept a step, or a partition, from its work.

    Args:
        error: what the library raised.
        op: the step's op, for the config to paste.
    """
    from incarts_pipeline.errors import (
        CatalogError,
        IncartsError,
        LedgerLockedError,
        MachineError,
        PublishError,
        RefusedError,
    )

    text = error.told(Surface.DAGSTER) if isinstance(error, IncartsError) else shown(error)
    if isinstance(error, RefusedError):
        text += _lets_through(error, op)
    # These may pass by themselves: a file that is being written, a lock, a full disk.
    mended = isinstance(error, CatalogError | LedgerLockedError | PublishError | MachineError)
    return dg.Failure(text, allow_retries=mended)


def _lets_through(error: RefusedError, op: str) -> str:
    """Return the config to paste, empty when there is none that would help."""
    from incarts_pipeline.plan import EMPTY_GUARD

    line, says = "", ""
    if error.digest is not None:
        # In quotes, or YAML takes a digest of digits, or like 12e4, for a number.
        line = f'approve: "{error.digest}"'
        says = "this plan alone; another one has another digest"
    if error.guard == EMPTY_GUARD:
        line, says = "allow_empty: true", "for this run; take it out again"
    if not line:
        return ""
    told = "In the launchpad, or with `dg launch --config`, that is:"
    return f"\n{told}\nops:\n  {op}:\n    config:\n      # {says}\n      {line}"


def together(failures: Mapping[str | None, dg.Failure]) -> dg.Failure:
    """Return one failure for those of several partitions."""
    if len(failures) == 1:
        [(partition, failure)] = failures.items()
        text = failure.description or ""
        named = text if partition is None else f"{partition}: {text}"
        return dg.Failure(named, allow_retries=failure.allow_retries)
    text = "\n".join(f"{name}: {failure.description}" for name, failure in failures.items())
    retry = any(failure.allow_retries for failure in failures.values())
    return dg.Failure(text, allow_retries=retry)
