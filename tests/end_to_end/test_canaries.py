"""Canaries in all that is given and answered: none is in anything that the program writes."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.cli import main
from incarts_pipeline.dagster import IncartsResource, build_incarts_links_asset
from incarts_pipeline.dataframes import plan_links, write_links
from incarts_pipeline.errors import IncartsError
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.outgoing import keep_secret, secrets
from incarts_pipeline.plan import load_plan
from incarts_pipeline.settings import own_file
from incarts_pipeline.settings.key_sources import _asked
from tests.support.canaries import SPELLINGS, found_in, leaks_below, server, spelled
from tests.support.runs import products

KEY = "ic_live_Qz7+kV/x3WmRt9_HbN4p"  # with every character that is spelled in several ways
OTHER = "Zr8+qL/v5XnTy2_GcM6sKd-w"  # a live secret without a key's shape
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
TRICKS = ("a\x1b[2Jb", "a\x9b2Jb", "\u202egnp.exe", "3\nINFO forged", "[red]x[/nosuch]", "a\u200bb")

Go = Callable[..., str]


@pytest.fixture(params=[KEY, OTHER], ids=["shaped", "unshaped"])
def secret(request: pytest.FixtureRequest) -> str:
    """The API key of the run, with the shape of a key or without."""
    return str(request.param)


@pytest.fixture
def go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], secret: str
) -> Iterator[Go]:
    """Run the shell with the log at DEBUG in a file; returns all that it printed."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("INCARTS_API_KEY", secret)
    monkeypatch.setenv("INCARTS_PROJECT_ID", "prj_1")
    monkeypatch.setenv("INCARTS_RATE", "fixed:none")
    handler = logging.FileHandler("debug.log", encoding="utf-8")
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)

    def call(*arguments: str, **environment: str) -> str:
        with monkeypatch.context() as within:
            for name, value in environment.items():
                within.setenv(name, value)
            within.setattr(sys, "argv", ["incarts", *arguments])
            with pytest.raises(SystemExit):
                main()
        out, err = capsys.readouterr()
        return out + err

    yield call
    root.setLevel(level)
    root.removeHandler(handler)
    handler.close()


def assert_hidden(printed: str, secret: str, *known: str) -> None:
    """Neither what was printed nor any file that was written says the secret, or obeys data."""
    assert [line for line in printed.split("\n") if found_in(line, secret)] == []
    assert leaks_below(Path(), secret, set(known)) == []
    assert [line for line in printed.split("\n") if OBEYED.search(line)] == []


PLACES = (
    "message",
    "code",
    "text",
    "page",
    "details",
    "header",
    "name",
    "publicName",
    "shortLink",
    "shortId",
    "targetUrl",
    "status",
    "imageUrl",
    "encodedUrl",
    "id",
    "conflict",
)


def answer(place: str, said: str, number: int) -> tuple[int, dict[str, str], bytes]:
    """Return an answer that says something in one place."""
    headers = {"content-type": "application/json"}
    refusals: dict[str, Any] = {
        "message": {"error": {"code": "invalid", "message": f"the key {said} is wrong"}},
        "code": {"code": said, "message": "wrong"},
        "text": {"error": f"unknown: {said}"},
        "details": {"error": {"message": "wrong", "details": {"given": said}}},
    }
    if place == "page":
        return 400, {}, f"<html><title>no {said}</title>{said}</html>".encode()
    if place in refusals:
        return 422, headers, json.dumps(refusals[place]).encode()
    if place == "conflict":
        # UTF-16, and the key as it stands in the bytes.
        return 409, headers, json.dumps({"error": said}, ensure_ascii=False).encode("utf-16")
    link = {"id": f"lnk_{number:05}", "shortLink": f"https://in2carts.com/{number}"}
    if place == "header":
        headers["X-Correlation-ID"] = said.encode("ascii", "replace").decode()
    elif place in ("imageUrl", "encodedUrl"):
        code = {"id": f"qr_{number}", place: f"https://qr.example/{said}"}
        return 201, headers, json.dumps({"data": {**link, "qrCode": code}}).encode()
    else:
        link[place] = said if place == "id" else f"https://in2carts.com/{said}"
    return 201, headers, json.dumps({"data": link}).encode()


def answered(secret: str) -> list[tuple[str, str]]:
    """Return each place with each spelling."""
    return [(place, said) for place in PLACES for _, said in spelled(secret)]


