"""Options of a shell command for the sandbox's switches."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from incarts_pipeline.sandbox.config import Faults, SandboxConfig

_OWN = ("keys", "limits", "faults")  # these have options of their own form
_SETS = ("retailers", "intents")
_LIMIT = re.compile(r"(\d+)/(\d+(?:\.\d+)?)(s|m|h)?(?::([a-z_]+))?(?::([a-z]+))?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every switch; what they parse to is for `config_from_options`."""
    parser.add_argument(
        "--config", metavar="JSON", help="switches as a JSON object; - reads a line of it"
    )
    parser.add_argument("--faults", metavar="SHARE", help="share of requests that fail somehow")
    parser.add_argument(
        "--fault", metavar="KIND=SHARE", action="append", help="one kind of fault; can be repeated"
    )
    parser.add_argument("--faults-first", metavar="N", help="only the first N requests have faults")
    parser.add_argument(
        "--limit",
        metavar="N/TIME[:KIND[:PER]]",
        action="append",
        help="a rate limit like 300/10s or 60/1m:bucket:project; can be repeated",
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY[/PROJECTS[/SCOPES]]",
        action="append",
        help="a key, its projects and its scopes, separated by commas; can be repeated",
    )
    for name in _plain_names():
        # A switch that is new in the config has its option without a line here.
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE")


def config_from_options(options: Mapping[str, str | Sequence[str] | None]) -> SandboxConfig:
    """Return the switches that options ask for.

    Args:
        options: by name with underscores, as `vars` of what argparse returns; None and names that
            are not the sandbox's are passed over. Options win over what `config` says.

    Raises:
        ValueError: one of them makes no sense.
    """
    given = {name: value for name, value in options.items() if value is not None}
    text = str(given.get("config", "{}"))
    changes: dict[str, Any] = _json_object(sys.stdin.readline() if text == "-" else text)
    for name in _plain_names():
        if name in given:
            # Texts: pydantic turns them into numbers and enums, and says what is wrong with them.
            value = str(given[name])
            changes[name] = value.split(",") if name in _SETS else value
    if "limit" in given:
        changes["limits"] = [parse_limit(one) for one in given["limit"]]
    if "api_key" in given:
        changes["keys"] = [_api_key(one) for one in given["api_key"]]
    if faults := _faults(given):
        changes["faults"] = faults
    return SandboxConfig().with_changes(changes)


def parse_limit(text: str) -> dict[str, Any]:
    """Return a limit like `300/10s` or `60/1m:bucket:project` as plain values.

    Raises:
        ValueError: it has another form.
    """
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise ValueError(f"a limit looks like 300/10s or 60/1m:bucket:project, not {text!r}")
    requests, number, unit, kind, per = found.groups(default="")
    limit: dict[str, Any] = {"requests": int(requests), "seconds": float(number) * _UNITS[unit]}
    return limit | ({"kind": kind} if kind else {}) | ({"per": per} if per else {})


def _plain_names() -> list[str]:
    return [name for name in SandboxConfig.model_fields if name not in _OWN]


def _json_object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("config must be a JSON object")
    return content


def _api_key(text: str) -> dict[str, Any]:
    # Scopes have colons and projects may have commas between them; a slash is in neither.
    key, *rest = text.split("/", 2)
    names = ("projects", "scopes")
    return {"key": key} | {
        name: one.split(",") for name, one in zip(names, rest, strict=False) if one
    }


def _faults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the faults that the three options ask for; single kinds replace the even share."""
    faults: dict[str, Any] = {}
    if "faults" in given:
        faults = Faults.spread(float(given["faults"])).model_dump()
    for one in given.get("fault", ()):
        kind, _, share = one.partition("=")
        faults[kind] = share
    if "faults_first" in given:
        faults["first"] = given["faults_first"]
    return faults
