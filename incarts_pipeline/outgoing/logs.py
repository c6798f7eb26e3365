"""Loggers whose records are safe before any handler sees them."""

from __future__ import annotations

import logging
import traceback

from incarts_pipeline.outgoing.told import shown, shown_lines


def logger_of(name: str) -> logging.Logger:
    """Return the logger of a module, ours or another library's, whose records are safe."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, SafeRecords) for one in logger.filters):
        logger.addFilter(SafeRecords())
    return logger


class SafeRecords(logging.Filter):
    """Makes a record's text final: one line, in which nothing is secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, once it is safe."""
        record.msg, record.args = shown(record.getMessage()), None
        if record.exc_info:
            # Handlers would write it from the exception itself, with all that its text says.
            record.exc_text = shown_lines("".join(traceback.format_exception(*record.exc_info)))
            record.exc_info = None
        return True
