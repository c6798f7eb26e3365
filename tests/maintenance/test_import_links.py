"""Links that exist already: made by hand, or published from a ledger that is lost."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import CatalogError, LedgerForeignError, RefusedError
from incarts_pipeline.ledger import dispute, once
from incarts_pipeline.ledger.sqlite.witness import Witness
from incarts_pipeline.maintenance.adoption import adopt
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.maintenance.review import open_cases, recreate
from incarts_pipeline.maintenance.status import ledger_overview
from incarts_pipeline.models import Rekeyed, State
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from tests.support.clocks import LaterClock
from tests.support.runs import Run, apply_at, products
from tests.support.sqlite_files import opened


def dump(name: str, *, but: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """Return a ledger table's rows without their ids, in a stable order."""
    with opened("ledger.db") as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
    left_out = {"op_id", "follows_op_id", "set_id", *but}
    kept = [{k: v for k, v in row.items() if k not in left_out} for row in rows]
    return sorted(kept, key=repr)


def lose_the_ledger() -> None:
    """Remove the ledger with its log."""
    for path in Path().glob("ledger.db*"):
        path.unlink()


def copy_of_the_ledger() -> bytes:
    """Return what a backup would keep of the ledger now."""
    with opened("ledger.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path("ledger.db").read_bytes()


def test_lost_ledger_is_rebuilt(run: Run, settings: Settings, box: Sandbox) -> None:
    """Links, replaced ones too, and missing rows come back; the next run sends nothing."""
    run(products(30))
    run(products(29, quantity=[1] * 27 + [5, 6]))
    before = {name: dump(name) for name in ("link", "body")}
    assert {link["proof"] for link in before["link"]} == {"echo+content"}
    rows = dump("row", but=("changed_at",))
    requests = box.audit().requests
    lose_the_ledger()
    with pytest.raises(RefusedError, match="incarts import"):
        run(products(29, quantity=[1] * 27 + [5, 6]))
    restored = import_links("links.parquet", settings)
    assert (restored.links, restored.needs_review) == (32, 0)
    assert {name: dump(name) for name in ("link", "body")} == before
    assert dump("row", but=("changed_at",)) == rows
    result = run(products(29, quantity=[1] * 27 + [5, 6]))
    assert (result.written.requests, box.audit().requests) == (0, requests)
    assert dict(result.figures.missing) == {"test": 1}


def test_rebuilt_ledger_knows_what_changed(run: Run, settings: Settings) -> None:
    """With the history's bodies, a later change of the label alone is still ignored."""
    run(products(3))
    lose_the_ledger()
    import_links("links.parquet", settings)
    renamed = run(products(3, name=["Another", "Product 1", "Product 2"]))
    assert renamed.written.requests == 0
    changed = run(products(3, quantity=[9, 1, 1]))
    assert changed.written.requests == 1


def test_history_alone_is_enough(run: Run, settings: Settings) -> None:
    """The history table rebuilds a ledger without the others."""
    run(products(3))
    lose_the_ledger()
    Path("links.parquet").unlink()
    assert import_links("links.history.parquet", settings).links == 3
    assert run(products(3)).written.requests == 0


def test_missing_table_alone_is_enough(run: Run, settings: Settings) -> None:
    """Links whose row left the catalog come back from their own table, too."""
    run(products(25))
    run(products(24))
    lose_the_ledger()
    for name in ("links.parquet", "links.history.parquet"):
        Path(name).unlink()
    assert import_links("links.missing.parquet", settings).links == 1
    assert run(products(25)).written.requests == 24


def test_without_history_the_links_come_back(run: Run, settings: Settings) -> None:
    """links.parquet alone is enough to send nothing twice."""
    run(products(3))
    lose_the_ledger()
    Path("links.history.parquet").unlink()
    assert import_links("links.parquet", settings).links == 3
    assert run(products(3)).written.requests == 0


def test_links_parquet_alone_keeps_the_keys_of_links_and_contents_apart(
    run: Run, settings: Settings, box: Sandbox
) -> None:
    """A pending row's key is its new content's, and not the key of the link that it still uses."""
    run(products(1))
    run(products(1, quantity=[2]), api_key=SecretStr("ic_sandbox_another_key"))
    [pending] = pq.read_table("links.parquet").to_pylist()
    assert (pending["status"], pending["is_stale"]) == ("pending", True)
    lose_the_ledger()
    Path("links.history.parquet").unlink()
    assert import_links("links.parquet", settings).links == 1
    result = run(products(1, quantity=[2]))
    assert (result.written.requests, result.exit_code()) == (1, 0)
    assert box.audit().duplicates == 0


@pytest.mark.parametrize("with_history", [True, False])
def test_doubts_come_back_for_review(
    run: Run, settings: Settings, box: Sandbox, with_history: bool
) -> None:
    """What was in doubt is never sent again by itself: how old it is nobody knows any more."""
    box.fail_next("error_after", times=50, where="500001")
    run(products(3), until=3)
    box.fail_next("error_after", times=0, where="500001")
    [before] = open_cases(settings)
    lose_the_ledger()
    if not with_history:
        Path("links.history.parquet").unlink()
    restored = import_links("links.parquet", settings)
    assert (restored.links, restored.needs_review) == (2, 1)
    [case] = open_cases(settings)
    assert (case.idempotency_key, case.state) == (before.idempotency_key, State.NEEDS_REVIEW)
    assert run(products(3)).written.requests == 0
    recreate([case.idempotency_key], settings)  # Incarts was wrong, or so we pretend
    assert run(products(3)).written.requests == 1


def test_unknown_doubt_in_the_output_is_refused(run: Run, settings: Settings, box: Sandbox) -> None:
    """An output whose doubts the ledger doesn't know is as foreign as one with unknown links."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    box.fail_next("error_after", times=0)
    lose_the_ledger()
    with pytest.raises(RefusedError, match="incarts1-"):
        run(products(1))


def test_older_backup_learns_what_came_after_it(run: Run, settings: Settings, box: Sandbox) -> None:
    """A restored backup takes over what was made since, also for what it had in doubt."""
    box.fail_next("error_after", times=50, where="500000")
    run(products(2), until=2)
    box.fail_next("error_after", times=0, where="500000")
    backup = copy_of_the_ledger()
    run(products(4))
    lose_the_ledger()
    Path("ledger.db").write_bytes(backup)
    requests = box.audit().requests
    restored = import_links("links.parquet", settings)
    assert (restored.links, restored.known) == (3, 1)
    assert open_cases(settings) == []
    assert run(products(4)).written.requests == 0
    assert box.audit().requests == requests


def test_doubt_after_an_older_backups_doubt_comes_back(
    run: Run, settings: Settings, box: Sandbox
) -> None:
    """The backup's doubt was settled since, and its row has another one: that is kept, unsent."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    backup = copy_of_the_ledger()
    box.fail_next("error_after", times=0)
    run(products(1))
    box.fail_next("error_after", times=50)
    run(products(1, quantity=[2]), until=1)
    box.fail_next("error_after", times=0)
    [doubt] = open_cases(settings)
    lose_the_ledger()
    Path("ledger.db").write_bytes(backup)
    restored = import_links("links.parquet", settings)
    assert (restored.links, restored.needs_review) == (1, 1)
    [case] = open_cases(settings)
    assert (case.idempotency_key, case.state) == (doubt.idempotency_key, State.NEEDS_REVIEW)
    assert run(products(1, quantity=[2]), output="other.parquet").written.requests == 0


def test_recreated_link_in_doubt_comes_back(run: Run, settings: Settings, box: Sandbox) -> None:
    """What a person gave up after the backup stays given up, and its successor's doubt is kept."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    apply_at(settings, LaterClock(3600))
    backup = copy_of_the_ledger()
    recreate([open_cases(settings)[0].idempotency_key], settings)
    run(products(1), until=1)
    box.fail_next("error_after", times=0)
    [doubt] = open_cases(settings)
    lose_the_ledger()
    Path("ledger.db").write_bytes(backup)
    assert import_links("links.parquet", settings).needs_review == 1
    [case] = open_cases(settings)
    assert case.idempotency_key == doubt.idempotency_key


def test_what_a_backup_only_intended_was_sent_since(
    run: Run, settings: Settings, box: Sandbox
) -> None:
    """An intent of the backup that the output has in doubt is not sent as if it were new."""
    run(products(1), api_key=SecretStr("ic_sandbox_another_key"))  # a 401 for each attempt
    backup = copy_of_the_ledger()
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    box.fail_next("error_after", times=0)
    lose_the_ledger()
    Path("ledger.db").write_bytes(backup)
    assert import_links("links.parquet", settings).needs_review == 1
    assert run(products(1)).written.requests == 0


def test_importing_twice_changes_nothing(run: Run, settings: Settings) -> None:
    """What the ledger knows stays as it is."""
    run(products(5))
    before = {name: dump(name) for name in ("operation", "link", "row", "body")}
    restored = import_links("links.parquet", settings)
    assert (restored.links, restored.known) == (0, 5)
    assert {name: dump(name) for name in ("operation", "link", "row", "body")} == before


def by_hand(rows: list[dict[str, object]]) -> str:
    """Write links that somebody made by hand."""
    pacsv.write_csv(pa.Table.from_pylist(rows), "made.csv")
    return "made.csv"


def test_links_made_by_hand_are_taken_over(run: Run, settings: Settings, box: Sandbox) -> None:
    """Their rows send nothing; the catalog's content is theirs, so that a change is noticed."""
    made = by_hand(
        [
            {"sku": "000000", "link_id": "lnk_hand_0", "short_link": "https://in2carts.com/h0"},
            {"sku": "000001", "link_id": "lnk_hand_1", "short_link": ""},
        ]
    )
    assert import_links(made, settings, link_set="test", unique_key=["sku"]).links == 2
    result = run(products(3))
    assert result.written.requests == 1
    table = pq.read_table("links.parquet").to_pylist()
    assert [row["link_id"] for row in table[:2]] == ["lnk_hand_0", "lnk_hand_1"]
    assert [row["short_link"] for row in table[:2]] == ["https://in2carts.com/h0", None]
    assert [row["is_stale"] for row in table] == [False] * 3
    assert run(products(3)).written.requests == 0
    assert run(products(3, quantity=[4, 1, 1])).written.requests == 1
    assert run(products(3)).written.requests == 0  # back to what was made by hand
    assert pq.read_table("links.parquet")["link_id"][0].as_py() == "lnk_hand_0"


def test_content_of_a_hand_made_link_is_learned_once(run: Run, settings: Settings) -> None:
    """Two first runs at once leave the operation, its row and its body with the same content."""
    made = by_hand([{"sku": "000000", "link_id": "lnk_hand_0"}])
    import_links(made, settings, link_set="test", unique_key=["sku"])
    request = PlanRequest(catalog=products(1, quantity=[7]), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as late:
        run(products(1))
        run_blocking(lambda stop: apply_plan(late, settings, "links.parquet", stop=stop))
    [link] = dump("operation")
    assert dump("row")[0]["content_hash"] == link["content_hash"]
    body = dump("body")[0]["body"]
    assert isinstance(body, bytes)
    assert hashlib.sha256(body).digest() == link["content_hash"]


def test_missing_hand_made_link_is_reported(run: Run, settings: Settings) -> None:
    """A link whose row isn't in the catalog is kept, as any other."""
    made = by_hand([{"sku": "999999", "link_id": "lnk_hand"}])
    import_links(made, settings, link_set="test", unique_key=["sku"])
    run(products(1))
    [missing] = pq.read_table("links.missing.parquet").to_pylist()
    assert (missing["row_key"], missing["link_id"]) == ("999999", "lnk_hand")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"sku": "1", "link": "lnk_1"}], "no column 'link_id'"),
        ([{"sku": "1", "link_id": "lnk_1"}, {"sku": "2", "link_id": ""}], "Row 1 has no link id"),
        ([{"sku": "", "link_id": "lnk_1"}], "Row 0 has no unique key"),
        (
            [{"sku": "1", "link_id": "lnk_1"}, {"sku": "1", "link_id": "lnk_2"}],
            "Row 1 has the same key",
        ),
        ([{"sku": "1", "link_id": "https://in2carts.com/abc"}], "Row 0 has no link id"),
        ([{"sku": "1", "link_id": "in2carts.com/abc"}], "Row 0 has no link id"),
        ([{"sku": "1", "link_id": "lnk 1"}], "Row 0 has no link id"),
        ([{"sku": "1", "link_id": "lnk_1", "qr_code_id": "a b c"}], "Row 0 has no qr code id"),
        (
            [{"sku": "1", "link_id": "lnk_1"}, {"sku": "2", "link_id": "lnk_1"}],
            "Row 1 has the same link as row 0: lnk_1",
        ),
        (
            [
                {"sku": "1", "link_id": "lnk_1", "target_url": "https://shop.example/1"},
                {"sku": "2", "link_id": "lnk_1", "target_url": "https://shop.example/2"},
            ],
            "Row 1 has the same link as row 0: lnk_1",
        ),
    ],
)
def test_bad_rows_are_named(settings: Settings, rows: list[dict[str, object]], said: str) -> None:
    """Nothing is taken over from a table with a row that can't be."""
    made = by_hand(rows)
    with pytest.raises(CatalogError, match=said):
        import_links(made, settings, link_set="test", unique_key=["sku"])
    assert not Path("ledger.db").exists()


