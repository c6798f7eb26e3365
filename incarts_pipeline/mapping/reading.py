"""Reading of what a mapping is written as: bounded, and without anybody's secret."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from pathlib import Path

from incarts_pipeline.errors import MappingError, reason_of
from incarts_pipeline.outgoing import holds_secret
from incarts_pipeline.small_files import TooLargeError, read_small
from incarts_pipeline.text import suggest_file


def mapping_file(source: object) -> Path | None:
    """Return the file that a mapping is read from, None for one that is given as it is."""
    # A path has no line break, and a mapping of one line says nothing.
    is_path = isinstance(source, Path) or (isinstance(source, str) and "\n" not in source)
    return Path(str(source)) if is_path else None


def read_text(source: Path, most_bytes: int) -> str:
    """Return the text of a mapping's file; raises MappingError."""
    try:
        return read_small(source, most_bytes)
    except FileNotFoundError as error:
        path = source.absolute()
        raise MappingError(
            f"There is no mapping file {path}.{suggest_file(path)}",
            fix="Name one that is there, or let `incarts init` or suggest_mapping make one of your "
            "table.",
        ) from error
    except UnicodeDecodeError as error:
        raise MappingError(
            f"The mapping file {source} is not UTF-8 text.", fix="Save it as UTF-8."
        ) from error
    except TooLargeError as error:
        raise _too_large(f"The mapping file {source}", error) from None
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise MappingError(
            f"The mapping file {source} can't be read: {reason_of(error)}.",
            fix="Name a YAML file that you may read.",
        ) from error


def bounded(text: str, most_bytes: int) -> str:
    """Return YAML that was given as a text, unless it is too long; raises MappingError."""
    if len(text) > most_bytes:
        raise _too_large("The mapping", TooLargeError(most_bytes))
    return text


def refuse_secrets(content: object, path: str = "") -> None:
    """Refuse a mapping that has a key in it: it would be sent with every link, and stored."""
    if isinstance(content, str) and holds_secret(content):
        raise MappingError(
            f"{path}: has an API key in it, or another secret.",
            fix="Take it out, and have the key replaced if others may have seen it.",
            path=path,
        )
    if isinstance(content, Dict):
        for name, value in content.items():
            inner = f"{path}.{name}" if path else str(name)
            refuse_secrets(str(name), inner)
            refuse_secrets(value, inner)
    elif isinstance(content, list | tuple):
        for value in content:
            refuse_secrets(value, path)


def _too_large(what: str, error: TooLargeError) -> MappingError:
    return MappingError(
        f"{what} can't be read: {error}.",
        fix="Is it the mapping? Raise the bound max_mapping_bytes in INCARTS_LIMITS if it is.",
    )
