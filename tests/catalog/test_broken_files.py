"""Files that are cut or garbled: two lines that say which file, and the row where one is known."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline import plan_links
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.settings import load_settings
from incarts_pipeline.text import Surface

HEADER = "sku,name\n"
OBJECTS = [json.dumps({"sku": str(n), "name": "N"}) for n in range(3_000)]
CSV = (HEADER + "".join(f"{n},name {n * n}\n" for n in range(9_000))).encode()
DOCUMENT = f"[{','.join(OBJECTS)}]".encode()
FEED = f"<rss><channel>{'<item><id>1</id></item>' * 900}</channel></rss>".encode()
LINK = {"name": "N", "retailer": "walmart", "intent": "add_to_cart"} | {
    "products": {"retailer_product_id": {"column": "sku"}}
}
NOISE = random.Random(17).randbytes(4_000)


def parquet() -> bytes:
    """A Parquet file of some length."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"sku": [str(n * n) for n in range(20_000)]}), sink)
    return bytes(sink.getvalue())


def deep(levels: int) -> bytes:
    """An object that holds objects."""
    return b'{"a":' * levels + b"1" + b"}" * levels


# By the file's name its bytes, and the row that is told.
BROKEN: dict[str, tuple[bytes, int | None]] = {
    "half.parquet": (parquet()[:9_000], None),
    "noise.parquet": (NOISE, None),
    "empty.parquet": (b"", None),
    "garbled.parquet": (parquet()[:3_000] + NOISE + parquet()[7_000:], None),
    "short.csv": ((HEADER + "0,a\n1\n2,c\n").encode(), 1),
    "long.csv": ((HEADER + "0,a\n1,b,c\n2,c\n").encode(), 1),
    "late.csv": (CSV + b"1\n", 9_000),
    "fat.csv": (CSV + b"a" * 9_000_000 + b",b\n3,c\n", 9_000),
    "fat first.csv": (HEADER.encode() + b"a" * 9_000_000 + b",b\n3,c\n", 0),
    "fat header.csv": (b"a" * 5_000_000, None),
    "noise.csv": (NOISE, None),
    "cut.csv.gz": (gzip.compress(CSV)[:-40], None),
    "noise.csv.gz": (NOISE, None),
    "cut.csv.bz2": (bz2.compress(CSV)[:-40], None),
    "cut.csv.zst": (pa.compress(CSV, codec="zstd", asbytes=True)[:-40], None),
    "noise.jsonl": (NOISE, None),
    "nonsense.jsonl": (b'{"sku": "1"}\n}{ no\n{"sku": "2"}\n', 1),
    "cut.jsonl": (b'{"sku": "1"}\n{"sku": "', 1),
    "deep.jsonl": (b'{"sku": "1"}\n' + deep(20_000) + b"\n", None),
    "open.jsonl": (b'{"sku": "1"}\n' + b'{"a":[' * 20_000 + b"\n", None),
    "cut.jsonl.gz": (gzip.compress("\n".join(OBJECTS).encode())[:-40], None),
    "cut.json": (DOCUMENT[:-500], None),
    "noise.json": (b"[" + NOISE, 0),
    "deep.json": (b'[{"a": 1},' + deep(20_000) + b"]", 1),
    "open.json": (b"[" * 20_000, None),
    "cut.json.gz": (gzip.compress(DOCUMENT)[:-40], None),
    "cut.xml": (FEED[:-500], None),
    "noise.xml": (NOISE, None),
    "cut.xml.gz": (gzip.compress(FEED)[:-40], None),
    "noise.xlsx": (NOISE, None),
    "cut.xlsx": (b"PK\x03\x04" + NOISE, None),
    "empty.xlsx": (b"", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told(tmp_path: Path, name: str) -> None:
    """By its name, in words of ours, with something to do; whatever its library raises."""
    content, row = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        for _ in open_catalog(path).batches():
            pass
    error = caught.value
    assert name in error.message
    assert error.fix
    assert "\n" not in str(error)
    assert error.row == row
    if row is not None and not name.startswith("noise"):
        assert f"Row {row} of " in error.message or f" {row + 1} of {path} " in error.message
    with pytest.raises(CatalogError) as planned:
        plan_links(path, link_set="test", unique_key="sku")
    assert planned.value.message == error.message


@pytest.mark.parametrize(
    ("name", "content", "spelled", "reading"),
    [
        ("a.csv", b'sku,name\n1,a 5" x 7" box\n2,"b" c\n', 'quote="none"', {"quote": "none"}),
        ("b.csv", b"sku;name\n1;a,b\n2;c\n", 'delimiter=";"', {"delimiter": ";"}),
        ("c.json", b'{"a": [{"sku": "1"}], "b": [{"sku": "2"}]}', 'records="a"', {"records": "a"}),
        ("d.txt", b"sku,name\n1,a\n", "open_catalog's format", {"format": "csv"}),
    ],
)
def test_advice_on_reading_can_be_followed(
    tmp_path: Path, name: str, content: bytes, spelled: str, reading: dict[str, str]
) -> None:
    """What each way in says is there: `plan_links` and a component have a mapping's `read`."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        for _ in open_catalog(path).batches():
            pass
    (option, value) = next(iter(reading.items()))
    assert f"--{option}" in str(caught.value)
    in_yaml = caught.value.told(Surface.DAGSTER)
    assert f'`read: {{{option}: "{value}"}}` in the mapping' in in_yaml or (
        f"the mapping's read.{option}" in in_yaml
    )
    with pytest.raises(CatalogError) as planned:
        plan_links(path, link_set="test", unique_key="sku")
    told = str(planned.value)
    assert spelled in told
    assert f"open_catalog(path, {spelled})" in told or "the mapping's read" in told
    mapping = {"link_set": "t", "unique_key": ["sku"], "read": reading, "link": LINK}
    settings = load_settings(project_id="p")
    for frame in (open_catalog(path, **reading), path):  # type: ignore[arg-type]
        plan_links(frame, mapping, settings=settings).close()


def test_nested_values_of_a_usual_depth_are_read(tmp_path: Path) -> None:
    """Only what no product has is refused; brackets within texts are none."""
    path = tmp_path / "a.jsonl"
    lists = json.dumps({"a": "[" * 500, "b": [[n] for n in range(300)]}).encode()
    path.write_bytes(lists + b"\n" + lists + b"\n")
    assert sum(batch.num_rows for batch in open_catalog(path).batches()) == 2
