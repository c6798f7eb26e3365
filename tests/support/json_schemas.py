"""JSON Schemas of what the shell prints, made from its classes; run as a module, it writes them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from pydantic import TypeAdapter

from incarts_pipeline.cli.answers import ANSWERS
from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "json"
Schema = dict[str, Any]

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    """A date-time is ISO 8601, with its zone."""
    return not isinstance(value, str) or dt.datetime.fromisoformat(value).tzinfo is not None


def file_of(command: str) -> Path:
    """Return the file of a command's schema."""
    return FOLDER / f"{command.replace(' --', '-').replace(' ', '-')}.schema.json"


@cache
def schema_of(command: str) -> Schema:
    """Return the schema of what a command prints; all that it may print is always there."""
    made = TypeAdapter(ANSWERS[command]).json_schema(mode="serialization")
    for one in _objects(made):
        one["required"] = list(one["properties"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | made | {"title": f"incarts {command} --json" if command != "error" else "error"}


def text_of(schema: Schema) -> str:
    """Return a schema as its file has it."""
    return json.dumps(schema, indent=2) + "\n"


def check_answer(arguments: Sequence[str], out: str) -> None:
    """Raise ValidationError unless a command's output is as its file in the docs says."""
    said = json.loads(out)
    words = [" ".join(arguments[:count]) for count in (2, 1)]
    command = "error" if "error" in said else next(one for one in words if one in ANSWERS)
    if command == "qr" and "--plan-only" in arguments:
        command = "plan"
    if command == "apply" and "--enqueue" in arguments:
        command = "apply --enqueue"
    schema = deepcopy(json.loads(file_of(command).read_text(encoding="utf-8")))
    for one in _objects(schema):
        one["additionalProperties"] = False  # what is printed is told
    Draft202012Validator(schema, format_checker=_formats).validate(said)


def _objects(schema: object) -> Iterator[Schema]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in ANSWERS:
        file_of(name).write_text(text_of(schema_of(name)), encoding="utf-8")
