"""Epilogs: what stands below each command's help, an example and what its exit codes mean."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args, get_type_hints

import click
from typer.core import TyperArgument, TyperCommand

_DONE = "done"
_REFUSED = "could not start, or was refused: no link was made"
_FAILED = "could not be done; the last lines say why"
_USAGE = "wrong usage, or a broken mapping"
_OPEN = "finished, but rows have a status in --fail-on"
_PENDING = "stopped early, rows are pending: run it again"

_OF_LOOKS = {0: _DONE, 1: _FAILED, 2: _USAGE}
_OF_RUNS = {0: "all is settled", 1: _REFUSED, 2: _USAGE, 3: _OPEN, 4: _PENDING}


_FRAMED = 80  # columns from which there is room for Typer's frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Epilog:
    """A command line that works, and the exit codes that a command has."""

    example: str
    exits: Mapping[int, str]

    def __str__(self) -> str:
        codes = [f"{code}  {meaning}" for code, meaning in self.exits.items()]
        # Typer makes a line of each paragraph.
        return "\n\n".join(["Example:", self.example, "", "Exit codes:", *codes])

    @property
    def plain(self) -> str:
        """The same for Click's own help, which keeps the lines behind a backspace."""
        codes = [f"  {code}  {meaning}" for code, meaning in self.exits.items()]
        example = "\n".join(["\b", "Example:", f"  {self.example}"])
        return example + "\n\n" + "\n".join(["\b", "Exit codes:", *codes])


def _looks(example: str) -> Epilog:
    return Epilog(example=example, exits=_OF_LOOKS)


EPILOGS: Mapping[str, Epilog] = {
    "demo": _looks("incarts demo"),
    "init": Epilog(
        example="incarts init products.csv",
        exits={0: "the mapping is written", 1: "a guard stands in its way", 2: _USAGE},
    ),
    "plan": Epilog(
        example="incarts plan products.csv -m mapping.yaml",
        exits={0: "nothing stands in the way", 1: "a guard stands in its way", 2: _USAGE},
    ),
    "apply": Epilog(
        example="incarts apply products.csv -m mapping.yaml -o a.parquet", exits=_OF_RUNS
    ),
    "work": Epilog(example="incarts work --link-set nightly-walmart", exits=_OF_RUNS),
    "publish": Epilog(
        example="incarts publish catalog.csv -m mapping.yaml -o a.parquet",
        exits={**_OF_RUNS, 4: "rows are pending: publish again once they are made"},
    ),
    "rekey": Epilog(
        example="incarts rekey products.csv -m mapping.yaml -o a.parquet", exits=_OF_RUNS
    ),
    "import": _looks("incarts import links.parquet"),
    "status": Epilog(
        example="incarts status --ledger incarts-ledger.db",
        exits={0: "the ledger is intact", 1: "it is damaged, or there is none", 2: _USAGE},
    ),
    "watch": _looks("incarts watch --ledger incarts-ledger.db"),
    "stop": _looks("incarts stop"),
    "doctor": Epilog(
        example="incarts doctor",
        exits={0: "all is well", 1: "something is not in order", 2: _USAGE},
    ),
    "trust": _looks("incarts trust api.incarts.example"),
    "show": Epilog(
        example="incarts show sku=123",
        exits={0: _DONE, 1: "nothing was ever sent for this row", 2: _USAGE},
    ),
    "qr": Epilog(example="incarts qr links.parquet --identifier shelf", exits=_OF_RUNS),
    "verify": Epilog(
        example="incarts verify --sample 100",
        exits={
            0: "all are as they were sent",
            1: _FAILED,
            2: _USAGE,
            3: "some differ, or are gone",
            4: "stopped early: run it again to go on",
        },
    ),
    "check": Epilog(
        example="incarts check products.csv -m mapping.yaml",
        exits={0: "all answer with a page", 1: _FAILED, 2: _USAGE, 3: "some don't"},
    ),
    "review list": Epilog(
        example="incarts review list",
        exits={0: "nothing needs a person", 1: _FAILED, 2: _USAGE, 3: "something does"},
    ),
    "review evidence": _looks("incarts review evidence -o evidence.json"),
    "review adopt": _looks("incarts review adopt incarts1-0f3a lnk_01"),
    "review recreate": _looks("incarts review recreate incarts1-0f3a"),
    "keys new": _looks("incarts keys new approver"),
    "ledger backup": _looks("incarts ledger backup ledger-2026-05-01.db"),
    "ledger restore": _looks("incarts ledger restore ledger-2026-05-01.db"),
    "ledger check": Epilog(
        example="incarts ledger check",
        exits={0: "the ledger is intact", 1: "it is damaged, or there is none", 2: _USAGE},
    ),
    "ledger move": _looks("incarts ledger move a.db postgresql://db.example/links"),
    "sandbox": Epilog(
        example="incarts sandbox --port 8020 --limit 300/10s",
        exits={0: "ended by Ctrl-C", 1: _FAILED, 2: _USAGE},
    ),
}


def is_plain() -> bool:
    """Say whether help is told without frames: they leave names no room, or lack their signs."""
    is_narrow = shutil.get_terminal_size().columns < _FRAMED
    return is_narrow or not (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def explain(command: click.Command, name: str) -> click.Command:
    """Complete what a command, or each of a group's, says of itself; return it."""
    for below, one in getattr(command, "commands", {}).items():
        explain(one, f"{name} {below}")
    plain = is_plain()
    if plain and isinstance(command, TyperCommand):
        command.rich_markup_mode = None
        # Typer lists them, and so does Click from 8.5 on.
        vars(command)["format_arguments"] = lambda _context, _formatter: None
    if name in EPILOGS:
        command.epilog = EPILOGS[name].plain if plain else str(EPILOGS[name])
    _explain_arguments(command)
    return command


def _explain_arguments(command: click.Command) -> None:
    """Give arguments the help that they were declared with, where Click has overwritten it."""
    declared = get_type_hints(command.callback, include_extras=True) if command.callback else {}
    for one in command.params:
        if isinstance(one, TyperArgument) and one.help is None and one.name in declared:
            told = [info.help for info in get_args(declared[one.name])[1:]]
            one.help = told[0] if told else None
