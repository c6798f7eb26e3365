"""Loggers whose records are safe before any handler sees them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from incarts_pipeline.outgoing.told import shown, shown_lines


def logger_of(name: str) -> logging.Logger:
    """Return the logger of a module, ours or another library's, whose records are safe."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, SafeRecords) for one in logger.filters):
        logger.addFilter(SafeRecords())
    return logger


_RUN: ContextVar[str] = ContextVar("run_id", default="")


@contextmanager
def records_of_run(run_id: str) -> Iterator[None]:
    """Have the records that are made in the block, and in the tasks that it starts, name a run."""
    token = _RUN.set(run_id)
    try:
        yield
    finally:
        _RUN.reset(token)


class SafeRecords(logging.Filter):
    """Makes a record's text final: one line, in which nothing is secret.

    A record of a run has the attribute `run_id`, and one of a request `correlation_id`; others have
    them as empty texts, so that any format may name them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, once it is safe."""
        record.msg, record.args = shown(record.getMessage()), None
        record.run_id = shown(getattr(record, "run_id", _RUN.get()))
        record.correlation_id = shown(getattr(record, "correlation_id", ""))
        if record.exc_info:
            # Handlers would write it from the exception itself, with all that its text says.
            record.exc_text = shown_lines("".join(traceback.format_exception(*record.exc_info)))
            record.exc_info = None
        return True
