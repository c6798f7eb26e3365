"""Fingerprints: a catalog whose files change while it is read is no catalog."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

ROWS = 200_000  # several blocks and batches


def csv(folder: Path, name: str = "a.csv", item: str = "500") -> Path:
    """Write a CSV whose rows all have one item; every file has the same size."""
    file = folder / name
    lines = (f"{i:07d},Product with a long name {i:07d},{item}\n" for i in range(ROWS))
    file.write_text("sku,title,item\n" + "".join(lines))
    return file


def jsonl(folder: Path, name: str = "a.jsonl", item: str = "500") -> Path:
    """Write JSON lines whose rows all have one item."""
    file = folder / name
    lines = (f'{{"sku": "{i:07d}", "item": "{item}"}}\n' for i in range(ROWS))
    file.write_text("".join(lines))
    return file


def parquet(folder: Path, name: str = "a.parquet", item: str = "500") -> Path:
    """Write a Parquet file whose rows all have one item, in several row groups."""
    file = folder / name
    table = pa.table({"sku": [f"{i:07d}" for i in range(ROWS)], "item": [item] * ROWS})
    pq.write_table(table, file, row_group_size=20_000)
    return file


def in_place(write: Callable[..., Path], file: Path) -> None:
    """Write a file anew where it is."""
    write(file.parent, file.name, "501")


def replaced(write: Callable[..., Path], file: Path) -> None:
    """Write a file of the same size and times beside, and rename it into place."""
    was = file.stat()
    new = write(file.parent, f"_new{file.suffix}", "501")
    os.utime(new, ns=(was.st_atime_ns, was.st_mtime_ns))
    new.replace(file)


def grown(write: Callable[..., Path], file: Path) -> None:
    """Append to a file as its writer would."""
    with file.open("ab") as more:
        more.write(b"0,0,0\n")


def removed(write: Callable[..., Path], file: Path) -> None:
    """Delete a file."""
    file.unlink()


def joined_by_another(write: Callable[..., Path], file: Path) -> None:
    """Add a file to the folder."""
    write(file.parent, f"b{file.suffix}")


@pytest.mark.parametrize("write", [csv, jsonl, parquet])
@pytest.mark.parametrize("change", [in_place, replaced, grown, removed, joined_by_another])
def test_change_while_it_is_read(
    tmp_path: Path, write: Callable[..., Path], change: Callable[..., None]
) -> None:
    """Whatever becomes of a file after the first batch, the reading ends in an error about it."""
    file = write(tmp_path)
    batches = open_catalog(tmp_path, batch_rows=1_000).batches()
    next(batches)
    change(write, file)
    with pytest.raises(CatalogError, match=r"changed after its reading began: .*Nothing was sent"):
        list(batches)


@pytest.mark.parametrize("write", [csv, jsonl, parquet])
def test_change_before_the_first_row(tmp_path: Path, write: Callable[..., Path]) -> None:
    """A catalog is what it was when it was opened: its columns are known from then."""
    file = write(tmp_path)
    catalog = open_catalog(file)
    file.write_bytes(b"")
    with pytest.raises(CatalogError, match=f"{file.name} was written to"):
        list(catalog.batches())


def test_unchanged_files_are_read_as_often_as_one_likes(tmp_path: Path) -> None:
    """Reading changes nothing, and neither does a file that is no part of the catalog."""
    csv(tmp_path)
    catalog = open_catalog(tmp_path)
    for _ in range(2):
        assert sum(batch.num_rows for batch in catalog.batches()) == ROWS
        (tmp_path / "README.md").write_text("new")
        (tmp_path / "_SUCCESS").touch()
    assert catalog.fingerprint
    catalog.fingerprint.check()


def test_link_to_another_file(tmp_path: Path) -> None:
    """A symbolic link is as good as what it points to: turned to another file, it changed."""
    latest = tmp_path / "latest.csv"
    latest.symlink_to(csv(tmp_path, "monday.csv"))
    batches = open_catalog(latest, batch_rows=1_000).batches()
    next(batches)
    latest.unlink()
    latest.symlink_to(csv(tmp_path, "tuesday.csv"))
    with pytest.raises(CatalogError, match=r"latest\.csv was written to"):
        list(batches)


def test_how_many_files_changed(tmp_path: Path) -> None:
    """The first of the changed files is named, the others are counted."""
    files = [csv(tmp_path, f"{n}.csv") for n in range(3)]
    batches = open_catalog(tmp_path, batch_rows=1_000).batches()
    next(batches)
    files[0].unlink()
    files[2].write_text("")
    with pytest.raises(CatalogError, match=r"0\.csv is gone, and 1 more file\."):
        list(batches)


def test_datasets_of_files(tmp_path: Path) -> None:
    """An Arrow dataset reads its files as late as a path does; a table in memory has none."""
    file = parquet(tmp_path)
    batches = open_catalog(ds.dataset(tmp_path), batch_rows=1_000).batches()
    next(batches)
    replaced(parquet, file)
    with pytest.raises(CatalogError, match="the dataset changed"):
        list(batches)
    table = pq.read_table(file)
    for kept in (table, ds.dataset(table)):
        assert open_catalog(kept).fingerprint is None


def test_objects_on_a_store_are_told_by_their_version(bucket: str) -> None:
    """An object of the same size that is put in the same second is told by its ETag."""
    store, path = fs.FileSystem.from_uri(f"s3://shop/kept/a.csv{bucket}")
    for n in range(3):
        with store.open_output_stream(path) as out:
            out.write(b"sku,n\n01,2\n")
        catalog = open_catalog(f"s3://shop/kept{bucket}")
        with store.open_output_stream(path) as out:
            out.write(b"sku,n\n02,%d\n" % n)
        with pytest.raises(CatalogError, match=r"shop/kept/a\.csv was written to"):
            list(catalog.batches())
    list(open_catalog(f"s3://shop/kept{bucket}").batches())