def test_no_answer_brings_the_key_back(go: Go, secret: str) -> None:
    """A server that says the key in any place and spelling gets it into nothing that is written."""
    said = answered(secret)
    pacsv.write_csv(products(len(said)), "catalog.csv")

    def answering(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        place, told = said[int(str(body["name"]).rpartition(" ")[2])]
        return answer(place, told, number)

    with server(answering) as base_url:
        target = {"INCARTS_API_BASE_URL": base_url}
        run = ["apply", "catalog.csv", "--unique-key", "sku", "--link-set", "s", "--yes"]
        run += ["-o", "links.parquet", "--max-duration", "6s"]
        printed = go(*run, "--report", "run.html", **target)
        printed += go(*run, "--json", **target)
        printed += go("review", "list", **target) + go("status", **target)
        printed += go("review", "evidence", **target)
        printed += "".join(go("show", f"sku={i:06}", **target) for i in range(0, len(said), 7))
    assert "created" in printed
    assert_hidden(printed, secret)


def given_by(source: str, secret: str) -> dict[str, str]:
    """Return the environment that gives the key in another way; its file is `key`."""
    place = Path("key").absolute()
    place.write_text(secret)
    place.chmod(0o600)
    given = {"INCARTS_API_KEY": ""}
    if source == "file":
        return given | {"INCARTS_API_KEY_FILE": "key"}
    if source == "own file":
        own_file().parent.mkdir(parents=True, exist_ok=True)
        own_file().write_text(f'api_key_file = "{place}"\n')
        own_file().chmod(0o600)
        return given
    ends = {"command": "0", "broken command": "f'refused: {key}'"}[source]
    Path("helper.py").write_text(
        f"import sys; key = open({str(place)!r}).read(); print(key);"
        f"print(key, file=sys.stderr); sys.exit({ends})"
    )
    return given | {"INCARTS_API_KEY_COMMAND": f"{sys.executable} {Path('helper.py').absolute()}"}


@pytest.mark.parametrize("source", ["file", "own file", "command", "broken command"])
def test_the_key_is_hidden_wherever_it_comes_from(go: Go, secret: str, source: str) -> None:
    """A key of a file or command is kept out of everything, also of what is kept about hosts."""
    pacsv.write_csv(products(2), "catalog.csv")
    given = given_by(source, secret)
    said = [spell for _, spell in spelled(secret)]
    with server(lambda number, _: answer("message", said[number % len(said)], number)) as base_url:
        run = ["--unique-key", "sku", "--link-set", "s", "-o", "links.parquet", "--yes"]
        Path("incarts.toml").write_text(f'base_url = "{base_url}"\n')
        given["INCARTS_API_BASE_URL"] = ""
        printed = go("apply", "catalog.csv", *run, **given)
        printed += go("doctor", **given) + go("trust", base_url, **given)
        printed += go("doctor", "--json", **given) + go("trust", "--json", **given)
        printed += go("apply", "catalog.csv", *run, **given)
        printed += go("trust", base_url, "--withdraw", **given)
    _asked.cache_clear()
    assert_hidden(printed, secret, "key")
    assert leaks_below(Path(f"{Path.cwd()}-state"), secret, set()) == []
    if source != "broken command":
        assert "nobody has said" in printed
        assert "rejected" in printed


FIELDS = ("sku", "name", "retailer", "intent", "retailer_product_id", "custom_url", "public_name")


def planted(secret: str) -> pa.Table:
    """Return a catalog with the secret in each field and spelling, and with tricks for screens."""
    cells = [said for _, said in spelled(secret)] + [f"{trick} x" for trick in TRICKS]
    rows = []
    for field in (*FIELDS, "utm_campaign", "tags", "fallback_url"):
        for cell in cells:
            url = f"https://shop.example/{cell}" if field.endswith("_url") else cell
            row = {"name": "Oats", "retailer": "walmart", "intent": "custom_url", "tags": "a"}
            row |= {"sku": f"s{len(rows)}", "custom_url": f"https://shop.example/{len(rows)}"}
            rows.append({**row, field: url})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [str(row.get(name) or "") for row in rows] for name in names})


