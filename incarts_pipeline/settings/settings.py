"""Settings: defaults, then incarts.toml with its targets, then the environment, then arguments."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    SettingsConfigDict,
    SettingsError as UnreadableError,
)

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.models import Limits
from incarts_pipeline.outgoing import SHORTEST, SecretKey, SecretText
from incarts_pipeline.settings.api_key import hidden_keys, is_key, no_key, stripped_key
from incarts_pipeline.settings.environment import check_authorities, check_temporary_folder
from incarts_pipeline.settings.resolved import (
    CallSettings,
    ClientSettings,
    LedgerSettings,
    PlanSettings,
    ResolvedSettings,
)
from incarts_pipeline.small_files import read_small
from incarts_pipeline.system import at_home
from incarts_pipeline.text import suggest

MOST = 256
_FILE_BYTES = 256 * 1024  # of incarts.toml, which has a page at most
_KEY_BYTES = 16 * 1024

R = TypeVar("R", bound=ResolvedSettings)

FILE_NAME = "incarts.toml"

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(rf"({_NUMBER.pattern})([smhd])", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_CALLS = ("base_url", "api_key", "project_id")  # what no link is made without
_VERSION = re.compile(r"/v1(?:/links)?/*$")  # the end of a path that belongs to the calls


def parse_duration(text: str | float) -> float:
    """Return the seconds of a duration like `90`, `90s`, `25m`, `1h30m` or `2d`.

    Raises:
        SettingsError: it is none of these.
    """
    compact = "".join(str(text).lower().split())
    if _NUMBER.fullmatch(compact):
        return float(compact)
    if not _DURATION.fullmatch(compact):
        raise SettingsError(f"{text!r} is not a duration.", fix="Write it like 90s, 25m or 1h30m.")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine by its name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_base_url(url: str) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        ValueError: it is not https (http is fine for loopback), has a query or credentials, or
            ends with the /v1 that each call begins with.
    """
    url = url.strip()
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("a base URL has no query, fragment or credentials")
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", url):
        raise ValueError(f"{url!r} is not an http(s) URL")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http would show the API key to the network; use https")
    if parts.port == 0:  # reading it checks that it is a number up to 65535
        raise ValueError("a server can't have the port 0")
    url = url.rstrip("/")
    if found := _VERSION.search(parts.path):
        bare = url.removesuffix(found[0].rstrip("/"))
        raise ValueError(f"/v1 is added to a base URL; leave it out: {bare}")
    return url


def _words(value: object) -> object:
    if isinstance(value, str):
        return frozenset(re.split(r"[\s,]+", value.strip())) - {""}
    return value