def test_link_that_leads_to_the_same_is_shared(run: Run, settings: Settings) -> None:
    """Two rows of one product have one link, also when they come in one after the other."""
    where = {"link_id": "lnk_1", "target_url": "https://shop.example/1"}
    made = by_hand([{"sku": sku, **where} for sku in ("1", "2")])
    for _ in range(2):
        import_links(made, settings, link_set="test", unique_key=["sku"])
    made = by_hand([{"sku": "3", **where}])
    assert import_links(made, settings, link_set="test", unique_key=["sku"]).links == 1


def test_link_of_another_row_in_the_ledger_is_refused(run: Run, settings: Settings) -> None:
    """A table made by hand takes no link away from a row that has it."""
    run(products(1))
    [link_id] = pq.read_table("links.parquet")["link_id"].to_pylist()
    made = by_hand([{"sku": "000007", "link_id": "lnk_7"}, {"sku": "000009", "link_id": link_id}])
    with pytest.raises(CatalogError, match=f"Row 1 has {link_id}, which is the link of row 000000"):
        import_links(made, settings, link_set="test", unique_key=["sku"])
    assert len(dump("row")) == 1


def test_another_target_is_refused(run: Run, settings: Settings) -> None:
    """Links of another project or base URL don't come in."""
    run(products(1))
    other = settings.model_copy(update={"project_id": "elsewhere"})
    with pytest.raises(RefusedError, match="of the project demo"):
        import_links("links.parquet", other)
    other = settings.model_copy(update={"base_url": "https://api.incarts.example"})
    with pytest.raises(RefusedError, match="links of http://"):
        import_links("links.parquet", other)
    pacsv.write_csv(pa.table({"sku": ["a"], "link_id": ["lnk_1"]}), "by-hand.csv")
    with pytest.raises(LedgerForeignError):
        import_links("by-hand.csv", other, link_set="s", unique_key=["sku"])


