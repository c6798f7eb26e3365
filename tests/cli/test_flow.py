"""The shell's commands: what they print, and their exit codes."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.cli.running import _to_do
from incarts_pipeline.ledger.sqlite import bulk_read
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.sandbox import ApiKey, Sandbox
from incarts_pipeline.settings import Settings
from tests.support.processes import NO_MAPPING
from tests.support.runs import products
from tests.support.shell import Shell


def test_plan_shows_and_makes_nothing(shell: Shell, catalog: str, box: Sandbox) -> None:
    """`plan` prints counts, scopes and digest, sends nothing and leaves no ledger."""
    code, out, _ = shell("plan", catalog, *NO_MAPPING)
    assert code == 0
    assert "12 links to make" in out
    assert "retailers:walmart (12)" in out
    assert box.audit().requests == 0
    assert not Path("incarts-ledger.db").exists()


def test_a_result_says_what_happened(shell: Shell, catalog: str) -> None:
    """Once links are made, nothing is told as it was planned."""
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 0
    assert "new: its link was made" in err.split("Run ")[1]
    assert "no link yet" not in err.split("Run ")[1]


def test_a_plan_says_what_changed_as_values(shell: Shell, box: Sandbox) -> None:
    """In a table, as JSON, in the refusal, beside an approval, and in the row's history."""
    pacsv.write_csv(products(30), "catalog.csv")
    assert shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)[0] == 0
    ids = [str(500_001 + i) for i in range(30)]
    pacsv.write_csv(products(30, retailer_product_id=ids), "catalog.csv")
    lines = [
        "  30 of 30: only products.retailer_product_id",
        "  30 of 30 products.retailer_product_id: +1",
        "  000000  products[0].retailer_product_id  500000 → 500001",
    ]
    _, out, _ = shell("plan", "catalog.csv", *NO_MAPPING)
    assert [out.splitlines().count(line) for line in lines] == [1, 1, 1]
    plan = json.loads(shell("plan", "catalog.csv", *NO_MAPPING, "--json")[1])
    [changed] = plan["changed"]
    assert changed["only"] == [{"fields": ["products.retailer_product_id"], "rows": 30}]
    assert changed["patterns"][0]["pattern"] == "+1"
    assert changed["examples"][0]["differences"] == [
        {"path": "products[0].retailer_product_id", "old": "500000", "new": "500001"}
    ]
    code, _, err = shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert all(line in err.splitlines() for line in lines)
    arguments = ("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    code, _, err = shell(*arguments, "--approve", plan["digest"], "--report", "run.html")
    assert (code, lines[2] in err.splitlines()) == (0, True)
    assert "30 of 30 products.retailer_product_id: +1" in Path("run.html").read_text("utf-8")
    _, out, _ = shell("show", "sku=000000")
    assert "  products[0].retailer_product_id  500000 → 500001" in out.splitlines()
    [_, second] = json.loads(shell("show", "sku=000000", "--json")[1])["entries"]
    assert second["changed"] == ["products.retailer_product_id"]


def test_what_comes_with_a_value_stays_on_its_line(shell: Shell) -> None:
    """A changed name that has line breaks and escapes ends no line and moves no cursor."""
    pacsv.write_csv(products(1), "catalog.csv")
    shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    names = ["a\nrefused: \x1b[2J\u202eb"]
    pacsv.write_csv(products(1, name=names, quantity=[2]), "catalog.csv")
    accepted = ("--accept", "odd_character")
    _, out, _ = shell("plan", "catalog.csv", *NO_MAPPING, *accepted)
    assert "000000  name  Product 0 → a\\nrefused: \\x1b[2J⟨U+202E⟩b" in out


def test_a_plan_is_written_as_a_page(shell: Shell, catalog: str, box: Sandbox) -> None:
    """`--html` writes one page with every row; where it can't, nothing is planned."""
    code, out, _ = shell("plan", catalog, *NO_MAPPING, "--html", "plan.html")
    page = Path("plan.html").read_text(encoding="utf-8")
    assert (code, "12 links to make" in out) == (0, True)
    assert all(f"{i:06d}" in page for i in range(12))
    assert box.api_key not in page
    code, _, err = shell("plan", catalog, *NO_MAPPING, "--html", "nowhere/plan.html")
    assert (code, "nowhere/plan.html can't be written" in " ".join(err.split())) == (1, True)
    code, _, err = shell("plan", catalog, *NO_MAPPING, "--html", catalog)
    assert (code, "catalog" in err) == (1, True)


def test_rows_that_share_a_link_are_told(shell: Shell) -> None:
    """Links and rows may differ in number; plan and result say how."""
    pacsv.write_csv(products(3, sku=["a", "b", "a"], name=["A", "B", "A"],
                             retailer_product_id=["1", "2", "1"]), "catalog.csv")  # fmt: skip
    _, out, _ = shell("plan", "catalog.csv", *NO_MAPPING)
    assert "\n2 links to make for 3 rows (1 shares another row's)\n" in out
    _, _, err = shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    assert "\n2 links for 3 rows, 2 requests in " in err


def test_apply_then_again(shell: Shell, catalog: str, box: Sandbox) -> None:
    """`apply` makes the links; a second time it prints that nothing was sent."""
    arguments = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--json")
    code, out, _ = shell(*arguments)
    assert (code, json.loads(out)["statuses"]["created"]) == (0, 12)
    code, out, _ = shell(*arguments)
    assert (code, json.loads(out)["requests"]) == (0, 0)
    assert box.audit().links == 12


def test_apply_leaves_a_report(shell: Shell, catalog: str, box: Sandbox) -> None:
    """`--report` writes a page, also when Incarts ends the run; its place is checked before."""
    arguments = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert shell(*arguments, "--limit", "5", "--report", "run.html")[0] == 4
    page = Path("run.html").read_text(encoding="utf-8")
    assert "over the limit given" in page
    assert box.api_key not in page
    code, _, err = shell(*arguments, "--report", "nowhere/run.html")
    assert (code, "nowhere/run.html can't be written" in " ".join(err.split())) == (1, True)
    assert box.audit().links == 5


def test_plan_as_json_has_the_digest_that_apply_takes(shell: Shell, catalog: str) -> None:
    """The digest of `plan --json` approves the same plan."""
    arguments = (catalog, *NO_MAPPING, "--refuse-over", "5")
    code, out, _ = shell("plan", *arguments, "--json")
    plan = json.loads(out)
    assert (code, plan["refusals"][0]["guard"]) == (1, "too_many_new")
    code, _, err = shell("apply", *arguments, "-o", "links.parquet")
    assert code == 1
    assert plan["digest"] in err
    code, _, _ = shell("apply", *arguments, "-o", "links.parquet", "--approve", plan["digest"])
    assert code == 0


def test_limit_exits_4(shell: Shell, catalog: str) -> None:
    """Rows that are left over make the exit code 4."""
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--limit", "5")
    assert code == 4
    assert "run the same command again" in err


def test_fail_on(shell: Shell, catalog: str) -> None:
    """Statuses in --fail-on make the exit code 3."""
    Path(catalog).write_text(Path(catalog).read_text().replace(",1\n", ",0\n", 1))
    arguments = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert shell(*arguments)[0] == 0
    assert shell(*arguments, "--fail-on", "rejected")[0] == 3
    _, out, _ = shell(*arguments, "--fail-on", "rejected", "--json")
    assert json.loads(out)["exit_code"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--unique-key", "skuu", "--link-set", "x"), 'Did you mean "sku"'),
        (("--link-set", "x"), "--unique-key"),
        (("--mapping", "nowhere.yaml"), "nowhere.yaml"),
        ((*NO_MAPPING, "--fail-on", "broken"), "--fail-on"),
        ((*NO_MAPPING, "--sample-per", "colour"), "--sample-per"),
    ],
)
def test_wrong_usage_exits_2(
    shell: Shell, catalog: str, box: Sandbox, arguments: tuple[str, ...], said: str
) -> None:
    """A broken mapping or option ends with exit 2 before anything is sent, and says the fix."""
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *arguments)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert box.audit().requests == 0