def _rate(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def _pace(value: str) -> str:
    name, _, number = value.strip().lower().partition(":")
    if (name, number) == ("adaptive", "") or (name, number) == ("fixed", "none"):
        return value.strip().lower()
    if name == "fixed" and _NUMBER.fullmatch(number) and float(number) > 0:
        return value.strip().lower()
    raise ValueError(f"{value!r} is neither adaptive nor fixed:N, N requests a second or none")


def _duration(value: object) -> float:
    try:
        return parse_duration(value)  # type: ignore[arg-type]
    except SettingsError as error:
        raise ValueError(str(error).removesuffix(".")) from None


def _positive(value: Limits) -> Limits:
    for name, limit in asdict(value).items():
        if limit < 1:
            raise ValueError(f"{name} must be 1 or more, not {limit}")
    return value


_Finite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What a run needs to know beside its catalog; read with `load_settings`.

    Times are in seconds; `rate` is `adaptive` or `fixed:N`; `max_rps` is in requests a second, None
    for no ceiling; `wait` waits for a quota however long it lasts; `scopes` is what the key may do,
    None when that isn't known. Relative paths
    start at the working directory.

    Raises:
        SettingsError: a value is wrong; names the setting, and never shows a key.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    base_url: Annotated[str, AfterValidator(checked_base_url)] | None = Field(
        None, validation_alias="INCARTS_API_BASE_URL"
    )
    api_key: Annotated[SecretStr, AfterValidator(stripped_key)] | None = Field(
        None, validation_alias="INCARTS_API_KEY", repr=False
    )
    api_key_file: Path | None = Field(None, validation_alias="INCARTS_API_KEY_FILE")
    project_id: str | None = Field(
        None, min_length=1, max_length=128, validation_alias="INCARTS_PROJECT_ID"
    )
    ledger: Path = Field(Path("incarts-ledger.db"), validation_alias="INCARTS_LEDGER")
    idempotency_window: Annotated[_Finite, BeforeValidator(_duration)] = Field(
        1500.0, validation_alias="INCARTS_IDEMPOTENCY_WINDOW"
    )
    scopes: Annotated[frozenset[str] | None, NoDecode, BeforeValidator(_words)] = Field(
        None, validation_alias="INCARTS_SCOPES"
    )
    rate: Annotated[str, AfterValidator(_pace)] = Field("adaptive", validation_alias="INCARTS_RATE")
    max_rps: Annotated[_Finite | None, BeforeValidator(_rate)] = Field(
        100.0, validation_alias="INCARTS_MAX_RPS"
    )
    max_in_flight: int | None = Field(None, ge=1, validation_alias="INCARTS_MAX_IN_FLIGHT")
    wait: bool = Field(False, validation_alias="INCARTS_WAIT")
    connect_timeout: Annotated[_Finite, BeforeValidator(_duration)] = Field(
        5.0, validation_alias="INCARTS_CONNECT_TIMEOUT"
    )
    read_timeout: Annotated[_Finite, BeforeValidator(_duration)] = Field(
        30.0, validation_alias="INCARTS_READ_TIMEOUT"
    )
    limits: Annotated[Limits, AfterValidator(_positive)] = Field(
        Limits(), validation_alias="INCARTS_LIMITS"
    )
    _file: Path = PrivateAttr(Path(FILE_NAME))

    def __init__(self, **values: Any) -> None:
        problem = ""
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = _explain(error)
        except (UnreadableError, RecursionError) as error:
            problem = f"{error}."
        if problem:  # out here, so that the error doesn't carry one that carries the input
            raise SettingsError(problem)

    @model_validator(mode="before")
    @classmethod
    def _know_the_key(cls, values: Any) -> Any:
        # Before the other fields are looked at, of which one may hold it by mistake.
        given = values.get(_KEY) if isinstance(values, dict) else None
        if isinstance(given, str):
            given = SecretStr(given)
        if isinstance(given, SecretStr) and len(given) >= SHORTEST:
            SecretKey(given.get_secret_value().strip())
        return values

    @field_validator("*", mode="after")
    @classmethod
    def _no_key_elsewhere(cls, value: object, info: ValidationInfo) -> object:
        return value if info.field_name == "api_key" else no_key(value)

    @model_validator(mode="after")
    def _read_key_file(self) -> Settings:
        if self.api_key_file is None or self.api_key is not None:
            return self
        file = self.api_key_file
        try:
            text = SecretText(read_small(at_home(file), _KEY_BYTES))
            object.__setattr__(self, "api_key", stripped_key(SecretStr(text)))
        except OSError as error:
            raise ValueError(f"{file} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{file} must hold the API key and nothing else") from None
        except ValueError as error:
            raise ValueError(f"{file} must hold the API key and nothing else: {error}") from None
        return self

    @property
    def file(self) -> Path:
        """The TOML file that they are read from, if it is there."""
        return self._file

    def for_planning(self) -> PlanSettings:
        """Return what a plan is made with; raises SettingsError, as all of these do."""
        check_temporary_folder()
        return self._resolved(PlanSettings, "project_id")

    def for_ledger(self) -> LedgerSettings:
        """Return what links are brought into a ledger with, without a call to Incarts."""
        return self._resolved(LedgerSettings, "base_url", "project_id")

    def for_client(self) -> ClientSettings:
        """Return what Incarts is called with, by whoever knows the project from elsewhere."""
        check_authorities()
        return self._resolved(ClientSettings, "base_url", "api_key")

    def for_calls(self) -> CallSettings:
        """Return what a whole run needs: to plan, and to call Incarts."""
        check_authorities()
        return self._resolved(CallSettings, *_CALLS)

    def _resolved(self, kind: type[R], *needed: str) -> R:
        """Return the settings as one task needs them.

        Raises:
            SettingsError: one is missing. The message names the variables of all that are, the fix
                those that only calls to Incarts would need.
        """
        missing = [name for name in needed if getattr(self, name) is None]
        if not missing:
            return kind(**{one.name: getattr(self, one.name) for one in fields(kind)})
        rest = [n for n in _CALLS if n not in missing and getattr(self, n) is None]
        in_file = [name for name in missing if name != "api_key"]
        fix = "Export what is missing."
        if rest:
            fix += f" Making links also needs {_variables(rest)}."
        if in_file:
            fix += f" {FILE_NAME}, or a target in it, may also have {' and '.join(in_file)}."
        raise SettingsError(f"Not set: {_variables(missing)}.", fix=fix)


def load_settings(
    *, target: str | None = None, file: Path | None = None, **overrides: object
) -> Settings:
    """Read the settings.

    Args:
        target: a `[targets.NAME]` table of the file, whose values win over the file's own.
        file: the TOML file; by default `incarts.toml` in the working directory, if it is there.
        overrides: values by field name, which win over everything.

    Raises:
        SettingsError: a value is wrong, a name unknown, or a secret stands in the file.
    """
    overrides = hidden_keys(overrides)
    _check_names(overrides, "load_settings")
    environment = Settings().model_dump(exclude_unset=True)
    merged: dict[str, Any] = {}
    for layer in (_from_file(target, file), environment, overrides):
        _check_one_key(layer)
        if _KEY_FIELDS.intersection(layer):
            merged |= dict.fromkeys(_KEY_FIELDS)  # a key and a key's file replace each other
        merged |= layer
    made = Settings(**{_alias(name): value for name, value in merged.items()})
    made._file = made._file if file is None else Path(file).absolute()
    return made


_KEY = "INCARTS_API_KEY"
_KEY_FIELDS = frozenset({"api_key", "api_key_file"})


def _check_one_key(layer: Mapping[str, object]) -> None:
    if all(layer.get(name) is not None for name in _KEY_FIELDS):
        raise SettingsError(
            "INCARTS_API_KEY and INCARTS_API_KEY_FILE are both given.", fix="Give one of them."
        )


def _alias(name: str) -> str:
    return str(Settings.model_fields[name].validation_alias)


def _variables(names: Sequence[str]) -> str:
    """Return the variables that set these settings."""
    other = {"api_key": " or INCARTS_API_KEY_FILE"}
    return ", ".join(_alias(name) + other.get(name, "") for name in names)


def _explain(error: ValidationError) -> str:
    """Say what is wrong without the values, of which one may be the key."""
    names = {_alias(name): name for name in Settings.model_fields}
    problems = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        variable, *inner = map(str, problem["loc"]) if problem["loc"] else ("INCARTS_API_KEY_FILE",)
        name = ".".join([names.get(variable, variable), *inner])
        hint = ""
        if problem["type"] == "unexpected_keyword_argument":
            hint = suggest(inner[-1], (limit.name for limit in fields(Limits)))
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name} ({variable}): {message}.{hint}")
    return " ".join(problems)


