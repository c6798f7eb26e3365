"""The rules of the library's writer, one by one: a test breaks one to show that the checks notice.

Those of the ledger are in `memory_ledger.MemoryLedger`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from incarts_pipeline.api.attribution import Request, attribute, is_in_step
from incarts_pipeline.api.responses import classify
from incarts_pipeline.ledger.state_machine import OperationState, ReplayRule
from incarts_pipeline.models import Answer, AnswerKind

_SEE_OTHER = classify(303, {}, b"", correlation_id="", now=dt.datetime.now(dt.UTC)).kind


@dataclass(slots=True, kw_only=True)
class Writer:
    """What a writer does; by default what the library's does, with its own functions."""

    marks_first: bool = True  # records an attempt before it leaves
    keys_per_attempt: bool = False  # sends every attempt under a key of its own
    witnessed: bool = True  # asks the witness whether the ledger is the newest, and what was sent
    looks_first: bool = True  # sends on no connection on which something waits already
    see_other: AnswerKind = _SEE_OTHER  # what it takes a 303 for
    rule: type[ReplayRule] = ReplayRule
    answered: Callable[[OperationState, AnswerKind], OperationState] = OperationState.answered
    attribute: Callable[[Answer, Request], Answer] = attribute
    is_in_step: Callable[[Answer], bool] = is_in_step
