"""Log records on standard error: for people, or one JSON object a line for programs."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from enum import StrEnum
from typing import Any

from rich.logging import RichHandler

from incarts_pipeline.cli import screen
from incarts_pipeline.outgoing import SafeRecords, logger_of, safe_content


class LogFormat(StrEnum):
    """How log records are written."""

    TEXT = "text"  # a level and a line
    JSON = "json"  # an object: time, level, logger, message, and whose it is


def start(form: LogFormat = LogFormat.TEXT) -> None:
    """Have all records, also those of other libraries, written in a form."""
    handler: logging.Handler
    if form is LogFormat.JSON:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
    else:
        handler = RichHandler(console=screen.console(err=True), show_path=False, show_time=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(SafeRecords())  # other libraries' records come here as well
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def are_json() -> bool:
    """Say whether records are written as JSON."""
    return any(isinstance(one.formatter, JsonLines) for one in logging.root.handlers)


def tell(message: str, fix: str | None) -> None:
    """Write the error that ended a command as a record."""
    logger_of("incarts").error("%s", message if fix is None else f"{message} {fix}")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; what there is nothing of is left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        found: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "run_id": getattr(record, "run_id", ""),
            "correlation_id": getattr(record, "correlation_id", ""),
            "exception": record.exc_text or "",
        }
        told = {name: value for name, value in found.items() if value}
        return json.dumps(safe_content(told), ensure_ascii=False)
