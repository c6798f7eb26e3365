"""Settings: defaults, then incarts.toml with its targets, then the environment, then arguments."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.models import Limits
from incarts_pipeline.suggest import suggest

FILE_NAME = "incarts.toml"

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")


def parse_duration(text: str | float) -> float:
    """Return the seconds of a duration like `90`, `90s`, `25m`, `1h30m` or `2d`.

    Raises:
        SettingsError: it is none of these.
    """
    if isinstance(text, int | float):
        return float(text)
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(?:\.\d+)?", compact):
        return float(compact)
    if not _DURATION.fullmatch(compact):
        raise SettingsError(f"{text!r} is not a duration.", fix="Write it like 90s, 25m or 1h30m.")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", compact)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def key_fingerprint(api_key: SecretStr) -> str:
    """Return a short id of an API key, from which the key can't be found: 12 hex digits."""
    secret = api_key.get_secret_value().encode()
    return hashlib.sha256(b"incarts-pipeline api key\0" + secret).hexdigest()[:12]


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
        ValueError: it is not https (http is fine for loopback), or has a query or credentials.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r} is not an http(s) URL")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http would show the API key to the network; use https")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("a base URL has no query, fragment or credentials")
    return url.rstrip("/")


def _words(value: object) -> object:
    if isinstance(value, str):
        return frozenset(re.split(r"[\s,]+", value.strip())) - {""}
    return value


def _rate(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


class Settings(BaseSettings):
    """What a run needs to know beside its catalog; read with `load_settings`.

    Times are in seconds; `max_rps` is in requests a second, None for no ceiling.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    base_url: str | None = Field(None, validation_alias="INCARTS_API_BASE_URL")
    api_key: SecretStr | None = Field(None, validation_alias="INCARTS_API_KEY", repr=False)
    api_key_file: Path | None = Field(None, validation_alias="INCARTS_API_KEY_FILE")
    project_id: str | None = Field(
        None, min_length=1, max_length=128, validation_alias="INCARTS_PROJECT_ID"
    )
    ledger: Path = Field(Path("incarts-ledger.db"), validation_alias="INCARTS_LEDGER")
    idempotency_window: Annotated[float, BeforeValidator(parse_duration)] = Field(
        1500.0, gt=0, validation_alias="INCARTS_IDEMPOTENCY_WINDOW"
    )
    scopes: Annotated[frozenset[str] | None, NoDecode, BeforeValidator(_words)] = Field(
        None, validation_alias="INCARTS_SCOPES"
    )
    max_rps: Annotated[float | None, BeforeValidator(_rate)] = Field(
        100.0, gt=0, validation_alias="INCARTS_MAX_RPS"
    )
    connect_timeout: float = Field(5.0, gt=0, validation_alias="INCARTS_CONNECT_TIMEOUT")
    read_timeout: float = Field(30.0, gt=0, validation_alias="INCARTS_READ_TIMEOUT")
    limits: Limits = Field(Limits(), validation_alias="INCARTS_LIMITS")

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        return checked_base_url(value) if value else None

    @model_validator(mode="after")
    def _read_key_file(self) -> Settings:
        if self.api_key is None and self.api_key_file is not None:
            try:
                text = self.api_key_file.read_text().strip()
            except OSError as error:
                raise ValueError(f"the API key's file can't be read: {error}") from error
            object.__setattr__(self, "api_key", SecretStr(text))
        return self

    def require(self, *names: str) -> None:
        """Make sure that settings are there.

        Raises:
            SettingsError: one is missing; the message names its variable.
        """
        missing = [_alias(name) for name in names if getattr(self, name) is None]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} must be set.",
                fix=f"Export it, or (all but the key) write it into {FILE_NAME}.",
            )

    def require_key(self) -> SecretStr:
        """Return the API key, or raise SettingsError when there is none."""
        self.require("api_key")
        return self.api_key or SecretStr("")


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
    given = _from_file(target, file)
    try:
        environment = Settings().model_dump(exclude_unset=True)
        merged = given | environment | overrides
        return Settings(**{_alias(name): value for name, value in merged.items()})
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _alias(name: str) -> str:
    return str(Settings.model_fields[name].validation_alias)


def _explain(error: ValidationError) -> str:
    lines = (
        f"{'.'.join(map(str, problem['loc'])) or 'settings'}: "
        f"{problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    )
    return "; ".join(lines) + "."


def _from_file(target: str | None, file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE_NAME)
    if file is None and not path.exists():
        if target is not None:
            raise SettingsError(
                f"There is no {FILE_NAME} here to find target {target!r} in.",
                fix=f"Write a [targets.{target}] table into {FILE_NAME}.",
            )
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}.") from error
    targets = content.pop("targets", {})
    if target is not None and target not in targets:
        raise SettingsError(f"{path} has no target {target!r}.{suggest(target, targets)}")
    for table in (content, *targets.values()):
        _check_names(table, path)
    return {**content, **(targets[target] if target else {})}


def _check_names(table: dict[str, Any], path: Path) -> None:
    if "api_key" in table:
        raise SettingsError(
            f"{path} contains api_key, and files get committed.",
            fix="Remove it (and rotate the key if it was shared); export INCARTS_API_KEY, or "
            "name a file outside the repository with api_key_file.",
        )
    for name in table:
        if name not in Settings.model_fields:
            known = suggest(name, Settings.model_fields)
            raise SettingsError(f"{path} has an unknown setting {name!r}.{known}")