def test_edited_history_is_refused(run: Run, settings: Settings) -> None:
    """A body that doesn't have its hash would make every later comparison wrong."""
    run(products(1))
    table = pq.read_table("links.history.parquet")
    at = table.schema.get_field_index("body")
    edited = table.set_column(at, table.schema.field(at), pa.array(["{}"]))
    pq.write_table(edited, "links.history.parquet")
    lose_the_ledger()
    with pytest.raises(CatalogError, match="was changed"):
        import_links("links.parquet", settings)


def test_old_doubts_survive_a_second_import(run: Run, settings: Settings, box: Sandbox) -> None:
    """A doubt that needs review already is left as it is."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    apply_at(settings, LaterClock(3600))
    before = dump("operation")
    assert import_links("links.parquet", settings).known == 1
    assert dump("operation") == before


def disputed_link() -> str:
    """Dispute the link of the first row; return its id."""
    with opened("ledger.db") as connection:
        [(op_id, link_id)] = connection.execute(
            "SELECT op_id, link_id FROM row WHERE row_key = '000000'"
        ).fetchall()
    with once(Path("ledger.db")) as connection:
        dispute(connection, op_id, link_id, Clock().now())
    return str(link_id)


def copied_tables() -> str:
    """Keep the tables as they are published now; return the place of links.parquet."""
    Path("before").mkdir()
    for path in Path().glob("links*.parquet"):
        shutil.copy(path, "before")
    return "before/links.parquet"


@pytest.mark.parametrize("with_history", [True, False])
@pytest.mark.parametrize("published", ["before", "since"])
def test_import_settles_no_dispute(
    run: Run, settings: Settings, published: str, with_history: bool
) -> None:
    """The row stays held, whether the table was published before the dispute or since."""
    run(products(2))
    before = copied_tables()
    link = disputed_link()
    run(products(2))
    source = before if published == "before" else "links.parquet"
    if not with_history:
        Path(source).with_name("links.history.parquet").unlink()
    import_links(source, settings)
    [case] = open_cases(settings)
    assert case.reason == "link_disputed"
    assert run(products(2)).exit_code() == 3
    row, other = pq.read_table("links.parquet").to_pylist()
    assert (row["status"], row["link_id"], other["status"]) == ("in_doubt", link, "unchanged")


@pytest.mark.parametrize("with_history", [True, False])
@pytest.mark.parametrize("left", ["backup", "lost"])
def test_older_ledger_learns_of_a_dispute(
    run: Run, settings: Settings, left: str, with_history: bool
) -> None:
    """And holds the row, as the one that was lost did."""
    run(products(2))
    backup = copy_of_the_ledger()
    disputed_link()
    run(products(2))
    lose_the_ledger()
    if left == "backup":
        Path("ledger.db").write_bytes(backup)
    if not with_history:
        Path("links.history.parquet").unlink()
    elif left == "backup":
        import_links("links.parquet", settings)
    import_links("links.parquet", settings)
    assert run(products(2)).exit_code() == 3
    assert [row["status"] for row in pq.read_table("links.parquet").to_pylist()] == [
        "in_doubt",
        "unchanged",
    ]
    assert len(open_cases(settings)) == 1


def test_import_leaves_what_a_person_adopted(run: Run, settings: Settings) -> None:
    """A table that was published during the dispute disputes nothing again."""
    run(products(1))
    link = disputed_link()
    run(products(1))
    before = copied_tables()
    [case] = open_cases(settings)
    adopt(case.idempotency_key, link, settings, unchecked=True)
    import_links(before, settings)
    assert open_cases(settings) == []
    assert run(products(1)).exit_code() == 0


@pytest.mark.parametrize("published", ["before", "since"])
def test_import_brings_no_link_back_that_was_given_up(
    run: Run, settings: Settings, box: Sandbox, published: str
) -> None:
    """The row has none, and the next run makes one; nor does an older ledger keep it."""
    run(products(2))
    backup = copy_of_the_ledger()
    before = copied_tables()
    link = disputed_link()
    run(products(2))
    recreate([open_cases(settings)[0].idempotency_key], settings)
    if published == "since":
        run(products(2))
        lose_the_ledger()
        Path("ledger.db").write_bytes(backup)
    import_links(before if published == "before" else "links.parquet", settings)
    assert run(products(2)).exit_code() == 0
    table = pq.read_table("links.parquet")
    assert link not in table["link_id"].to_pylist()
    assert table["link_id"].null_count == 0
    assert box.audit().links == 3


def test_import_brings_no_link_back_that_moved(run: Run, settings: Settings) -> None:
    """It is the new key's alone, whatever a table from before says."""
    run(products(25))
    before = copied_tables()
    respelled = [str(i) if i == 3 else f"{i:06d}" for i in range(25)]
    run(products(25, sku=respelled), rekeyed=Rekeyed.MOVE)
    rows = dump("row", but=("changed_at",))
    import_links(before, settings)
    assert dump("row", but=("changed_at",)) == rows
    with opened("ledger.db") as connection:
        states = connection.execute(
            "SELECT row_key, state FROM operation WHERE row_key IN ('3', '000003') ORDER BY op_id"
        ).fetchall()
    assert states == [("000003", "moved"), ("3", "done")]


