"""Rows that left the catalog and are back under new keys: held, moved over, or made anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from incarts_pipeline.identity import key_digest
from incarts_pipeline.ledger import existing_ledger, open_engine, tables
from incarts_pipeline.ledger.history import entries_of
from incarts_pipeline.ledger.tables import drop_operations
from incarts_pipeline.maintenance import backup_ledger, open_cases, restore_ledger
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Action, Rekeyed
from incarts_pipeline.pipeline import apply_plan, plan_catalog, plan_saved
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.plan.plan_file import load_plan, save_plan
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write.options import WriteOptions
from tests.support.runs import Make, Run, products

N = 20


def respelled(n: int = N, first: int = 0, changed: int = 5) -> pa.Table:
    """Return `n` products, the keys of `changed` of them without their zeros."""
    skus = [str(i) if first <= i < first + changed else f"{i:06d}" for i in range(n)]
    return products(n, sku=skus)


def rows() -> list[dict[str, object]]:
    """Return links.parquet."""
    found: list[dict[str, object]] = pq.read_table("links.parquet").to_pylist()
    return found


def counts() -> dict[tuple[object, object], int]:
    """Count the rows of links.parquet by status and reason."""
    return dict(Counter((row["status"], row["reason"]) for row in rows()))


def planned(settings: Settings, catalog: object, **keywords: object) -> PlanRequest:
    """Return a request over a catalog of products."""
    return PlanRequest(
        catalog=catalog,
        link_set="test",
        unique_key=("sku",),
        **keywords,  # type: ignore[arg-type]
    )


def test_rekeyed_rows_are_held(run: Run, box: Sandbox, settings: Settings) -> None:
    """Night after night, until a person says what they are; the plan names three pairs."""
    run(products(N))
    with plan_catalog(planned(settings, respelled()), settings) as plan:
        [warning] = plan.figures.warnings
        assert "000000 → 0, 000001 → 1, 000002 → 2, …" in warning
        assert warning.startswith("5 new rows look re-keyed")
    for _ in range(2):
        assert run(respelled()).exit_code() == 0
        assert counts() == {("held", "looks_rekeyed"): 5, ("unchanged", "same"): 15}
    [problem] = next(row for row in rows() if row["sku"] == "3")["problems"]  # type: ignore[misc]
    assert "row 000003, which left the catalog" in problem["message"]
    assert box.audit().links == N


def test_held_rows_are_neither_new_nor_missing(run: Run, settings: Settings) -> None:
    """All keys spelled anew trip no guard, as nothing is made and nothing lost."""
    run(products(N))
    with plan_catalog(planned(settings, respelled(changed=N)), settings) as plan:
        assert (plan.figures.calls, list(plan.figures.refusals)) == (0, [])
    lost = pa.concat_tables([respelled(changed=2).slice(0, 2), products(N).slice(12)])
    with plan_catalog(planned(settings, lost), settings) as plan:
        [refusal] = plan.figures.refusals
        assert "go missing (10)" in refusal.message


def test_links_move_to_new_keys(run: Run, box: Sandbox, settings: Settings) -> None:
    """Each row has the link that it had, the old keys are gone, and both keep their history."""
    run(products(N))
    before = {row["content_hash"]: row["link_id"] for row in rows()}
    result = run(respelled(), rekeyed=Rekeyed.MOVE)
    assert (result.exit_code(), result.figures.missing) == (0, {})
    assert counts() == {("rekeyed", "rekeyed"): 5, ("unchanged", "same"): 15}
    assert {row["content_hash"]: row["link_id"] for row in rows()} == before
    assert {row["replaces_link_id"] for row in rows()} == {None}
    assert pq.read_table("links.missing.parquet").num_rows == 0
    view = existing_ledger(settings)
    told = {
        key: [(one.state.value, [link.in_use for link in one.links]) for one in found]
        for key in ("000003", "3")
        if (found := view.read(partial(entries_of, row_key=key)))
    }
    assert told == {"000003": [("moved", [False])], "3": [("done", [True])]}
    run(respelled())
    assert counts() == {("unchanged", "same"): N}
    assert box.audit().links == N


def test_keys_may_be_spelled_as_before_again(run: Run, box: Sandbox) -> None:
    """What moved away is held when it comes back, and moves back."""
    run(products(N))
    before = {row["content_hash"]: row["link_id"] for row in rows()}
    run(respelled(), rekeyed=Rekeyed.MOVE)
    run(products(N))
    assert counts()["held", "looks_rekeyed"] == 5
    run(products(N), rekeyed=Rekeyed.MOVE)
    assert counts()["rekeyed", "rekeyed"] == 5
    assert {row["content_hash"]: row["link_id"] for row in rows()} == before
    both = pa.concat_tables([products(N), respelled().slice(0, 5)])
    run(both)
    assert counts()["held", "lost_zeros"] == 4  # all but 0, which has none to lose
    run(both, accept=["lost_zeros"])
    assert counts() == {("unchanged", "same"): N + 1, ("created", "new"): 4}
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (N + 5, 0)


def test_other_rows_get_links_of_their_own(run: Run, box: Sandbox) -> None:
    """A person may know that they are new products all the same."""
    run(products(N))
    run(respelled(), rekeyed=Rekeyed.NEW)
    assert counts() == {("created", "new"): 5, ("unchanged", "same"): 15}
    assert box.audit().links == N + 5
    run(respelled())
    assert counts() == {("unchanged", "same"): N}


def test_rows_that_left_long_ago_count_too(run: Run, box: Sandbox) -> None:
    """A link that nobody uses is no reason to make another like it."""
    run(products(N))
    run(products(N).slice(2))
    run(respelled(changed=2))
    assert counts()["held", "looks_rekeyed"] == 2
    assert box.audit().links == N


@pytest.mark.parametrize(
    ("first", "later"),
    [(["a", "b"], ["c"]), (["a"], ["b", "c"]), (["a", "b"], ["c", "d"])],
)
def test_only_pairs_move(run: Run, box: Sandbox, first: list[str], later: list[str]) -> None:
    """Which of several rows of one content is which, nobody can tell: they stay held."""

    def alike(skus: list[str]) -> pa.Table:
        table = products(N)
        same = {"name": ["Alike"], "retailer_product_id": ["7"]}
        more = [products(1, sku=[sku], **same) for sku in skus]  # type: ignore[arg-type]
        return pa.concat_tables([table, *more])

    run(alike(first))
    run(alike(later), rekeyed=Rekeyed.MOVE)
    assert counts()["held", "looks_rekeyed"] == len(later)
    assert box.audit().links == N + len(first)


def test_qr_codes_move_with_their_link(run: Run, make: Make, box: Sandbox) -> None:
    """A link can't have a code of an identifier twice, so that the new key has the old's."""
    run(products(N))
    make()
    codes = {
        row["link_id"]: row["qr_code_id"] for row in pq.read_table("qr_codes.parquet").to_pylist()
    }
    run(respelled(), rekeyed=Rekeyed.MOVE)
    requests = box.audit().requests
    make()
    again = pq.read_table("qr_codes.parquet").to_pylist()
    assert {row["status"] for row in again} == {"unchanged"}
    assert {row["link_id"]: row["qr_code_id"] for row in again} == codes
    assert {row["row_key"] for row in again} >= {"0", "1", "000010"}
    assert box.audit().requests == requests


@pytest.mark.parametrize("older", [False, True])
def test_moved_links_can_be_restored(
    run: Run, settings: Settings, box: Sandbox, older: bool
) -> None:
    """From the published tables, into a new ledger or into a copy from before the move."""
    run(products(N))
    path = settings.ledger
    kept = path.read_bytes() if older else None
    run(respelled(), rekeyed=Rekeyed.MOVE)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if kept is not None:
        path.write_bytes(kept)
    import_links("links.parquet", settings)
    run(respelled())
    assert counts() == {("unchanged", "same"): N}
    assert pq.read_table("links.missing.parquet").num_rows == 0
    assert box.audit().links == N


def test_a_backup_from_before_the_move_makes_no_second_link(
    run: Run, box: Sandbox, settings: Settings
) -> None:
    """What it doesn't know of the new keys is held, although nothing was sent under them."""
    run(products(N))
    backup_ledger("backup.db", settings)
    run(respelled(), rekeyed=Rekeyed.MOVE)
    for published in Path().glob("links*.parquet"):
        published.unlink()
    assert restore_ledger("backup.db", settings).held == 5
    for decision in (Rekeyed.MOVE, Rekeyed.NEW):
        with plan_catalog(planned(settings, respelled(), rekeyed=decision), settings) as plan:
            assert (plan.figures.calls, len(plan.examples(Action.HOLD, n=9))) == (0, 5)
    assert run(respelled(), rekeyed=Rekeyed.MOVE).exit_code() == 3
    assert counts()["in_doubt", "needs_review"] == 5
    assert {case.reason for case in open_cases(settings)} == {"ledger_restored"}
    assert box.audit().links == N


