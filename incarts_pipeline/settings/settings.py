"""Settings: defaults, then settings files with their targets, then the environment, arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

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

from incarts_pipeline.errors import SettingsError, UntrustedHostError
from incarts_pipeline.models import Limits
from incarts_pipeline.outgoing import SHORTEST, SecretKey
from incarts_pipeline.settings.api_key import no_key, stripped_key
from incarts_pipeline.settings.environment import check_authorities, check_temporary_folder
from incarts_pipeline.settings.files import FILE_NAME, own_file
from incarts_pipeline.settings.hosts import checked_base_url, host_of, is_loopback_url
from incarts_pipeline.settings.ledger_place import LedgerPlace
from incarts_pipeline.settings.resolved import (
    CallSettings,
    ClientSettings,
    LedgerSettings,
    PlanSettings,
    ResolvedSettings,
)
from incarts_pipeline.settings.spellings import (
    as_duration,
    as_hosts,
    as_limits,
    as_pace,
    as_rate,
    as_words,
)
from incarts_pipeline.settings.trusted_hosts import (
    TrustedHost,
    is_in_ledger,
    is_kept,
    remember_trusted,
    trusted_host,
)
from incarts_pipeline.text import suggest

MOST = 256

R = TypeVar("R", bound=ResolvedSettings)

_CALLS = ("base_url", "api_key", "project_id")  # what no link is made without
# What to do without an account.
TRY_IT = (
    "Without an account, `incarts demo` shows the whole flow, and `incarts sandbox` prints what to "
    "export for a local Incarts, to try a table of your own."
)
_KEY = "INCARTS_API_KEY"
ARGUMENT = "an option or argument"


_Finite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What a run needs to know beside its catalog; read with `load_settings`.

    Times are in seconds; `rate` is `adaptive` or `fixed:N`; `max_rps` is in requests a second, None
    for no ceiling; `wait` waits for a quota however long it lasts; `scopes` is what the key may do,
    None for unknown; `require_signature` is the public key, or a file of them, that plans must be
    signed with. Relative paths start at the working directory.

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
    api_key_command: str | None = Field(None, validation_alias="INCARTS_API_KEY_COMMAND")
    api_key_keyring: str | None = Field(None, validation_alias="INCARTS_API_KEY_KEYRING")
    trusted_hosts: Annotated[
        frozenset[str] | None, NoDecode, BeforeValidator(as_words), AfterValidator(as_hosts)
    ] = Field(None, validation_alias="INCARTS_TRUSTED_HOSTS")
    project_id: str | None = Field(
        None, min_length=1, max_length=128, validation_alias="INCARTS_PROJECT_ID"
    )
    ledger: LedgerPlace = Field(Path("incarts-ledger.db"), validation_alias="INCARTS_LEDGER")
    idempotency_window: Annotated[_Finite, BeforeValidator(as_duration)] = Field(
        1500.0, validation_alias="INCARTS_IDEMPOTENCY_WINDOW"
    )
    scopes: Annotated[frozenset[str] | None, NoDecode, BeforeValidator(as_words)] = Field(
        None, validation_alias="INCARTS_SCOPES"
    )
    rate: Annotated[str, AfterValidator(as_pace)] = Field(
        "adaptive", validation_alias="INCARTS_RATE"
    )
    max_rps: Annotated[_Finite | None, BeforeValidator(as_rate)] = Field(
        100.0, validation_alias="INCARTS_MAX_RPS"
    )
    max_in_flight: int | None = Field(None, ge=1, validation_alias="INCARTS_MAX_IN_FLIGHT")
    wait: bool = Field(False, validation_alias="INCARTS_WAIT")
    connect_timeout: Annotated[_Finite, BeforeValidator(as_duration)] = Field(
        5.0, validation_alias="INCARTS_CONNECT_TIMEOUT"
    )
    read_timeout: Annotated[_Finite, BeforeValidator(as_duration)] = Field(
        30.0, validation_alias="INCARTS_READ_TIMEOUT"
    )
    limits: Annotated[Limits, AfterValidator(as_limits)] = Field(
        Limits(), validation_alias="INCARTS_LIMITS"
    )
    require_signature: str | None = Field(None, validation_alias="INCARTS_REQUIRE_SIGNATURE")
    _file: Path = PrivateAttr(Path(FILE_NAME))
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    # The base URL that nobody but the working folder's file names, and the host of the own file's.
    _stranger: str | None = PrivateAttr(None)
    _own_host: str | None = PrivateAttr(None)

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
        from incarts_pipeline.settings.key_sources import key_of_file

        try:
            object.__setattr__(self, "api_key", key_of_file(self.api_key_file))
        except OSError as error:
            raise ValueError(f"{self.api_key_file} can't be read: {error.strerror}") from None
        return self

    @property
    def file(self) -> Path:
        """The TOML file that they are read from, if it is there."""
        return self._file

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each setting comes from that isn't a default: a variable, a file, an argument."""
        return self._sources

    def known_key(self) -> SecretStr | None:
        """Return the API key, asking the command or the keyring once; None when there is none.

        Raises:
            SettingsError: it can't be had from there.
        """
        if self.api_key is not None or not (self.api_key_command or self.api_key_keyring):
            return self.api_key
        from incarts_pipeline.settings.key_sources import key_of_command, key_of_keyring

        if self.api_key_command is not None:
            return key_of_command(self.api_key_command)
        return key_of_keyring(self.api_key_keyring or "")

    def trusted_by(self) -> str:
        """Return by whose word the key may be sent to the base URL's host, as where that stands.

        A base URL in the working folder's file is nobody's word; everywhere else it is the
        person's. So are `trusted_hosts`, what `incarts trust` keeps, and a ledger in which a run
        with this key left its proof. Both of these count for this key alone.

        Raises:
            SettingsError: the base URL or the key is missing.
            UntrustedHostError: nobody has said so.
        """
        known = self._complete(ClientSettings, "base_url", "api_key")
        wanted = trusted_host(known.api_key, host_of(known.base_url))
        if given := self._given_word(wanted.host):
            # A port of this machine is another program's tomorrow, and a file remembers by itself.
            if not (is_loopback_url(known.base_url) or given.startswith(str(own_file()))):
                remember_trusted(wanted)
            return given
        kept = is_kept(wanted)
        if kept:
            return "incarts trust"
        if kept is None and is_in_ledger(wanted, known.ledger):
            return f"the ledger {known.ledger}"
        raise _untrusted(wanted, self._sources.get("base_url", FILE_NAME))

    def _given_word(self, host: str) -> str | None:
        if self.base_url != self._stranger:
            return self._sources.get("base_url", ARGUMENT)
        if host == self._own_host:
            return str(own_file())
        is_named = host in (self.trusted_hosts or ())
        return self._sources.get("trusted_hosts", ARGUMENT) if is_named else None

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
        """Return the settings as one task needs them; those for calls, once the host is trusted.

        Raises:
            SettingsError: one is missing.
            UntrustedHostError: nobody has said that the key is for the host.
        """
        known = self._complete(kind, *needed)
        if issubclass(kind, ClientSettings):
            self.trusted_by()
        return known

    def _complete(self, kind: type[R], *needed: str) -> R:
        """Return the settings as one task needs them.

        Raises:
            SettingsError: one is missing. The message names the variables of all that are, the fix
                those that only calls to Incarts would need.
        """
        found = {one.name: getattr(self, one.name) for one in fields(kind)}
        found["api_key"] = self.known_key()
        missing = [name for name in needed if found[name] is None]
        if not missing:
            return kind(**found)
        rest = [n for n in _CALLS if n not in missing and found[n] is None]
        in_file = [name for name in missing if name != "api_key"]
        fix = "Export what is missing."
        if rest:
            fix += f" Making links also needs {_variables(rest)}."
        if in_file:
            fix += f" {FILE_NAME}, or a target in it, may also have {' and '.join(in_file)}."
        # Whoever has set nothing at all has no account yet, perhaps.
        if all(found[name] is None for name in _CALLS):
            fix += f" {TRY_IT}"
        raise SettingsError(f"Not set: {_variables(missing)}.", fix=fix)


def _untrusted(wanted: TrustedHost, named_by: str) -> UntrustedHostError:
    short = wanted.host.removeprefix("https://")
    return UntrustedHostError(
        f"{named_by} names {wanted.host}, and nobody has said that the API key "
        f"{wanted.fingerprint} is for that host. Nothing was sent.",
        fix=f"If it is yours, type `incarts trust {short}`; for a job, export "
        f"INCARTS_TRUSTED_HOSTS={short} where its key is exported.",
        host=wanted.host,
        fingerprint=wanted.fingerprint,
        proof=wanted.proof,
    )


def variable_of(name: str) -> str:
    """Return the variable that sets a setting."""
    return str(Settings.model_fields[name].validation_alias)


def _variables(names: Sequence[str]) -> str:
    """Return the variables that set these settings."""
    other = {"api_key": " or INCARTS_API_KEY_FILE"}
    return ", ".join(variable_of(name) + other.get(name, "") for name in names)


def _explain(error: ValidationError) -> str:
    """Say what is wrong without the values, of which one may be the key."""
    names = {variable_of(name): name for name in Settings.model_fields}
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