def test_corrected_id_is_no_alarm(settings: Settings) -> None:
    """A table made by hand that is imported again with another id says nothing about Incarts."""
    for link_id in ("lnk_wrong", "lnk_right"):
        made = by_hand([{"sku": "1", "link_id": link_id}])
        import_links(made, settings, link_set="test", unique_key=["sku"])
    assert ledger_overview(settings).alarms() == []


def test_what_made_nothing_is_not_held_by_an_import(
    run: Run, settings: Settings, box: Sandbox
) -> None:
    """A healthy ledger knows all that was sent: content that a 401 kept back may come back."""
    run(products(1), api_key=SecretStr("ic_sandbox_another_key"))
    run(products(1, quantity=[2]))
    import_links("links.parquet", settings)
    assert run(products(1)).exit_code() == 0
    assert open_cases(settings) == []
    assert (box.audit().links, box.audit().duplicates) == (2, 0)


def test_what_was_about_to_be_sent_is_not_held_by_an_import(run: Run, settings: Settings) -> None:
    """A process that was killed before it could record an attempt has sent nothing."""
    run(products(1), api_key=SecretStr("ic_sandbox_another_key"))
    [operation] = dump("operation")
    witness = Witness(settings.ledger)
    witness.keep_keys([str(operation["idempotency_key"])])
    witness.close()
    import_links("links.parquet", settings)
    assert open_cases(settings) == []
    assert run(products(1)).exit_code() == 0
