"""Config of one run, as the launchpad shows it."""

from __future__ import annotations

from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field, create_model, field_validator

ALL = "all"  # what the launchpad has where no limit is meant: it can't show None


class Mode(Enum):
    """Whether to make links or only to say which would be made; Dagster goes by the names."""

    write = "write"
    plan = "plan"


class Rekeyed(Enum):
    """What becomes of new rows with the content of rows that left the catalog."""

    hold = "hold"
    move = "move"
    new = "new"


class LinksConfig(dg.Config):
    """How one run goes, and which numbers its checks accept."""

    mode: Mode = Field(Mode.write, description="plan: look, send nothing; write: make the links.")
    limit: int | None = Field(
        None,
        ge=0,
        description="Make at most so many links (per partition), by priority, like 20: a pilot, or "
        "a night's budget; all for no limit.",
    )
    max_duration: str | None = Field(None, description="Stop after this time, like 2h or 90s.")
    approve: str = Field(
        "", description="Digests of plans that a guard refused, to let through, by spaces."
    )
    plan_file: str | None = Field(
        None,
        description="Carry out just this plan, of `incarts plan --out`, which has the other values "
        "that a plan is made of; {partition} in it is filled in.",
    )
    retry_rejected: bool = Field(False, description="Try again what Incarts refused before.")
    allow_empty: bool = Field(False, description="Accept an empty catalog over existing links.")
    refuse_over: int | None = Field(None, description="Refuse a plan with more new links.")
    rekeyed: Rekeyed = Field(
        Rekeyed.hold,
        description="New rows with the content of rows that left: hold them, move those rows' "
        "links over, or make new ones.",
    )
    accept: list[str] = Field(
        [], description="Suspicions that hold no row, by their codes, beside the mapping's."
    )
    max_rejected_share: float = Field(
        0.05, description="Check rejected_share warns above this share of the rows, 0 to 1."
    )
    max_suspicious_share: float = Field(
        0.01, description="Check suspicious_share warns above this share of the rows, 0 to 1."
    )
    max_new_rejected: int = Field(0, description="Check new_rejects warns above so many rows.")
    max_in_doubt: int = Field(0, description="Check nothing_in_doubt warns above so many rows.")
    max_stale: int = Field(0, description="Check nothing_stale warns above so many rows.")

    @field_validator("limit", mode="before")
    @classmethod
    def _no_limit(cls, value: object) -> object:
        # True is 1 for pydantic, and a pilot of one link is not what was meant.
        if isinstance(value, bool):
            raise ValueError(f"limit is a number of links, or {ALL}")
        return None if value == ALL else value

    @field_validator("approve", mode="before")
    @classmethod
    def _nothing_approved(cls, value: object) -> object:
        return "" if value is None else value


def config_schema(config: type[LinksConfig]) -> dict[str, Any]:
    """Return the config as Dagster checks and shows it: mode, limit and approve are filled in.

    Dagster fills in what has a default, and None is none for it.
    """
    fields = {**config.to_fields_dict()}  # a copy: what it returns is that of all who ask
    limit = config.model_fields["limit"]
    default = ALL if limit.default is None else limit.default
    fields["limit"] = dg.Field(dg.Any, default_value=default, description=limit.description)
    return fields


def config_with(defaults: dict[str, object]) -> type[LinksConfig]:
    """Return the config with other defaults.

    Raises:
        dagster.DagsterInvalidDefinitionError: a name is unknown or a value wrong.
    """
    # The plain class keeps its name and its documentation in the UI.
    if not defaults:
        return LinksConfig
    fields = LinksConfig.model_fields
    unknown = sorted(set(defaults) - set(fields))
    if unknown:
        raise dg.DagsterInvalidDefinitionError(
            f"config has unknown names {', '.join(unknown)}; it knows {', '.join(fields)}."
        )
    try:
        # Once now, when the location loads: a wrong default would fail every night otherwise.
        checked = LinksConfig(**defaults)  # type: ignore[arg-type]
    except ValueError as error:
        raise dg.DagsterInvalidDefinitionError(f"config: {error}") from error
    changed = {}
    for name in defaults:
        default = Field(getattr(checked, name), description=fields[name].description)
        changed[name] = (fields[name].annotation, default)
    return create_model("LinksConfig", __base__=LinksConfig, **changed)  # type: ignore[call-overload, no-any-return]
