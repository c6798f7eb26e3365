"""Literals in definitions: Dagster shows and stores them, so that none may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from incarts_pipeline.outgoing import SecretText, has_credentials, holds_secret, keep_credentials

_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def no_secret(name: str, value: object, line: str = "") -> None:
    """Refuse a literal that has a secret in it; one that came from a variable is none.

    Args:
        name: what has the value, as the message says it.
        value: a text, or a collection with texts; anything else is taken.
        line: what to write instead, where there is a way.

    Raises:
        dagster.DagsterInvalidDefinitionError: names what has it, and never shows it.
    """
    for text in _texts(value):
        if has_credentials(text):
            instead = f"Put it into a variable, and write {line}" if line else "Leave them out"
            raise dg.DagsterInvalidDefinitionError(
                f"{name} has credentials in its URI, which would stand in the code for all to "
                f"read. {instead}."
            )
        if holds_secret(text):
            raise dg.DagsterInvalidDefinitionError(
                f"{name} has a secret in it, which Dagster would show and store. An API key goes "
                "to IncartsResource alone: "
                'IncartsResource(api_key=dg.EnvVar("INCARTS_API_KEY")).'
            )


def resolved_place(context: dg.ResolutionContext, raw: Any) -> Any:
    """Return a path or URI of a component's YAML, as a `SecretText` where variables made it secret.

    Nothing is refused here: Dagster would show the lines of YAML with it.
    """
    place = context.resolve_value(raw)
    if not isinstance(place, str) or not has_credentials(place):
        return place
    # `s3://{{ env.USER }}:{{ env.PASSWORD }}@bucket` has none of its own.
    own = re.sub("://[^/@:]*:?@", "://", _TEMPLATE.sub("", str(raw)))
    return place if has_credentials(own) else SecretText(keep_credentials(place))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, SecretText | dg.EnvVar):
        return
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, dg.AssetKey):
        yield from value.path
    elif isinstance(value, Mapping):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _texts(one)