def test_a_plan_file_with_moves_goes_on(run: Run, settings: Settings, box: Sandbox) -> None:
    """What its first run moved is put back beside what is still to be made."""
    run(products(N))
    catalog = pa.concat_tables([respelled(), products(N + 4).slice(N)])
    pq.write_table(catalog, "catalog.parquet")
    request = planned(settings, "catalog.parquet", rekeyed=Rekeyed.MOVE)
    with plan_catalog(request, settings) as plan:
        save_plan(plan, request, settings, "plan.incarts")

    def carried_out(limit: int | None) -> int:
        with plan_saved(load_plan("plan.incarts"), settings) as plan:
            options = WriteOptions(limit=limit)
            work = partial(apply_plan, plan, settings, "links.parquet", options=options)
            return run_blocking(lambda stop: work(stop=stop)).exit_code()

    assert (carried_out(2), carried_out(None)) == (4, 0)
    assert counts()["unchanged", "same"] == N + 2
    assert box.audit().links == N + 4


def test_a_key_that_may_have_been_sent_takes_no_link(
    run: Run, settings: Settings, box: Sandbox
) -> None:
    """What a restored ledger doesn't know may be the new key's own link: a person looks first."""
    run(products(N))
    run(respelled(changed=1), output="lost.parquet", rekeyed=Rekeyed.NEW)
    key = next(r["idempotency_key"] for r in pq.read_table("lost.parquet").to_pylist()
               if r["sku"] == "0")  # fmt: skip
    engine = open_engine(settings.ledger)
    with engine.begin() as connection:
        known = sa.select(tables.operation.c.op_id).where(tables.operation.c.idempotency_key == key)
        op_id = connection.scalar(known)
        for table in (tables.row, tables.link):
            connection.execute(sa.delete(table).where(table.c.op_id == op_id))
        drop_operations(connection, [op_id])
        connection.execute(sa.insert(tables.lost_key).values(digest=key_digest(key)))
    engine.dispose()
    for decision in (Rekeyed.MOVE, Rekeyed.NEW):
        run(respelled(changed=1), rekeyed=decision)
        assert counts()["in_doubt", "needs_review"] == 1
    assert box.audit().links == N + 1


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_row_that_another_run_moved_on_stays(
    run: Run, settings: Settings, box: Sandbox, which: str
) -> None:
    """A move whose rows have got other links since the plan was made is not made."""
    run(products(N))
    request = planned(settings, respelled(changed=1), rekeyed=Rekeyed.MOVE)
    with plan_catalog(request, settings) as plan:
        change = partial(run, output="other.parquet")
        if which == "old":
            change(products(N, quantity=[2, *[1] * (N - 1)]))
        else:
            change(respelled(changed=1), rekeyed=Rekeyed.NEW)
        apply: Callable[..., object] = partial(apply_plan, plan, settings, "links.parquet")
        run_blocking(lambda stop: apply(stop=stop))  # type: ignore[arg-type, return-value]
    [row] = [row for row in rows() if row["sku"] == "0"]
    assert (row["status"], row["link_id"] is None) == (
        ("pending", True) if which == "old" else ("created", False)
    )
    assert box.audit().links == N + 1
