"""Every error that the library raises, each with its data and what to do about it.

IncartsError
├── SettingsError            a setting is missing or makes no sense
├── CatalogError             the catalog can't be read
│   └── UndecidedError       it holds several tables, and which one is meant wasn't said
├── MappingError             the mapping doesn't fit the catalog or the rules
├── RefusedError             a guard refused the plan; nothing was sent
│   └── UntrustedHostError   nobody has said that the key is for this host
├── LedgerError              the ledger can't be used
│   ├── LedgerLockedError
│   ├── LedgerForeignError   bound to another base URL, or made by a newer version
│   ├── LedgerMovedError     it is, or was, moved to another place
│   └── LedgerDamagedError
├── PublishError             links.parquet can't be written
├── MissingExtraError        an optional package isn't installed
├── MachineError             the system refused a file, room or memory
├── TransportError           no answer came
│   ├── NotSentError         the request provably never left
│   └── AnswerLostError      it may have arrived: the link may exist
└── ApiError                 Incarts answered with an error
    ├── BadRequestError      400, 413
    ├── UnauthorizedError    401
    ├── ForbiddenError       403
    ├── NotFoundError        404
    ├── ConflictError        409
    ├── UnprocessableError   422
    ├── RateLimitedError     429
    ├── ServerError          5xx
    └── UnexpectedAnswerError  anything that is not the Incarts API speaking
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from incarts_pipeline.outgoing import safe, shown
from incarts_pipeline.text import Surface, each_part, respelled, spelled

F = TypeVar("F", bound=Callable[..., Any])


class IncartsError(Exception):
    """Root of all errors raised here; `fix` says what to do.

    Both texts name options as the shell does, unless the way in that raises it said otherwise. No
    secret is in them; in `str` of the error, every character that they quote can be seen.
    """

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        # Now, and again when it is told: errors are pickled and stored, too, and some are made
        # before all secrets are known.
        self.message = each_part(message, safe)
        self.fix = fix and each_part(fix, safe)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.told(Surface.SHELL)

    def told(self, surface: Surface) -> str:
        """Return what is wrong and what to do, in the words of one way in, for a screen."""
        texts = (each_part(text, shown) for text in (self.message, self.fix) if text)
        return " ".join(spelled(text, surface) for text in texts)


@contextmanager
def told_in(surface: Surface) -> Iterator[None]:
    """Let the errors of a way in name options as it spells them."""
    try:
        with ours_only():
            yield
    except IncartsError as error:
        error.message = respelled(error.message, surface)
        error.fix = error.fix and respelled(error.fix, surface)
        raise


@contextmanager
def ours_only() -> Iterator[None]:
    """Let a block raise a MachineError for what the system or an engine does."""
    try:
        yield
    except Exception as error:
        if isinstance(error, IncartsError):
            _hide_causes(error)
        if not is_machines(error):
            raise
        raise machine_error(error) from error


def _hide_causes(error: IncartsError) -> None:
    """Leave out what is behind an error where it says a secret: a traceback shows its text, too."""
    shown_one: BaseException | None = error
    seen: set[int] = set()  # an error that is raised again from itself is behind itself
    while shown_one is not None and id(shown_one) not in seen:
        seen.add(id(shown_one))
        context = None if shown_one.__suppress_context__ else shown_one.__context__
        behind = shown_one.__cause__ or context
        if behind is not None and safe(str(behind)) != str(behind):
            shown_one.__cause__ = None  # and no context, with it
            return
        shown_one = behind


def raising_ours(way_in: F) -> F:
    """Let a function, or a coroutine's, raise a MachineError for what the system or an engine does.

    Ways in have it, so that nobody needs to know whose errors may come from below.
    """

    async def awaited(*given: Any, **named: Any) -> Any:
        with ours_only():
            return await way_in(*given, **named)

    def called(*given: Any, **named: Any) -> Any:
        with ours_only():
            return way_in(*given, **named)

    made = awaited if inspect.iscoroutinefunction(way_in) else called
    return cast("F", functools.wraps(way_in)(made))


class SettingsError(IncartsError):
    """A setting is missing or makes no sense."""


class CatalogError(IncartsError):
    """The catalog can't be read; names the place when it is known.

    `row` is the 0-based catalog row, `byte_offset` counts from the start of the file.
    """

    def __init__(
        self,
        message: str,
        *,
        fix: str | None = None,
        row: int | None = None,
        column: str | None = None,
        byte_offset: int | None = None,
    ) -> None:
        super().__init__(message, fix=fix)
        self.row = row
        self.column = column
        self.byte_offset = byte_offset


class UndecidedError(CatalogError):
    """The catalog holds several tables, like sheets: `option` says which, one of `choices`."""

    def __init__(
        self, message: str, *, fix: str | None = None, option: str, choices: tuple[str, ...]
    ) -> None:
        super().__init__(message, fix=fix)
        self.option = option
        self.choices = choices


class MappingError(IncartsError):
    """The mapping doesn't fit the catalog or the rules.

    `path` is like `link.products.quantity`, `column` the catalog's column whose type doesn't fit.
    """

    def __init__(
        self,
        message: str,
        *,
        fix: str | None = None,
        path: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message, fix=fix)
        self.path = path
        self.column = column


class RefusedError(IncartsError):
    """A guard refused the plan and nothing was sent; `digest` is what approves it."""

    def __init__(
        self, message: str, *, fix: str | None = None, guard: str, digest: str | None = None
    ) -> None:
        super().__init__(message, fix=fix)
        self.guard = guard
        self.digest = digest


class UntrustedHostError(RefusedError):
    """Nobody has said that the API key is for this host, and so it was not sent there.

    `host` is like `https://api.example.com`, `fingerprint` the key's; with `proof`, which tells
    nothing of the key, the word can be kept once it is given.
    """

    def __init__(self, message: str, *, fix: str, host: str, fingerprint: str, proof: str) -> None:
        super().__init__(message, fix=fix, guard="untrusted_host")
        self.host = host
        self.fingerprint = fingerprint
        self.proof = proof


class LedgerError(IncartsError):
    """The ledger can't be used."""


