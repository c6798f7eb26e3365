"""Memory: what is known of a host's limit for an API key, beyond one ledger.

It is kept in the user's state folder, a small file for each host and key fingerprint, so that a run
in a new folder begins where the last one ended. Losing it costs a few refusals, no more.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from incarts_pipeline.errors import PublishError
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.path_names import path_name
from incarts_pipeline.rate_limit.limit import Learned
from incarts_pipeline.system import own_folder

logger = logger_of(__name__)


def memory_path(base_url: str, fingerprint: str) -> Path:
    """Return the file of a host and a key's fingerprint."""
    host = path_name(urlsplit(base_url).netloc.rpartition("@")[2])
    host = host.replace("_", "%5F").replace("%3A", "_")  # a port looks better so
    return own_folder("state") / "rates" / f"{host}-{fingerprint}.json"


def remembered(base_url: str, fingerprint: str) -> Learned | None:
    """Return what is remembered; None for nothing, or for what can't be read."""
    try:
        learned = _learned().validate_json(memory_path(base_url, fingerprint).read_bytes())
    except (OSError, ValidationError):
        return None
    return learned if learned.is_sensible else None


def remember(base_url: str, fingerprint: str, learned: Learned) -> None:
    """Keep what was learned; that it can't be kept is no reason to fail."""
    path = memory_path(base_url, fingerprint)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, _learned().dump_json(learned), private=True)
    except (OSError, PublishError) as error:
        logger.info("what was learned of the rate limit is not remembered: %s", error)


@cache
def _learned() -> TypeAdapter[Learned]:
    return TypeAdapter(Learned)
