"""Answers that are not the request's: swapped, doubled, late, or of something else."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.api import client
from incarts_pipeline.settings import Settings
from tests.support.ledgers import ON_ONE_KIND, said
from tests.support.runs import Make, Run, products
from tests.support.swapping_server import SwappingServer, Trick, swapping

ROWS = 120

pytestmark = ON_ONE_KIND


def wrong(server: SwappingServer, table: pa.Table) -> list[str]:
    """Return the rows whose link the server made for another product."""
    made = {link_id: name for name, link_id in server.links().values()}
    return [
        f"{row['sku']} has {row['link_id']}, which is of {made.get(row['link_id'])}"
        for row in table.select(["sku", "link_id"]).to_pylist()
        if row["link_id"] and made.get(row["link_id"]) != f"Product {int(row['sku'])}"
    ]


@pytest.mark.parametrize(
    ("trick", "echoes"),
    [
        (Trick.DOUBLED, True),
        pytest.param(Trick.DOUBLED, False, marks=pytest.mark.slow),
        (Trick.LATE, True),
        (Trick.LATE, False),
        (Trick.SWAPPED, True),
        (Trick.SWAPPED, False),
        (Trick.SWAPPED_BODIES, True),
        (Trick.REFUSED, True),
        (Trick.PACED_TWICE, True),
    ],
)
def test_every_row_gets_its_own_link(run: Run, trick: Trick, echoes: bool) -> None:
    """Answers that are doubled, late or swapped are not believed: the replay brings the right one.

    One link is made for each row, and nothing is left in doubt.
    """
    with swapping(SwappingServer(trick=trick, echoes=echoes)) as server:
        result = run(products(ROWS), base_url=server.base_url)
    table = pq.read_table("links.parquet")
    assert wrong(server, table) == []
    assert set(table["status"].to_pylist()) == {"created"}
    assert len(server.made) == ROWS
    assert result.exit_code() == 0


def test_refusal_that_comes_twice_leaves_a_doubt(run: Run) -> None:
    """The second attempt made the link, whatever the first one's 429 says once more."""
    with swapping(SwappingServer(trick=Trick.PACED_TWICE)) as server:
        run(products(1), base_url=server.base_url, until=2)
    assert pq.read_table("links.parquet")["status"].to_pylist() == ["in_doubt"]
    assert len(server.made) == 1


@pytest.mark.parametrize("trick", [Trick.OTHER_PROJECT, Trick.OTHER_RETAILER])
@pytest.mark.parametrize("echoes", [True, False])
def test_link_of_something_else_is_never_taken(run: Run, trick: Trick, echoes: bool) -> None:
    """A link of another project or retailer is no link of the row, which stays in doubt."""
    with swapping(SwappingServer(trick=trick, echoes=echoes)) as server:
        run(products(4), base_url=server.base_url, until=4)
    table = pq.read_table("links.parquet")
    assert table["link_id"].null_count == 4
    assert set(table["status"].to_pylist()) <= {"in_doubt", "pending"}
    assert table["error_code"].drop_null().to_pylist()[0] == "foreign_content"


def test_these_tricks_deceive_whoever_believes_answers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rule, rows have the links of other products."""
    monkeypatch.setattr(client, "attribute", lambda answer, _: answer)
    with swapping(SwappingServer(trick=Trick.SWAPPED)) as server:
        run(products(ROWS), base_url=server.base_url)
    assert len(wrong(server, pq.read_table("links.parquet"))) > 10


def test_one_id_for_all_rows_is_one_rows_at_most(run: Run) -> None:
    """Who is answered with a link that another row has stays in doubt, whatever the echo."""
    with swapping(SwappingServer(trick=Trick.ONE_ID)) as server:
        run(products(4), base_url=server.base_url, until=4)
    table = pq.read_table("links.parquet")
    assert table["link_id"].null_count == 3
    assert sorted(table["status"].to_pylist())[1:] == ["in_doubt"] * 3
    assert set(table["error_code"].drop_null().to_pylist()) == {"link_of_another_row"}


def test_one_id_that_nothing_proves_is_nobodys(run: Run) -> None:
    """Without echo and content even the first row is held: any of them may be the right one.

    Who has it already is disputed; those that are answered at once don't get it.
    """
    with swapping(SwappingServer(trick=Trick.ONE_ID, echoes=False, tells=())) as server:
        run(products(4), base_url=server.base_url, until=4)
    table = pq.read_table("links.parquet")
    assert set(table["status"].to_pylist()) == {"in_doubt"}
    assert set(table["error_code"].to_pylist()) <= {"link_of_another_row", "link_disputed"}


def test_link_that_is_not_active_is_kept_and_told(run: Run, settings: Settings) -> None:
    """The row has its link, with a note; what proves it is in the ledger."""
    with swapping(SwappingServer(trick=Trick.DISABLED)) as server:
        assert run(products(2), base_url=server.base_url).exit_code() == 0
    for row in pq.read_table("links.parquet").to_pylist():
        assert row["status"] == "created"
        assert [problem["code"] for problem in row["problems"]] == ["not_active"]
    found = said(settings.ledger, "SELECT DISTINCT proof, status FROM link")
    assert found == [("echo+content", "disabled")]


def test_rows_that_lead_to_the_same_may_share_a_link(run: Run) -> None:
    """Equal products under two keys, one link: both keep it, and a note says so."""
    catalog = products(2, retailer_product_id=["1", "1"])
    with swapping(SwappingServer(trick=Trick.ONE_ID)) as server:
        assert run(catalog, base_url=server.base_url).exit_code() == 0
    rows = pq.read_table("links.parquet").to_pylist()
    assert [[problem["code"] for problem in row["problems"]] for row in rows] == [
        ["shared_link"],
        ["shared_link"],
    ]


def test_code_of_another_link_is_never_taken(run: Run, make: Make) -> None:
    """A QR code that says it belongs to another link is no code of the row."""
    with swapping(SwappingServer()) as server:
        run(products(2), base_url=server.base_url)
        server.trick = Trick.OTHER_LINK
        make(base_url=server.base_url, until=2)
    table = pq.read_table("qr_codes.parquet")
    assert table["qr_code_id"].null_count == 2
    assert set(table["error_code"].drop_null().to_pylist()) == {"foreign_content"}


@pytest.mark.slow
@pytest.mark.parametrize("trick", [Trick.DOUBLED, Trick.LATE, Trick.SWAPPED])
def test_a_thousand_rows(run: Run, trick: Trick) -> None:
    """Each has its own link after one run: what is sent again meets nobody else's answer."""
    with swapping(SwappingServer(trick=trick)) as server:
        result = run(products(1_000), base_url=server.base_url)
    table = pq.read_table("links.parquet")
    assert wrong(server, table) == []
    assert table["status"].to_pylist() == ["created"] * 1_000
    assert len(server.made) == 1_000
    assert result.exit_code() == 0