def test_missing_catalog_exits_1(shell: Shell) -> None:
    """A file that isn't there is named, in one paragraph."""
    code, _, err = shell("plan", "nothing.csv", *NO_MAPPING)
    assert code == 1
    assert "nothing.csv" in err


def test_wrong_key_ends_the_run(
    shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 ends the run with exit 1; every row is pending, none is lost."""
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_wrong_but_long_enough")
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert "API key" in err
    assert "ic_live_wrong" not in err
    assert set(pq.read_table("links.parquet")["status"].to_pylist()) == {"pending"}
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    assert shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)[0] == 0
    assert box.audit().links == 12


def test_missing_scope_opens_the_circuit(shell: Shell, catalog: str, box: Sandbox) -> None:
    """A 403 for every kind of link ends with exit 1 and says what the key lacks."""
    weak = ApiKey(scopes=frozenset({"links:write"}))
    box.reconfigure(keys=(weak,))
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert "403 for walmart/add_to_cart" in err
    assert box.audit().requests <= 12


def test_wrong_project_is_named(
    shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 403 names the project and its variable, and running again is not the first thing to do."""
    monkeypatch.setenv("INCARTS_PROJECT_ID", "misspelt")
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert "the key may not access this project. Check the project misspelt (INCARTS_PROJ" in err
    assert "once that is put right, run the same command again" in err


def test_wrong_base_path(
    shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base URL with a wrong path is recognized by its first answers."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", f"{box.base_url}/api")
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert "not the Incarts API" in err


@pytest.mark.slow
def test_unreachable_host(shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where nobody listens ends the run with exit 1 and says so."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", "http://127.0.0.1:1")
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert "can't be reached" in err


def test_ledger_of_another_host(
    shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger serves one base URL only."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    monkeypatch.setenv("INCARTS_API_BASE_URL", "https://api.incarts.example")
    code, _, err = shell("plan", catalog, *NO_MAPPING)
    assert code == 1
    assert "belongs to" in err
    assert "sandbox" not in err


def test_ledger_and_output_of_an_earlier_sandbox(
    shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The links of a sandbox are gone with it; the error says how to begin anew, and that works."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    with Sandbox() as later:
        monkeypatch.setenv("INCARTS_API_BASE_URL", later.base_url)
        code, _, err = shell("plan", catalog, *NO_MAPPING)
        assert code == 1
        [(name, value)] = re.findall(r"`export (\w+)=([^`]+)`", err)
        assert "an output of its own" in err
        monkeypatch.setenv(name, value)
        assert shell("apply", catalog, "-o", "later.parquet", *NO_MAPPING)[0] == 0
        assert later.audit().links == 12


def test_locked_and_foreign_ledgers(shell: Shell, catalog: str, box: Sandbox) -> None:
    """A ledger that can't be used stops the run before the first call."""
    Path("junk.db").write_bytes(b"this is no database, but long enough to look at" * 40)
    arguments = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--ledger")
    code, _, err = shell(*arguments, "junk.db")
    assert (code, "damaged" in err) == (1, True)
    code, _, err = shell(*arguments, "nowhere/ledger.db")
    assert (code, "doesn't exist" in err) == (1, True)
    assert box.audit().requests == 0


def test_unwritable_output(shell: Shell, catalog: str, box: Sandbox) -> None:
    """An output folder that isn't there is refused before anything is planned or asked."""
    code, _, err = shell("apply", catalog, "-o", "nowhere/links.parquet", *NO_MAPPING)
    assert code == 1
    assert "doesn't exist" in err
    assert "links to make" not in err
    assert box.audit().requests == 0


def test_output_that_is_no_table(shell: Shell, catalog: str) -> None:
    """A file that isn't ours is not overwritten."""
    Path("links.parquet").write_text("my notes")
    code, _, _ = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert Path("links.parquet").read_text() == "my notes"


def test_status_counts(shell: Shell, catalog: str) -> None:
    """`status` counts links per set and says that the file is intact."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    code, out, _ = shell("status", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["sets"][0]["links"] == 12
    assert found["damage"] == ""
    out = shell("status")[1]
    assert "\nnothing is running\n" in out
    assert "\nthe file is intact\n" in out
    assert shell("status", "--ledger", "none.db")[0] == 1


def test_doctor(shell: Shell, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` tells a good key from a bad one, and a wrong host, without making a link."""
    code, out, _ = shell("doctor")
    assert code == 0
    assert "project: not checked  whether the key may use demo only shows" in out
    checks = json.loads(shell("doctor", "--json")[1])
    assert (checks["ok"], checks["checks"][-1]["ok"]) == (True, None)
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_wrong_but_long_enough")
    code, out, _ = shell("doctor", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    monkeypatch.setenv("INCARTS_API_BASE_URL", "http://127.0.0.1:1")
    code, out, _ = shell("doctor")
    assert code == 1
    assert box.audit().links == 0


def test_sandbox_on_a_port_in_use(shell: Shell, box: Sandbox) -> None:
    """It names the port and the way out, and no ledger; one that can't be is a matter of usage."""
    port = box.base_url.rpartition(":")[2]
    code, _, err = shell("sandbox", "--port", port)
    assert code == 1
    assert f"Port {port} is in use.\n  Choose another --port, or leave it out." in err
    assert shell("sandbox", "--port", "65536")[0] == 2


def test_plan_says_which_rules_are_broken(shell: Shell) -> None:
    """Rejected rows are grouped by field and rule, with an example and the fix, which is said once.

    One row is left, so that one link is to make.
    """
    pacsv.write_csv(products(3, name=["x" * 999, "y" * 999, "fine"]), "catalog.csv")
    _, out, _ = shell("plan", "catalog.csv", *NO_MAPPING)
    assert "\nRows are counted from 0; row 0 is the first below a header.\n" in out
    [line] = [line for line in out.splitlines() if "name: too_long, e.g. row 0 (000000): " in line]
    assert line.strip().startswith("2  ")
    assert line.endswith('…"; shorten it, or set on_too_long: truncate.')
    assert "\n1 link to make\n" in out
    _, out, _ = shell("plan", "catalog.csv", *NO_MAPPING, "--json")
    [group] = json.loads(out)["problems"]
    assert (group["field"], group["code"], group["rows"]) == ("name", "too_long", 2)
    assert group["example"]["key"] == "000000"


def test_a_terminal_is_asked_even_when_the_output_is_piped(
    shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody at the keyboard decides; no answer is no."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert code == 1
    assert "Make 12 links?" in err
    code, _, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--limit", "5")
    assert "5 of 12 links to make (the run's limit)" in err
    assert "Make 5 of 12 links?" in err
    assert box.audit().requests == 0


def test_budget(shell: Shell, catalog: str, box: Sandbox) -> None:
    """A plan says in how many nights all are made; each night makes its part, and then all are."""
    _, out, _ = shell("plan", catalog, *NO_MAPPING, "--budget", "5", "--out", "some.incarts")
    assert "5 of 12 links to make (the run's limit)" in out
    assert "one such run a night makes all in 3 nights, the last on 20" in out
    assert "incarts apply some.incarts -o links.parquet --limit 5" in out
    _, out, _ = shell("plan", catalog, *NO_MAPPING, "--limit", "5", "--json")
    planned = json.loads(out)
    assert (planned["to_make"], planned["calls"], planned["nights"]) == (5, 12, 3)
    assert box.audit().requests == 0
    apply = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--budget", "5")
    code, _, err = shell(*apply, "--report", "run.html")
    assert (code, "7 links left to make: 2 more nights of 5, the last on 20" in err) == (4, True)
    assert "Night by night" in Path("run.html").read_text()
    code, out, _ = shell(*apply, "--json")
    ran = json.loads(out)
    assert (code, ran["remaining"], ran["nights_left"]) == (4, 2, 1)
    code, out, _ = shell(*apply, "--json")
    ran = json.loads(out)
    assert (code, ran["remaining"], ran["nights_left"]) == (0, 0, None)
    assert box.audit().links == 12


def test_budget_in_time(shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time is reckoned with the pace that is known."""
    monkeypatch.setenv("INCARTS_RATE", "fixed:2")
    _, out, _ = shell("plan", catalog, *NO_MAPPING, "--max-duration", "2s")
    assert "4 of 12 links to make (what 2 s are expected to be enough for)" in out
    assert "makes all in 3 nights" in out


def test_the_question_is_about_what_the_run_does(settings: Settings) -> None:
    """Links in doubt, links to make of how many, links that move; never about 0 links."""
    request = PlanRequest(catalog=products(3), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        figures = dataclasses.replace(plan.figures, doubts=24)
        some = plan.within(2).figures
    assert _to_do(figures, "link") == ["settle 24 links in doubt", "make 3 links"]
    assert _to_do(dataclasses.replace(figures, limit=0), "link") == ["settle 24 links in doubt"]
    assert _to_do(some, "link") == ["make 2 of 3 links"]
    assert _to_do(dataclasses.replace(some, limit=7), "link") == ["make 3 links"]


def test_approved_is_not_called_refused(shell: Shell, catalog: str) -> None:
    """What a guard said stands there as approved once it was; a refusal has its fix apart."""
    arguments = (catalog, *NO_MAPPING, "--refuse-over", "5")
    _, out, _ = shell("plan", *arguments)
    assert "refused: 12 new links would be made, --refuse-over is 5.\n  Look at" in out
    digest = out.rsplit("--approve ", 1)[1].split()[0]
    code, _, err = shell("apply", *arguments, "-o", "links.parquet", "--approve", digest)
    assert (code, "approved: 12 new links" in err, "refused:" in err) == (0, True, False)


def test_version(shell: Shell) -> None:
    """`--version` says it in one line."""
    code, out, _ = shell("--version")
    assert (code, out.startswith("incarts ")) == (0, True)


def test_errors_as_json(shell: Shell, catalog: str) -> None:
    """With --json a refusal or failure is one object on standard output, and words beside it."""
    arguments = ("apply", catalog, *NO_MAPPING, "--json")
    code, out, err = shell(*arguments, "-o", "links.parquet", "--refuse-over", "5")
    told = json.loads(out)
    assert (code, told["exit_code"], told["guard"]) == (1, 1, "too_many_new")
    assert told["digest"] in told["fix"]
    assert "12 new links" in err
    code, out, _ = shell(*arguments, "-o", "nowhere/links.parquet")
    told = json.loads(out)
    assert (code, told["guard"], "doesn't exist" in told["error"]) == (1, None, True)


def test_catalog_that_changes_before_the_answer(
    shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that is written to while somebody looks at its plan is not the one they saw."""

    class Slow(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, size: int = -1) -> str:
            Path(catalog).write_text("sku\n")
            return super().readline(size)

    monkeypatch.setattr(sys, "stdin", Slow("y\n"))
    code, out, err = shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert (code, out) == (1, "")
    assert "error: catalog.csv changed after its reading began: " in err
    assert "catalog.csv was written to. Nothing was sent.\n  Wait until it is written" in err
    assert box.audit().requests == 0
    assert not Path("links.parquet").exists()


@pytest.mark.parametrize("basket", [False, True])
@pytest.mark.parametrize("command", [("plan",), ("apply", "-o", "links.parquet", "--yes")])
def test_row_that_cannot_be_read(
    shell: Shell, box: Sandbox, command: tuple[str, ...], basket: bool
) -> None:
    """What goes wrong while rows are read is told in our words: the row, and what to do."""
    lines = [f"{i},a,{500_000 + i},1" for i in range(5)]
    Path("in.csv").write_text("\n".join(["sku,title,item,qty", *lines, "5,b", ""]))
    mapping = {
        "link_set": "t",
        "unique_key": ["sku"],
        "link": {
            "name": "{title}",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "item"}},
            "basket": basket,
        },
    }
    Path("mapping.yaml").write_text(json.dumps(mapping))
    code, out, err = shell(*command, "in.csv", "-m", "mapping.yaml", "--json")
    told = json.loads(out)
    assert code == told["exit_code"] == 1
    assert told["error"] == (
        "Row 5 of in.csv (the first is 0) has 2 fields, the header has 4: '5,b'."
    )
    assert told["fix"] == "Quote the fields that contain the delimiter, or complete the row."
    assert err == f"error: {told['error']}\n  {told['fix']}\n"
    assert box.audit().requests == 0


def test_catalog_that_may_be_cut(shell: Shell, catalog: str) -> None:
    """A file without its last line end is warned of, by plan and apply, for people and as JSON."""
    file = Path(catalog)
    file.write_text(file.read_text()[:-1])
    warning = "catalog.csv ends without a line end, so it may be cut off: look at row 11"
    _, out, _ = shell("plan", catalog, *NO_MAPPING)
    assert f"warning: {warning}" in out
    _, out, _ = shell("plan", catalog, *NO_MAPPING, "--json")
    assert json.loads(out)["warnings"][0].startswith(warning)
    arguments = ("apply", catalog, *NO_MAPPING, "-o", "links.parquet")
    _, _, err = shell(*arguments, "--limit", "2", "--report", "run.html")
    assert f"warning: {warning}" in err
    assert "ends without a line end" in Path("run.html").read_text()
    _, out, _ = shell(*arguments, "--json")
    assert json.loads(out)["warnings"][0].startswith(warning)


@pytest.mark.slow
def test_reader_of_a_large_ledger_is_killed(
    shell: Shell, box: Sandbox, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever that is, the run fails with what to do, or what it publishes is whole."""
    apply = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    assert shell(*apply)[0] == 0
    start, chance, codes = subprocess.Popen, random.Random(7), []

    def start_and_kill(*arguments: Any, **keywords: Any) -> subprocess.Popen[bytes]:
        process = start(*arguments, **keywords)
        threading.Timer(chance.uniform(0.0, 0.8), process.kill).start()
        return process

    monkeypatch.setattr(bulk_read, "_LARGE_BYTES", 0)
    monkeypatch.setattr(subprocess, "Popen", start_and_kill)
    for _ in range(12):
        for published in Path().glob("links.*parquet"):
            published.unlink()
        code, _, said = shell(*apply)
        codes.append(code)
        assert code == 0 or "was ended by SIGKILL" in said
        assert "Traceback" not in said
        whole = [pq.read_table(file).num_rows for file in sorted(Path().glob("links.*parquet"))]
        assert whole in ([], [12], [12, 0], [12, 0, 12])
        assert len(whole) == 3 or code == 1
    assert 1 in codes
    assert box.audit().links == 12
