"""Arguments of planning and writing: what may be given by name, and the values made of it.

The functions take them as `**arguments`. A TypedDict per group tells type checkers; the value of
the group has the defaults, from which the signature is made that `help` and notebooks show.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping as Dict, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypedDict, TypeVar, cast

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.mapping import Mapping
from incarts_pipeline.models import Rekeyed
from incarts_pipeline.settings import Settings, parse_duration
from incarts_pipeline.text import suggest
from incarts_pipeline.write import SAMPLE_PER, IfRunning, WriteOptions

AnyMapping = Mapping | Dict[str, object] | str | Path | None

F = TypeVar("F", bound=Callable[..., object])


class PlanArguments(TypedDict, total=False):
    """What `plan_links` takes by name; it says what each is."""

    link_set: str | None
    unique_key: str | Sequence[str]
    settings: Settings | None
    target: str | None
    ledger: str | Path | None
    retry_rejected: bool
    refuse_over: int | None
    allow_empty: bool
    rekeyed: str
    accept: str | Sequence[str]
    limit: int | None
    max_duration: str | float | None


class WriteArguments(PlanArguments, total=False):
    """What `write_links` takes by name; it says what each is."""

    output: str | Path | None
    approve: str | None
    sample_per: str | Sequence[str]
    if_running: str
    progress: bool
    report: str | Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What a plan is made of beside the frame, as it was given."""

    mapping: AnyMapping = None
    link_set: str | None = None
    unique_key: str | Sequence[str] = ()
    settings: Settings | None = None
    target: str | None = None
    ledger: str | Path | None = None
    retry_rejected: bool = False
    refuse_over: int | None = None
    allow_empty: bool = False
    rekeyed: str = "hold"
    accept: str | Sequence[str] = ()
    limit: int | None = None
    max_duration: str | float | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns that were given."""
        return _names(self.unique_key)

    @property
    def accepted(self) -> tuple[str, ...]:
        """The suspicions that are let through."""
        return _names(self.accept)

    def policy(self) -> Rekeyed:
        """Return what becomes of rows that look re-keyed; raises SettingsError for other words."""
        if self.rekeyed not in list(Rekeyed):
            raise SettingsError(
                f"rekeyed can't be {self.rekeyed!r}.", fix=f"Choose from {', '.join(Rekeyed)}."
            )
        return Rekeyed(self.rekeyed)

    def held_to(self) -> tuple[int | None, float | None]:
        """Return the links and the seconds that a run may take; SettingsError for what is none."""
        _check_limit(self.limit)
        seconds = None if self.max_duration is None else parse_duration(self.max_duration)
        return self.limit, seconds

    def given(self) -> list[str]:
        """Return the names of what was given that each run isn't told anew."""
        own = [one for one in fields(self) if one.name not in _WRITE_NAMES]
        return [one.name for one in own if getattr(self, one.name) != one.default]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a plan is carried out, as it was given."""

    output: str | Path | None = None
    approve: str | None = None
    limit: int | None = None
    sample_per: str | Sequence[str] = ()
    max_duration: str | float | None = None
    if_running: str = "wait"
    progress: bool = True
    report: str | Path | None = None

    def given(self) -> WriteArguments:
        """Return what was given at all, by name."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        default = {one.name: one.default for one in fields(self)}
        return cast(WriteArguments, {k: v for k, v in found.items() if v != default[k]})

    def options(self) -> WriteOptions:
        """Return what the run is told.

        Raises:
            SettingsError: one of the arguments makes no sense.
        """
        _check_limit(self.limit)
        sample_per = _names(self.sample_per)
        for name in sample_per:
            if name not in SAMPLE_PER:
                raise SettingsError(
                    f"sample_per doesn't know {name!r}.",
                    fix=f"Choose from {', '.join(SAMPLE_PER)}.",
                )
        if self.if_running not in list(IfRunning):
            raise SettingsError(
                f"if_running can't be {self.if_running!r}.",
                fix=f"Choose from {', '.join(IfRunning)}.",
            )
        seconds = None if self.max_duration is None else parse_duration(self.max_duration)
        return WriteOptions(
            limit=self.limit,
            sample_per=sample_per,
            max_duration=seconds,
            if_running=IfRunning(self.if_running),
            approved=self.approve,
        )


def planning_of(caller: str, mapping: AnyMapping, arguments: PlanArguments) -> Planning:
    """Return what a plan is made of; raises TypeError for a name that `caller` doesn't take."""
    _check_names(caller, arguments, _PLAN_NAMES)
    return Planning(mapping=mapping, **arguments)


def writing_of(
    caller: str, mapping: AnyMapping, arguments: WriteArguments
) -> tuple[Planning, Writing]:
    """Return what a plan is made of and how it is carried out; raises as `planning_of` does."""
    _check_names(caller, arguments, _PLAN_NAMES | _WRITE_NAMES)
    planning = {name: value for name, value in arguments.items() if name in _PLAN_NAMES}
    writing = {name: value for name, value in arguments.items() if name in _WRITE_NAMES}
    return Planning(mapping=mapping, **planning), Writing(**writing)  # type: ignore[arg-type]


def shows(*groups: type[Planning] | type[Writing]) -> Callable[[F], F]:
    """Let a function that takes `**arguments` show those of some groups in its signature."""

    def with_signature(function: F) -> F:
        signature = inspect.signature(function)
        own = {
            name: one
            for name, one in signature.parameters.items()
            if one.kind is not inspect.Parameter.VAR_KEYWORD
        }
        named = [
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type
            )
            for group in groups
            for one in fields(group)
            if one.name not in own
        ]
        once = {one.name: one for one in [*own.values(), *named]}
        vars(function)["__signature__"] = signature.replace(parameters=[*once.values()])
        return function

    return with_signature


_PLAN_NAMES = {one.name: None for one in fields(Planning) if one.name != "mapping"}
_WRITE_NAMES = {one.name: None for one in fields(Writing)}


def _check_names(caller: str, given: Dict[str, object], known: Dict[str, None]) -> None:
    for name in given:
        if name not in known:
            near = suggest(name, known)
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}.{near}")


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise SettingsError(f"limit can't be {limit}.", fix="Give a number of links, or none.")


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