class LedgerLockedError(LedgerError):
    """Another program holds the ledger's write lock."""


class LedgerForeignError(LedgerError):
    """The ledger belongs to another base URL or to a newer version."""


class LedgerMovedError(LedgerError):
    """The ledger was moved to another place, or is being moved.

    `place` is the other one, without a password; None where only that is known.
    """

    def __init__(self, message: str, *, fix: str | None = None, place: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.place = place


class LedgerDamagedError(LedgerError):
    """The ledger file is not intact."""


class LedgerForgottenError(LedgerError):
    """The ledger's database went back to an earlier state while a run had it open.

    Another server took over, say, which had not heard of all. `groups` counts what the run had been
    told was on disk, and is not.
    """

    def __init__(self, message: str, *, fix: str | None = None, groups: int = 0) -> None:
        super().__init__(message, fix=fix)
        self.groups = groups


class PublishError(IncartsError):
    """links.parquet can't be written; what was answered is in the ledger."""


class MissingExtraError(IncartsError):
    """An optional package isn't installed; `fix` is the command that installs it."""


class MachineError(IncartsError):
    """The system refused a file, room on a disk, or memory; names the file as far as it is known.

    What was answered until then is in the ledger.
    """


_FIXES = {
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: a part of it is no folder.",
    errno.ELOOP: "Check the path: a link in it leads to itself.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EISDIR: "Name a file; this is a folder.",
    errno.EACCES: "Give yourself access, or name another place.",
    errno.EPERM: "Give yourself access, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOSPC: "Make room, or let TMPDIR name a folder on another disk.",
    errno.EDQUOT: "Make room, or let TMPDIR name a folder on another disk.",
    errno.EMFILE: "Let more files be open: ulimit -n 4096.",
}
_AGAIN = "What was answered is in the ledger: mend this and run again."
_ROOM = "See that there is memory, and room in the folder for temporary files (TMPDIR)."
# By their modules' names, since whoever hasn't loaded an engine has none of its errors.
_ENGINES = {
    "duckdb": "DuckDB",
    "_duckdb": "DuckDB",
    "pyarrow": "Arrow",
    "sqlite3": "SQLite",
    "sqlalchemy": "SQLite",
    "adbc_driver_manager": "SQLite",
    "zlib": "zlib",
}


def _engine(error: BaseException) -> str | None:
    return _ENGINES.get(type(error).__module__.partition(".")[0])


def reason_of(error: BaseException) -> str:
    """Return in a few words why a file was refused, or the first line of what a library says."""
    # Arrow puts the number and the whole path into the text of what the system says.
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__


def is_machines(error: BaseException) -> bool:
    """Say whether an error is the system's, or that of an engine, which needs disk and memory."""
    return isinstance(error, OSError | MemoryError | EOFError) or _engine(error) is not None


def machine_error(error: BaseException) -> MachineError:
    """Return an error of the system, or of an engine, as one of ours."""
    if not isinstance(error, OSError) or error.errno is None:
        who = _engine(error) or "The machine"
        return MachineError(f"{who} could not go on: {reason_of(error)}.", fix=f"{_ROOM} {_AGAIN}")
    places = [str(one) for one in (error.filename, error.filename2) if one is not None]
    fix = f"{_FIXES.get(error.errno, 'See what the system says of it.')} {_AGAIN}"
    if places:
        return MachineError(f"{' and '.join(places)}: {reason_of(error)}.", fix=fix)
    # Arrow's have the path in their text alone.
    return MachineError(f"The system refused a file: {error.strerror}.", fix=fix)


class TransportError(IncartsError):
    """No answer came."""


class NotSentError(TransportError):
    """The request provably never left: name resolution, connecting or TLS failed."""


class AnswerLostError(TransportError):
    """The request may have arrived and taken effect, but its answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiProblem:
    """What an error answer said.

    `status` is the HTTP status; `code`, `message` and `details` come from the body in any of its
    known shapes; `correlation_id` is Incarts' echo or ours; `retry_after` is in seconds.
    """

    status: int
    code: str | None = None
    message: str | None = None
    details: object = None
    correlation_id: str | None = None
    retry_after: float | None = None


class ApiError(IncartsError):
    """Incarts answered with an error; `problem` carries all that it said."""

    def __init__(self, problem: ApiProblem, *, fix: str | None = None) -> None:
        said = problem.message or problem.code or "no reason given"
        super().__init__(f"Incarts answered {problem.status}: {said}.", fix=fix)
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.correlation_id = problem.correlation_id
        self.retry_after = problem.retry_after


class BadRequestError(ApiError):
    """400 or 413: malformed body, path or header."""


class UnauthorizedError(ApiError):
    """401: the API key is missing or invalid."""


class ForbiddenError(ApiError):
    """403: the key is valid, but not for this project or scope."""


class NotFoundError(ApiError):
    """404: it does not exist, or is not visible to this key."""


class ConflictError(ApiError):
    """409: idempotency conflict, duplicate identifier or conflicting state."""


class UnprocessableError(ApiError):
    """422: well-formed, but breaks a business rule or a retailer's capability."""


class RateLimitedError(ApiError):
    """429: rate limited; `retry_after` in seconds when the server said so."""


class ServerError(ApiError):
    """5xx: whether the request took effect is unknown."""


class UnexpectedAnswerError(ApiError):
    """The answer is not the Incarts API's: a redirect, an HTML page, a body without a link id."""
