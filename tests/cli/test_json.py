"""What commands print with `--json`: each answer is as its schema in the docs says."""

from __future__ import annotations

import json
import re

import click
import pytest
from jsonschema import Draft202012Validator, ValidationError

from incarts_pipeline.cli.answers import ANSWERS
from incarts_pipeline.cli.run_answers import SCHEMA_VERSION
from incarts_pipeline.sandbox import Sandbox
from tests.cli.test_help import COMMANDS
from tests.support.json_schemas import FOLDER, check_answer, file_of, schema_of, text_of
from tests.support.pages import page, rows_of, section
from tests.support.processes import NO_MAPPING
from tests.support.shell import Shell


def takes_json(command: click.Command) -> bool:
    """Say whether a command can print JSON."""
    return any("--json" in one.opts for one in command.params)


def test_each_command_has_its_answer() -> None:
    """What takes --json has a class, a file and a line in the docs; so has an error."""
    commands = {name for name, command in COMMANDS.items() if takes_json(command)}
    commands |= {"error", "apply --enqueue"}
    assert ANSWERS.keys() == commands
    assert {path.name for path in FOLDER.iterdir()} == {file_of(name).name for name in commands}
    told = [
        re.findall(r"\(json/([\w.-]+)\)", row[-1]) for row in rows_of(section("json.md", "Shapes"))
    ]
    assert sorted(name for names in told for name in names) == sorted(
        file_of(name).name for name in commands
    )
    assert f"`schema_version` is {SCHEMA_VERSION}" in page("json.md")


@pytest.mark.parametrize("command", ANSWERS)
def test_schemas_are_those_of_the_classes(command: str) -> None:
    """The file in the docs is what the class says; `python -m tests.support.json_schemas`."""
    Draft202012Validator.check_schema(schema_of(command))
    assert file_of(command).read_text(encoding="utf-8") == text_of(schema_of(command))


def test_what_is_not_told_is_found() -> None:
    """A field without a word in the docs, a missing one and a time without its zone are refused."""
    good = {"schema_version": 1, "links": 1, "known": 2, "needs_review": 0}
    check_answer(["import", "x"], json.dumps(good))
    for bad in ({**good, "more": 1}, {"links": 1}, {**good, "links": "1"}):
        with pytest.raises(ValidationError):
            check_answer(["import", "x"], json.dumps(bad))
    empty = {"runs": [], "rates": {}, "waiting": {}, "failures": [], "apply_before": None}
    counts = {"needs_person": 0, "in_doubt": 0, "in_flight": 0, "schema_version": 1}
    check_answer(["watch"], json.dumps({**empty, **counts, "at": "2026-01-02T03:04:05+00:00"}))
    with pytest.raises(ValidationError):
        check_answer(["watch"], json.dumps({**empty, **counts, "at": "2026-01-02T03:04:05"}))


def test_all_answers_of_a_day(shell: Shell, catalog: str, box: Sandbox) -> None:
    """From a plan to a restored backup: `shell` holds each answer against its schema."""
    json_of = ("--json",)
    for arguments in (
        ("plan", catalog, *NO_MAPPING),
        ("apply", catalog, "-o", "links.parquet", *NO_MAPPING),
        ("rekey", catalog, "-o", "links.parquet", *NO_MAPPING),
        ("apply", catalog, "-o", "links.parquet", "--enqueue", *NO_MAPPING),
        ("work",),
        ("publish", catalog, "-o", "links.parquet", *NO_MAPPING),
        ("qr", "links.parquet", "--identifier", "shelf", "--plan-only"),
        ("qr", "links.parquet", "--identifier", "shelf"),
        ("status",),
        ("watch",),
        ("stop",),
        ("doctor",),
        ("trust",),
        ("show", "sku=000001"),
        ("verify",),
        ("check", catalog, *NO_MAPPING),
        ("review", "list"),
        ("ledger", "check"),
        ("ledger", "backup", "backup.db"),
        ("ledger", "restore", "backup.db"),
        ("import", "links.parquet"),
        ("init", catalog, "--url", "https://shop.example.com/p/{sku}"),
        ("ledger", "move", "incarts-ledger.db", "moved.db"),
    ):
        code, out, err = shell(*arguments, *json_of)
        assert code in (0, 1), (arguments, err)
        assert json.loads(out)["schema_version"] == SCHEMA_VERSION
        assert "error" not in json.loads(out) or code == 1, (arguments, out)
    assert box.audit().links == 12


def test_errors_are_one_shape(shell: Shell, catalog: str) -> None:
    """A refusal, a missing file and a wrong option are told alike, on standard output."""
    for arguments, code in (
        (("plan", "nowhere.csv", *NO_MAPPING), 1),
        (("plan", catalog, "--nosuch"), 2),
        (("plan", catalog, "--unique-key", "nosuch", "--link-set", "s"), 2),
    ):
        ended, out, err = shell(*arguments, "--json")
        assert (ended, json.loads(out)["exit_code"]) == (code, code)
        assert json.loads(out)["error"].split()[0] in err
