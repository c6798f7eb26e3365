"""Parquet catalogs and where files are found: folders, globs, partitions, object stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_a_file_is_read_again_and_in_batches(tmp_path: Path) -> None:
    """A file can be read as often as one likes, in batches of at most the rows asked for."""
    file = write(tmp_path / "a.parquet", sku=[f"{i:04}" for i in range(1000)])
    catalog = open_catalog(file, batch_rows=300)
    for _ in range(2):
        batches = list(catalog.batches())
        assert [row["sku"] for b in batches for row in b.to_pylist()] == [
            f"{i:04}" for i in range(1000)
        ]
        assert max(batch.num_rows for batch in batches) == 300
    assert catalog.reopenable
    assert open_catalog(catalog) is catalog


def test_partitions_are_text_columns(tmp_path: Path) -> None:
    """Partition values keep their zeros, and an absent one is null."""
    write(tmp_path / "store=0045" / "day=2026-01-02" / "a.parquet", sku=["1"])
    write(tmp_path / "store=__HIVE_DEFAULT_PARTITION__" / "day=x%2Fy" / "a.parquet", sku=["2"])
    expected = [
        {"sku": "1", "store": "0045", "day": "2026-01-02"},
        {"sku": "2", "store": None, "day": "x/y"},
    ]
    assert rows_of(tmp_path) == expected
    assert rows_of(f"{tmp_path}/*/*/*.parquet") == expected
    write(tmp_path / "store=0046" / "a.parquet", sku=["1"], store=["0046"])
    with pytest.raises(CatalogError, match="'store' both as a column and in"):
        open_catalog(tmp_path).require(["store"])
    assert [row["sku"] for row in rows_of(tmp_path)] == ["1", "1", "2"]


def test_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    """Columns are matched by name and widened without loss, whichever library wrote the file."""
    write(tmp_path / "1.parquet", sku=pa.array(["a"], pa.large_string()), n=pa.array([1], "int32"))
    write(tmp_path / "2.parquet", n=[2**40], sku=pa.array(["b"]).dictionary_encode())
    write(tmp_path / "3.parquet", sku=pa.nulls(1), new=["x"])
    assert rows_of(tmp_path) == [
        {"sku": "a", "n": 1, "new": None},
        {"sku": "b", "n": 2**40, "new": None},
        {"sku": None, "n": None, "new": "x"},
    ]
    write(tmp_path / "4.parquet", sku=[1.0])
    catalog = open_catalog(tmp_path)
    assert catalog.schema.names == ["n", "new"]  # no reason to stop where nobody maps it
    assert [row["n"] for row in rows_of(catalog)] == [1, 2**40, None, None]
    with pytest.raises(CatalogError, match=r"'sku' is string in .*1.parquet and double in") as e:
        catalog.require(["n", "sku"])
    assert e.value.column == "sku"


def test_unmarked_bytes(tmp_path: Path) -> None:
    """Bytes that old writers left unmarked are text when they are UTF-8; others stay bytes."""
    file = write(tmp_path / "a.parquet", sku=["é".encode(), None], image=[b"\xff\xd8", b"\x00"])
    schema = open_catalog(file).schema
    assert schema == pa.schema([("sku", pa.string()), ("image", pa.binary())])
    assert rows_of(file)[0] == {"sku": "é", "image": b"\xff\xd8"}
    late = write(tmp_path / "b.parquet", sku=[b"ok"] * 2000 + [b"\xff"])
    with pytest.raises(CatalogError, match=r"Row 2000 of .* 'sku' that are no UTF-8") as caught:
        rows_of(late)
    assert (caught.value.row, caught.value.column) == (2000, "sku")


def test_wrong_utf8_is_found(tmp_path: Path) -> None:
    """Text that isn't UTF-8, which Parquet doesn't check, is named by row and column."""
    wrong = pa.array([b"ok"] * 70_000 + [b"\xff"]).view(pa.string())
    file = write(tmp_path / "a.parquet", sku=wrong)
    with pytest.raises(CatalogError) as caught:
        rows_of(file)
    assert (caught.value.row, caught.value.column) == (70_000, "sku")


def test_wrong_utf8_inside_of_others_is_found(tmp_path: Path) -> None:
    """Also in a list, where it isn't the only text that is none, by the first row."""
    texts = pa.array([b"ok"] * 40 + [b"\xff"] * 3).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 0, 39, 42, 43], pa.int32()), texts)
    with pytest.raises(CatalogError) as caught:
        rows_of(write(tmp_path / "a.parquet", skus=lists))
    assert (caught.value.row, caught.value.column) == (2, "skus")


def test_nested_and_odd_types_become_plain(tmp_path: Path) -> None:
    """Views, large and dictionary types become the few plain ones, inside of others as well."""
    kind = pa.struct([("l", pa.large_list(pa.large_string()))])
    file = write(tmp_path / "a.parquet", s=pa.array([{"l": ["x"]}], kind))
    assert open_catalog(file).schema.field("s").type == pa.struct([("l", pa.list_(pa.string()))])
    assert rows_of(file) == [{"s": {"l": ["x"]}}]


