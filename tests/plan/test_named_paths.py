"""What is written is never what is read: names, links, case, folders, globs and URIs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.plan import NamedPath, check_apart, paths_read
from incarts_pipeline.settings import Settings


def refusal(path: str, read: str, **of_catalog: object) -> str:
    """Return why a table can't be written to a path while a catalog is read; empty if it can."""
    catalog = NamedPath(what="catalog", path=read, is_catalog=True, **of_catalog)  # type: ignore[arg-type]
    try:
        check_apart([NamedPath(what="table of links", path=path)], [catalog])
    except RefusedError as error:
        return f"{error.guard}: {error}"
    return ""


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("a.parquet", "a.parquet"),
        ("./x/../a.parquet", "a.parquet"),
        ("A.parquet", "a.parquet"),
        ("other-name.parquet", "a.parquet"),
        ("symbolic.parquet", "a.parquet"),
        ("a.parquet", "symbolic.parquet"),
        ("same-folder/a.parquet", "a.parquet"),
        ("data/new.parquet", "data"),
        ("data/deep/new.csv.gz", "data/"),
        ("same-data/new.parquet", "data"),
        ("data/new.parquet", "*/*.parquet"),
        ("data/deep/new.parquet", "data/**/*.parquet"),
        ("data/new.parquet", "same-data/new.*"),
        ("s3://bucket/a.parquet?region=x", "s3://bucket/a.parquet"),
        ("s3://bucket/data/a.parquet", "s3://bucket/data"),
        ("s3://bucket/data/a.parquet", "s3://bucket/*/a.parquet"),
    ],
)
def test_one_file_by_two_names(path: str, read: str) -> None:
    """However the two are written, it is the same file, or one of the catalog's."""
    Path("a.parquet").write_bytes(b"x")
    os.link("a.parquet", "other-name.parquet")
    Path("symbolic.parquet").symlink_to("a.parquet")
    Path("same-folder").symlink_to(".")
    Path("data/deep").mkdir(parents=True)
    Path("same-data").symlink_to("data")
    said = refusal(path, read)
    assert said.startswith("output_is_input: The table of links can't be written to ")
    assert f"{path.partition('?')[0]}: that is the catalog, {read}. Choose another place" in said


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("b.parquet", "a.parquet"),
        ("database/new.parquet", "data"),
        ("data/_new.parquet", "data"),
        ("data/.parts/new.parquet", "data"),
        ("data/report.html", "data"),
        ("data/deep/new.parquet", "data/*.parquet"),
        ("data/new.csv", "data/*.parquet"),
        ("a1.parquet", "a[1].parquet"),
        ("a.parquet", "s3://bucket/a.parquet"),
        ("s3://other/data/a.parquet", "s3://bucket/data"),
    ],
)
def test_two_files(path: str, read: str) -> None:
    """What the catalog would not read may be written, also beside it."""
    Path("a[1].parquet").write_bytes(b"x")
    Path("data/deep").mkdir(parents=True)
    assert refusal(path, read) == ""


def test_a_format_takes_every_file_of_a_folder() -> None:
    """A catalog whose format was said reads files whatever their name."""
    Path("data").mkdir()
    assert refusal("data/links.html", "data") == ""
    assert "that is the catalog" in refusal("data/links.html", "data", catalog_format="csv")


def test_two_things_to_one_place() -> None:
    """A page doesn't go where the table goes."""
    both = [NamedPath(what=what, path="one.parquet") for what in ("table of links", "report")]
    with pytest.raises(RefusedError, match=r"The report can't .*: that is the table of links"):
        check_apart(both, [])


def test_all_that_a_run_reads(tmp_path: Path) -> None:
    """Ledger with what stands beside it, key, settings, mapping, catalog; not what is no file."""
    Path("key").write_text("ic_key_1")
    Path("key").chmod(0o600)
    settings = Settings(INCARTS_LEDGER="own.db", INCARTS_API_KEY_FILE="key")
    read = paths_read(settings, catalog=Path("a.csv"), mapping="mapping.yaml")
    assert {Path(one.path).name for one in read} == {
        *("own.db", "own.db-wal", "own.db-shm", "own.db-journal", "own.db-pace"),
        *("own.db.witness", "own.db.sent", "incarts.toml", "key", "a.csv", "mapping.yaml"),
    }
    nothing = paths_read(settings, catalog="-", mapping="link_set: x\nunique_key: [sku]\n")
    assert {one.what for one in nothing} == {
        *("ledger", "ledger's own file", "settings file", "file with the API key")
    }


@pytest.mark.parametrize(("content", "may"), [("<!DOCTYPE html>…", True), ("", True), ("a", False)])
def test_a_file_of_another_kind_is_kept(content: str, may: bool) -> None:
    """Only what begins as such a file does is overwritten."""
    Path("notes").write_text(content)
    page = NamedPath(what="report", path="notes", begins=b"<!doctype html>")
    if may:
        check_apart([page], [])
    else:
        with pytest.raises(RefusedError, match="notes exists and is no report") as refused:
            check_apart([page], [])
        assert refused.value.guard == "unknown_output"
