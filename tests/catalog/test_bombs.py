"""Files that are small and stand for a lot: each ends in an error, in little memory."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.catalog import json_lines, open_catalog, width
from incarts_pipeline.errors import CatalogError

WIDE = {f"k{n}": 1 for n in range(6_000)}
ATTRIBUTES = " ".join(f'{k}="1"' for k in WIDE)
NAMES = range(5_100)


def text(content: str) -> Callable[[Path], object]:
    """Return what writes a text."""
    return lambda path: path.write_text(content)


TOO_WIDE = {
    "keys.jsonl": text(json.dumps(WIDE) + "\n"),
    "inside.jsonl": text(json.dumps({"sku": "1", "a": [{"b": WIDE}]}) + "\n"),
    "over lines.jsonl": text("".join(f'{{"k{n}": 1}}\n' for n in NAMES)),
    "keys.json": text(json.dumps([{"sku": "1"}, WIDE])),
    "over records.json": text(json.dumps([{f"k{n}": 1} for n in NAMES])),
    "header.csv": text(",".join(WIDE) + "\n"),
    "elements.xml": text(f"<r>{'<i>' + ''.join(f'<{k}>1</{k}>' for k in WIDE) + '</i>'}</r>"),
    "over records.xml": text(
        f"<rss><channel>{''.join(f'<item><k{n}>1</k{n}></item>' for n in NAMES)}</channel></rss>"
    ),
    "attributes.xml": text(f"<rss><channel><item {ATTRIBUTES}><a>1</a></item></channel></rss>"),
    "columns.parquet": lambda path: pq.write_table(pa.table({k: [1] for k in WIDE}), path),
}


@pytest.mark.parametrize("name", TOO_WIDE)
def test_too_many_columns_are_refused(name: str) -> None:
    """Wherever they are named, the error has the bound and how to raise it."""
    TOO_WIDE[name](Path(name))
    with pytest.raises(CatalogError, match=r"more than 5,000 columns.*max_columns") as caught:
        for _ in open_catalog(name).batches():
            pass
    assert name in caught.value.message


def test_the_bound_can_be_raised() -> None:
    """A table that is that wide is read once somebody says so."""
    Path("wide.jsonl").write_text(json.dumps(WIDE) + "\n")
    assert len(open_catalog("wide.jsonl", max_columns=6_000).schema) == 6_000


def test_lists_of_objects_are_not_wide() -> None:
    """A long list has few names, however often they are there."""
    variants = [{"id": str(n), "price": n} for n in range(9_000)]
    Path("long.jsonl").write_text(json.dumps({"sku": "1", "variants": variants}) + "\n")
    assert open_catalog("long.jsonl").schema.names == ["sku", "variants"]


def test_sparse_lines_are_parsed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is parsed at once has a bounded number of cells; the rows are the same."""
    lines = [{"sku": str(n), f"k{n % 300}": n} for n in range(4_000)]
    Path("sparse.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole = pa.Table.from_batches(open_catalog("sparse.jsonl").batches())
    cells = []
    parse = json_lines._read_json

    def counted(block: json_lines.Block, *rest: object) -> pa.Table:
        table = parse(block, *rest)  # type: ignore[arg-type]
        cells.append(table.num_rows * table.num_columns)
        return table

    monkeypatch.setattr(json_lines, "_read_json", counted)
    monkeypatch.setattr("incarts_pipeline.catalog.json_blocks.CELLS", 20_000)
    parts = pa.Table.from_batches(open_catalog("sparse.jsonl").batches())
    assert max(cells) <= 20_000 < width.CELLS
    assert parts.combine_chunks().equals(whole.combine_chunks())
    assert parts["sku"].to_pylist() == [line["sku"] for line in lines]


def test_fields_of_several_types_are_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by reading the block once for each of them."""
    first, second = (json.dumps(dict.fromkeys([*WIDE][:900], one)) for one in (1, "x"))
    Path("mixed.jsonl").write_text(f'{{"sku": "1"}}\n{first}\n{second}\n')
    parses = []
    parse = json_lines._read_json

    def counted(*given: object) -> pa.Table:
        parses.append(1)
        return parse(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(json_lines, "_read_json", counted)
    found = open_catalog("mixed.jsonl")
    assert found.schema.names == ["sku"]
    assert len(found.faults) == 900
    assert "Line 3 of mixed.jsonl has text in 'k7', which was a number" in str(found.faults["k7"])
    assert len(parses) < 10


@pytest.mark.parametrize("digits", [5_000, 600_000])
def test_a_number_without_end_is_refused(digits: int) -> None:
    """The parser of documents crashes on a number that Python wouldn't make."""
    Path("long.json").write_text(f'[{{"sku": "1", "n": 1{"1" * digits}}}]')
    Path("long.jsonl").write_text(f'{{"sku": "1", "n": 1{"1" * digits}}}\n')
    with pytest.raises(CatalogError, match="more than 1,000 digits"):
        open_catalog("long.json")
    assert open_catalog("long.jsonl").schema.names == ["sku"]


ROW = '<row r="{0}"><c r="{1}{0}" t="inlineStr"><is><t>x</t></is></c></row></sheetData>'


def workbook(path: Path, *, last: str = "", sheet: bytes | None = None) -> None:
    """Write a workbook whose sheet has one more row, or is another one."""
    book = openpyxl.Workbook()
    book.active.append(["sku", "name"])  # type: ignore[union-attr]
    book.active.append(["1", "a"])  # type: ignore[union-attr]
    book.save("plain.xlsx")
    with zipfile.ZipFile("plain.xlsx") as plain, zipfile.ZipFile(path, "w", 8) as made:
        for part in plain.infolist():
            content = plain.read(part)
            if "sheet1" in part.filename:
                content = sheet or content.replace(b"</sheetData>", last.encode())
            made.writestr(part.filename, content)


def lying(path: Path) -> None:
    """Write a workbook that says of a sheet of 100 MB that it has a thousand bytes."""
    workbook(path, sheet=b"<worksheet><sheetData>" + b" " * 100_000_000)
    raw = bytearray(path.read_bytes())
    at = raw.find(b"xl/worksheets/sheet1.xml", raw.find(b"PK\x01\x02")) - 46
    raw[at + 24 : at + 28] = struct.pack("<I", 1_000)
    path.write_bytes(raw)


def packed(path: Path, start: bytes) -> None:
    """Write 100 MB of one letter behind a start, in some 100 kB."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(100):
            file.write(b"a" * 1_000_000)


ENTITIES = "".join(f'<!ENTITY e{n} "' + f"&e{n - 1};" * 10 + '">' for n in range(1, 10))
BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "far.xlsx": (lambda p: workbook(p, last=ROW.format(1_048_576, "XFD")), "1,048,576 rows and 16"),
    "large.xlsx": (lambda p: workbook(p, sheet=b" " * 100_000_000), "unpacks to 100,"),
    "lying.xlsx": (lying, "larger than it says"),
    "line.csv.gz": (lambda p: packed(p, b"sku,name\n"), "longer than 4,194,304 bytes"),
    "header.csv.gz": (lambda p: packed(p, b""), "header"),
    "line.jsonl.gz": (lambda p: packed(p, b'{"sku": "'), "8,388,608 bytes"),
    "record.json.gz": (lambda p: packed(p, b'[{"sku": "'), "end of a record within"),
    "text.xml.gz": (lambda p: packed(p, b"<rss><channel><item><a>"), "too long"),
    "entities.xml": (
        text(f'<!DOCTYPE r [<!ENTITY e0 "lol">{ENTITIES}]><rss><item><a>&e9;</a></item></rss>'),
        "amplification|entities of its own",
    ),
    "deep.xml": (text("<rss>" + "<a>" * 100_000), "depth"),
    "attribute.xml": (text(f'<rss><item a="{"x" * 20_000_000}"/></rss>'), "limit"),
}
CHILD = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError
for name in sys.argv[1:]:
    try:
        for _ in open_catalog(name).batches():
            pass
        told = "read"
    except CatalogError as error:
        told = str(error)
    print(json.dumps([name, told]), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_text_that_is_repeated_is_read_in_parts(kind: pa.DataType) -> None:
    """A megabyte that stands in each of 20,000 rows would be 20 GB at once."""
    values = pa.array(["x" * 1_000_000, "y"], pa.string()).cast(kind)
    some = pa.array([0] * 20_000 + [1], pa.int32())
    table = pa.table(
        {"sku": map(str, range(20_001)), "a": pa.DictionaryArray.from_arrays(some, values)}
    )
    pq.write_table(table, "repeated.parquet", store_schema=False)
    assert Path("repeated.parquet").stat().st_size < 2_000_000
    bounded = CHILD.replace(
        "for _ in open_catalog(name).batches():",
        "for _, _ in zip(range(3), open_catalog(name).batches()):",
    )
    ran = subprocess.run(
        [sys.executable, "-c", bounded, "repeated.parquet"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert json.loads(ran.stdout or "[]") == ["repeated.parquet", "read"], ran.stderr[-2_000:]


def test_a_cell_has_a_bound() -> None:
    """The error has row and column, wherever the text is, and the bound can be raised."""
    for name, values in {
        "plain": ["a", "x" * 2_000],
        "repeated": ["a"] * 70_000 + ["x" * 2_000],
    }.items():
        pq.write_table(pa.table({"a": values}), f"{name}.parquet")
        with pytest.raises(
            CatalogError, match=r"more than 1,000 bytes in 'a'.*max_line_bytes"
        ) as caught:
            list(open_catalog(f"{name}.parquet", max_line_bytes=1_000).batches())
        assert (caught.value.row, caught.value.column) == (len(values) - 1, "a")
        assert sum(b.num_rows for b in open_catalog(f"{name}.parquet").batches()) == len(values)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_bombs_end_in_little_memory() -> None:
    """In a process that would be killed if one of them was unpacked."""
    for name, (write, _) in BOMBS.items():
        write(Path(name))
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, *BOMBS], capture_output=True, text=True, timeout=250
    )
    told = dict(json.loads(line) for line in ran.stdout.splitlines())
    assert [*told] == [*BOMBS], ran.stderr[-2_000:]
    for name, (_, said) in BOMBS.items():
        assert any(one in told[name] for one in said.split("|")), f"{name}: {told[name]}"
