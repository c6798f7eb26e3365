"""Answers that are not the request's: swapped, doubled, late, or of something else."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.api import client
from tests.support.runs import Run, products
from tests.support.swapping_server import SwappingServer, Trick, swapping

ROWS = 120


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


@pytest.mark.parametrize("trick", [Trick.OTHER_PROJECT, Trick.OTHER_RETAILER])
@pytest.mark.parametrize("echoes", [True, False])
def test_link_of_something_else_is_never_taken(run: Run, trick: Trick, echoes: bool) -> None:
    """A link of another project or retailer is no link of the row, which stays in doubt."""
    with swapping(SwappingServer(trick=trick, echoes=echoes)) as server:
        run(products(4), base_url=server.base_url, max_duration=0.5)
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