def test_no_cell_with_the_key_is_sent_or_shown(go: Go, secret: str) -> None:
    """Rows with the key in any field and spelling are rejected, and shown without it."""
    table, sent = planted(secret), []
    pacsv.write_csv(table, "catalog.csv")

    def answering(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        sent.append(json.dumps(body))
        return answer("shortId", "x", number)

    with server(answering) as base_url:
        target = {"INCARTS_API_BASE_URL": base_url}
        run = ["--unique-key", "sku", "--link-set", "s"]
        printed = go("plan", "catalog.csv", *run, "--out", "p.incarts", **target)
        run += ["-o", "links.parquet", "--yes", "--report", "run.html"]
        printed += go("apply", "catalog.csv", *run, **target)
        printed += go("plan", "catalog.csv", "--json", *run[:4], **target)
        for sku in table["sku"].to_pylist()[:24]:
            printed += go("show", f"sku={sku}", **target)
    assert sent
    assert [one for one in sent if found_in(one, secret)] == []
    assert_hidden(printed, secret, "catalog.csv")


VARIABLES = (
    "API_BASE_URL",
    "API_KEY_FILE",
    "API_KEY_COMMAND",
    "API_KEY_KEYRING",
    "TRUSTED_HOSTS",
    "PROJECT_ID",
    "LEDGER",
    "IDEMPOTENCY_WINDOW",
    "SCOPES",
    "MAX_RPS",
    "RATE",
    "MAX_IN_FLIGHT",
    "CONNECT_TIMEOUT",
    "READ_TIMEOUT",
    "LIMITS",
)
FEW = ("plain", "percent", "entities", "base64")


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_key_in_another_variable_is_not_shown(go: Go, secret: str, variable: str) -> None:
    """A key that was exported under a wrong name is in no message, file or ledger."""
    pacsv.write_csv(products(2), "catalog.csv")
    printed = ""
    for name in FEW:
        given = {f"INCARTS_{variable}": SPELLINGS[name](secret)}
        for command in (
            ["plan", "catalog.csv", "--unique-key", "sku", "--link-set", "s"],
            ["stop"],
        ):
            printed += go(*command, **given)
        printed += go("status", "--json", **given)
        if variable not in ("API_BASE_URL", "API_KEY_FILE"):
            printed += go("doctor", **given)
    assert_hidden(printed, secret)


COMMANDS = (
    ["plan", "{}", "--unique-key", "sku", "--link-set", "s"],
    ["plan", "catalog.csv", "--mapping", "{}"],
    ["plan", "catalog.csv", "--unique-key", "{}", "--link-set", "s"],
    ["plan", "catalog.csv", "--unique-key", "sku", "--link-set", "{}"],
    ["plan", "catalog.csv", "--format", "{}"],
    ["plan", "catalog.csv", "--encoding", "{}"],
    ["plan", "catalog.csv", "--delimiter", "{}"],
    ["plan", "catalog.csv", "--max-rps", "{}"],
    ["plan", "catalog.csv", "--refuse-over", "{}"],
    ["plan", "catalog.csv", "--rekeyed", "{}"],
    ["plan", "catalog.csv", "--{}"],
    ["{}"],
    ["apply", "catalog.csv", "-o", "{}"],
    ["apply", "catalog.csv", "-o", "x.parquet", "--rate", "{}"],
    ["apply", "catalog.csv", "-o", "x.parquet", "--sample-per", "{}"],
    ["apply", "catalog.csv", "-o", "x.parquet", "--max-duration", "{}"],
    ["apply", "catalog.csv", "-o", "x.parquet", "--fail-on", "{}"],
    ["apply", "catalog.csv", "-o", "x.parquet", "--if-running", "{}"],
    ["apply", "{}.incarts", "-o", "x.parquet"],
    ["status", "--target", "{}"],
    ["status", "--ledger", "{}"],
    ["show", "sku={}"],
    ["review", "adopt", "{}", "lnk_1"],
    ["review", "recreate", "{}", "--yes"],
    ["trust", "{}"],
    ["trust", "https://{}"],
    ["trust", "{}.example", "--withdraw"],
    ["import", "{}"],
    ["verify", "{}"],
    ["qr", "{}"],
    ["ledger", "restore", "{}"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_key_as_an_argument_is_not_shown(go: Go, secret: str, command: list[str]) -> None:
    """A key that was given for something else is in no message and no name of a file."""
    pacsv.write_csv(products(2), "catalog.csv")
    said = [SPELLINGS[name](secret) for name in FEW]
    printed = "".join(go(*(part.format(one) for part in command)) for one in said)
    assert printed
    assert_hidden(printed, secret, "catalog.csv")


@pytest.mark.parametrize("command", [["--{}"], ["plan", "catalog.csv", "--refuse-over", "{}"]])
def test_a_key_in_a_file_is_not_shown_before_it_is_needed(
    go: Go, secret: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's file is read for an error that comes before all settings."""
    pacsv.write_csv(products(2), "catalog.csv")
    file = Path("key")
    file.write_text(secret)
    file.chmod(0o600)
    monkeypatch.delenv("INCARTS_API_KEY")
    monkeypatch.setenv("INCARTS_API_KEY_FILE", str(file.absolute()))
    printed = go(*(part.format(secret) for part in command))
    file.unlink()
    assert_hidden(printed, secret, "catalog.csv")


MAPPING = """link_set: s
unique_key: [sku]
link:
  name: {name}
  retailer: walmart
  intent: custom_url
  custom_url: "https://shop.example/{{sku}}"
"""


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_key_in_a_file_is_not_shown(go: Go, secret: str, spelling: str) -> None:
    """Mappings, plan files, settings files, JSON lines and key files with the key say nothing."""
    said = SPELLINGS[spelling](secret)
    pacsv.write_csv(products(2), "catalog.csv")
    Path("m.yaml").write_text(MAPPING.format(name=json.dumps(said)))
    Path("broken.yaml").write_text(f"link_set: [{said}\n  x: : {said}")
    Path("p.incarts").write_text(json.dumps({"format": said}))
    Path("q.incarts").write_text(json.dumps({"format": "incarts plan 3", "mapping": "m.yaml"}))
    Path("lines.jsonl").write_text(json.dumps({"sku": 1}) + "\n" + json.dumps({"sku": said}) + "\n")
    Path("half.jsonl").write_text('{"sku": "' + said + "\n")
    Path("header.csv").write_text(f'sku,"{said}","{said}"\n1,2,3\n')
    known = [path.name for path in Path().iterdir() if path.name != "debug.log"]
    printed = go("plan", "catalog.csv", "--mapping", "m.yaml")
    printed += go("plan", "catalog.csv", "--mapping", "broken.yaml")
    printed += go("apply", "p.incarts", "-o", "x.parquet")
    printed += go("apply", "q.incarts", "-o", "x.parquet")
    for name in ("lines.jsonl", "half.jsonl", "header.csv"):
        printed += go("plan", name, "--unique-key", "sku", "--link-set", "s")
        printed += go("import", name)
    Path("incarts.toml").write_text(f"rate = {json.dumps(said)}\n[targets.{json.dumps(said)}]\n")
    printed += go("status") + go("status", "--target", "x")
    assert_hidden(printed, secret, *known, "incarts.toml")


PLACES_OF_FILES = (
    "s3://{}:{}@bucket/x.parquet",
    "s3:/{}:{}@bucket/x.parquet",
    "sftp://{}:{}@host/x.parquet",
    "https://{}:{}@host/x.csv?X-Amz-Signature={}",
    "gs://bucket/x.parquet?token={}",
    "abfs://c@account/x.parquet?sig={}",
    "postgresql://{}:{}@host/db",
)


@pytest.mark.parametrize("secret", [KEY], ids=["shaped"], indirect=True)  # not what is looked for
@pytest.mark.parametrize("place", PLACES_OF_FILES)
def test_credentials_in_a_uri_are_shown_nowhere(go: Go, secret: str, place: str) -> None:
    """Whatever takes a path or a URI shows neither its user nor its password nor its tokens."""
    pacsv.write_csv(products(2), "catalog.csv")
    uri = place.replace("{}", OTHER + "u", 1).replace("{}", OTHER)
    run = ["--unique-key", "sku", "--link-set", "s"]
    printed = ""
    if not place.startswith(("gs:", "abfs:")):  # these ask the network who they are
        printed += go("plan", uri, *run, "--out", "p.incarts")
    if not place.startswith(("s3://", "gs:", "abfs:")):
        printed += go("apply", "catalog.csv", "-o", uri, *run, "--yes")
    printed += go("status", INCARTS_LEDGER=uri) + go("plan", "catalog.csv", "--mapping", uri)
    printed += go("doctor", HTTPS_PROXY=uri, INCARTS_API_BASE_URL="https://incarts.invalid")
    content = {"format": "incarts plan 3", "catalog": uri, "mapping": None, "unique_key": []}
    content |= {"rekeyed": "hold", "accept": [], "digest": "", "project_id": "", "base_url": None}
    Path("q.incarts").write_text(json.dumps({**content, "made_at": ""}))
    printed += go("apply", "q.incarts", "-o", "x.parquet")
    assert_hidden(printed, OTHER, "q.incarts")


def test_frames_and_cards_show_no_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    """Plans, results, cards and errors in Python have no key, nor what a terminal would obey."""
    monkeypatch.setenv("INCARTS_API_KEY", secret)
    monkeypatch.setenv("INCARTS_PROJECT_ID", "prj_1")
    monkeypatch.setenv("INCARTS_RATE", "fixed:none")
    table = planted(secret)
    with server(lambda number, _: answer("message", secret, number)) as base_url:
        monkeypatch.setenv("INCARTS_API_BASE_URL", base_url)
        with plan_links(table, link_set="s", unique_key=["sku"]) as plan:
            told = [repr(plan), plan._repr_html_()]
            told.append(plan.report("plan.html").read_text(encoding="utf-8"))
        result = write_links(table, link_set="s", unique_key=["sku"], output="links.parquet")
        told += [repr(result), result._repr_html_()]
    out, err = capsys.readouterr()
    assert_hidden("\n".join([*told, out, err]).replace("\t", " "), secret)


@pytest.mark.parametrize(
    "call", [load_mapping, load_plan, open_catalog], ids=lambda one: one.__name__
)
def test_what_is_behind_an_error_shows_no_key(
    monkeypatch: pytest.MonkeyPatch, secret: str, call: Callable[[str], object]
) -> None:
    """A traceback, in a notebook or a log, has the texts of other libraries' errors as well."""
    keep_secret(secret)
    with pytest.raises(IncartsError) as caught:
        call(secret)
    assert [one for one in traceback.format_exception(caught.value) if found_in(one, secret)] == []


def test_dagster_stores_no_key(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], secret: str
) -> None:
    """Neither events nor logs of a run in Dagster have the key, from a cell or from an answer."""
    monkeypatch.setenv("INCARTS_API_KEY", secret)
    monkeypatch.setenv("INCARTS_PROJECT_ID", "prj_1")
    monkeypatch.setenv("INCARTS_RATE", "fixed:none")
    pacsv.write_csv(planted(secret), "catalog.csv")
    Path("dagster").mkdir()
    said = answered(secret)
    with server(lambda number, _: answer(*said[number % 80], number)) as base_url:
        monkeypatch.setenv("INCARTS_API_BASE_URL", base_url)
        asset = build_incarts_links_asset(
            catalog=Path("catalog.csv"),
            output="out/links.parquet",
            link_set="s",
            unique_key=["sku"],
            resource_key="incarts",
        )
        with dg.DagsterInstance.local_temp("dagster") as instance:
            dg.materialize(
                [asset],
                instance=instance,
                raise_on_error=False,
                resources={"incarts": IncartsResource(api_key=dg.EnvVar("INCARTS_API_KEY"))},
            )
            told = "".join(str(record.event_log_entry) for record in _events(instance))
            out, err = capfd.readouterr()
            assert "MATERIALIZATION" in told or "FAILURE" in told
            assert [line for line in (told + out + err).split("\n") if found_in(line, secret)] == []
            assert leaks_below(Path(), secret, {"catalog.csv"}) == []


def _events(instance: dg.DagsterInstance) -> list[Any]:
    (run,) = instance.get_runs()
    return list(instance.get_records_for_run(run.run_id, limit=5_000).records)


def test_canaries_are_found_where_nothing_hides_them(
    go: Go, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the filter off the same search finds them: in the table, the ledger, page and log."""
    monkeypatch.setattr(secrets, "_has", lambda _: False)
    said = [("message", secret), ("shortLink", SPELLINGS["base64"](secret))]
    pacsv.write_csv(products(2), "catalog.csv")
    with server(lambda number, _: answer(*said[number], number)) as base_url:
        run = ["apply", "catalog.csv", "--unique-key", "sku", "--link-set", "s", "--yes"]
        run += ["-o", "links.parquet", "--report", "run.html"]
        go(*run, INCARTS_API_BASE_URL=base_url)
    leaks = leaks_below(Path(), secret, {"catalog.csv"})
    assert {leak.partition(":")[0] for leak in leaks} >= {"links.parquet", "incarts-ledger.db"}
    assert any(leak.startswith("run.html") for leak in leaks)


def test_hundreds_of_canaries_are_planted() -> None:
    """The tests of this file plant at least 500 secrets, counting each place and spelling once."""
    cells = len(FIELDS) + 3
    count = len(SPELLINGS) * (len(PLACES) + cells + 8)
    count += len(FEW) * (len(VARIABLES) + len(COMMANDS)) + len(PLACES_OF_FILES) * 5
    assert 2 * count >= 500