def test_globs(tmp_path: Path) -> None:
    """A star stays in its folder, two cross folders, and a name with brackets is still found."""
    for name in ("a1.csv", "a2.csv", "b.csv", "deep/a3.csv", "x[1].csv", "_tmp/a4.csv", ".a.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"name\n{name}\n")

    def names(pattern: str) -> list[str]:
        return [row["name"] for row in rows_of(f"{tmp_path}/{pattern}")]

    assert names("a*.csv") == ["a1.csv", "a2.csv"]
    assert names("a?.csv") == ["a1.csv", "a2.csv"]
    assert names("a[!1].csv") == ["a2.csv"]
    assert names("**/a*.csv") == ["a1.csv", "a2.csv", "deep/a3.csv"]
    assert names("*/a*.csv") == ["deep/a3.csv"]
    assert names("x[1].csv") == ["x[1].csv"]
    with pytest.raises(CatalogError, match="No file matches"):
        names("c*.csv")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """Missing, empty and unknown files are one clear sentence with the fix."""
    write(tmp_path / "catalog.parquet", a=[1])
    with pytest.raises(CatalogError, match=r'Did you mean "catalog\.parquet"'):
        open_catalog(tmp_path / "catalgo.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="holds no Parquet"):
        open_catalog(tmp_path / "empty")
    (tmp_path / "book.sas7bdat").write_bytes(b"PK")
    with pytest.raises(CatalogError, match="can't be told from its name"):
        open_catalog(tmp_path / "book.sas7bdat")
    (tmp_path / "zero.parquet").touch()
    with pytest.raises(CatalogError, match=r"zero.parquet can't be read"):
        open_catalog(tmp_path / "zero.parquet")
    (tmp_path / "two.csv").write_text("a\n1\n")
    with pytest.raises(CatalogError, match="several kinds: csv, parquet"):
        open_catalog(f"{tmp_path}/[ct]*.[cp]*")
    with pytest.raises(CatalogError, match=r'as text: "s3://bucket/a\.csv"'):
        open_catalog(Path("s3://bucket/a.csv"))
    with pytest.raises(CatalogError, match="can't be read from https://"):
        open_catalog("https://example.com/a.csv")


def test_a_said_format_beats_the_name(tmp_path: Path) -> None:
    """Files whose names tell nothing are read as what they are said to be."""
    (tmp_path / "000000_0").write_text("a\n1\n")
    assert rows_of(tmp_path / "000000_0", format="csv") == [{"a": "1"}]
    assert rows_of(tmp_path, format="csv") == [{"a": "1"}]


@pytest.mark.parametrize("mark", ["a/_delta_log/0.json", "metadata/v1.metadata.json", ".hoodie/x"])
def test_table_formats_are_not_read_as_plain_files(tmp_path: Path, mark: str) -> None:
    """A Delta, Iceberg or Hudi folder also holds rows that were deleted, so it is refused."""
    write(tmp_path / "a.parquet", a=[1])
    (tmp_path / mark).parent.mkdir(parents=True)
    (tmp_path / mark).touch()
    with pytest.raises(CatalogError, match="hold rows that were deleted") as caught:
        open_catalog(tmp_path)
    assert caught.value.fix


def test_file_uris(tmp_path: Path) -> None:
    """A file URI is its path, with blanks as they come or escaped."""
    file = write(tmp_path / "a b.parquet", a=[1])
    assert rows_of(f"file://{file}") == rows_of(f"file://{file}".replace(" ", "%20")) == [{"a": 1}]


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("cat", [{"sku": "01", "store": "0045"}, {"sku": "01", "store": "0046"}]),
        ("cat/*/*.parquet", [{"sku": "01", "store": "0045"}, {"sku": "01", "store": "0046"}]),
        ("cat/store=0045/a.parquet", [{"sku": "01"}]),
        ("a.csv", [{"sku": "01", "n": "2"}]),
    ],
)
def test_object_store(bucket: str, path: str, rows: list[dict[str, str]]) -> None:
    """Files, folders and globs on S3 are read like local ones."""
    catalog = open_catalog(f"s3://shop/{path}{bucket}")
    assert [row for batch in catalog.batches() for row in batch.to_pylist()] == rows
    assert catalog.name == f"s3://shop/{path}"


def test_object_store_errors_hide_secrets(bucket: str) -> None:
    """What fails on S3 is said with the place, never with keys that stood in the URI."""
    with pytest.raises(CatalogError, match=r"There is no catalog s3://shop/no.csv") as caught:
        open_catalog(f"s3://AKIDEXAMPLE:SECRETVALUE@shop/no.csv{bucket}")
    assert "SECRETVALUE" not in f"{caught.value!r}"
    with pytest.raises(CatalogError, match="can't be read: Missing bucket") as caught:
        open_catalog(f"s3://AKIDEXAMPLE:SECRETVALUE@/no.csv{bucket}")
    assert "SECRETVALUE" not in f"{caught.value!r}"
    assert caught.value.__cause__ is None


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A refusal by the file system is one sentence with the fix."""
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n")
    file.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)  # root may read everything
    try:
        with pytest.raises(CatalogError, match="Permission denied") as caught:
            open_catalog(file)
    finally:
        os.seteuid(user)
    assert "that you may read it" in str(caught.value)


def test_no_cut_is_a_shorter_catalog(tmp_path: Path) -> None:
    """Wherever a Parquet file is cut, it is refused: its footer comes last."""
    file = write(tmp_path / "a.parquet", sku=[f"{i:04}" for i in range(1000)])
    whole = file.read_bytes()
    for at in {*range(0, len(whole), len(whole) // 50), *range(len(whole) - 20, len(whole))}:
        file.write_bytes(whole[:at])
        with pytest.raises(CatalogError, match="can't be read: "):
            rows_of(file)