def _from_file(target: str | None, file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE_NAME)
    if file is None and not path.exists():
        if target is not None:
            raise SettingsError(
                f"There is no {FILE_NAME} here to find target {target!r} in.",
                fix=f"Write a [targets.{target}] table into {FILE_NAME}.",
            )
        return {}
    content = _content(path)
    targets = content.pop("targets", {})
    if not isinstance(targets, dict) or not all(isinstance(t, dict) for t in targets.values()):
        raise SettingsError(f"{path} has targets that are no tables.", fix="Write [targets.NAME].")
    if target is not None and target not in targets:
        raise SettingsError(
            f"{path} has no target {target!r}.{suggest(target, targets)}",
            fix=f"It has {', '.join(targets) or 'none'}.",
        )
    for table in (content, *targets.values()):
        _check_secrets(table, path)
        _check_names(table, str(path))
    chosen = targets[target] if target else {}
    limits = {"limits": {**content.get("limits", {}), **chosen.get("limits", {})}}
    return {**content, **chosen, **(limits if limits["limits"] else {})}


def _content(path: Path) -> dict[str, Any]:
    try:
        return hidden_keys(tomllib.loads(read_small(path, _FILE_BYTES)))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        reason = error
    raise SettingsError(f"{path} is not TOML: {reason}.")


def _check_secrets(table: Mapping[str, object], path: Path) -> None:
    for name in table:
        if is_key(name):
            raise SettingsError(
                f"{path} contains {name}, and files get committed.",
                fix="Remove it (and rotate the key if it was shared); export INCARTS_API_KEY, or "
                "name a file outside the repository with api_key_file.",
            )


def _check_names(table: Mapping[str, object], where: str) -> None:
    by_variable = {_alias(name).lower(): name for name in Settings.model_fields}
    for name in table:
        if name not in Settings.model_fields:
            meant = by_variable.get(name.lower(), name)
            near = suggest(meant, Settings.model_fields)
            raise SettingsError(f"{where} has an unknown setting {name!r}.{near}")
