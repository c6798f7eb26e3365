"""Encodings of text files: read by their mark, or advised only where the whole file says so."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

BLOCK = 4 * 1024 * 1024
FRENCH = ["Café au lait", "Crème brûlée", "L’été à Nîmes", "Œuf dur – 6", "Prix : 5 €"]
GERMAN = ["Größe 42", "Äpfel", "Übergrößen für Bäder", "Maß 5 cm²"]
SPANISH = ["Piñata niño", "¿Qué? ¡Sí!", "Ñandú", "camión 3ª"]


def rows_of(file: Path, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(file, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


def refused(file: Path, **options: Any) -> CatalogError:
    with pytest.raises(CatalogError) as caught:
        rows_of(file, **options)
    return caught.value


def table(names: list[str]) -> str:
    lines = [f"{at},{name},55000{at}" for at, name in enumerate(names)]
    return "\n".join(["sku,title,item", *lines, ""])


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("before", [0, BLOCK // 8])
def test_a_wrong_byte_in_a_utf8_file_is_a_wrong_cell(
    tmp_path: Path, quoted: bool, before: int
) -> None:
    """It is told with row, column and byte; an encoding that garbles the rest isn't advised."""
    cell = b'"Men\x92s, shirt"' if quoted else b"Men\x92s shirt"
    file = tmp_path / "a.csv"
    rows = b"0,Caf\xc3\xa9,1\n" * before
    file.write_bytes(b"sku,title,item\n1,Caf\xc3\xa9,1\n" + rows + b"2," + cell + b",2\n3,a,3\n")
    error = refused(file)
    assert (error.row, error.column) == (before + 1, "title")
    assert error.byte_offset == file.read_bytes().index(b"\x92")
    assert f"line {before + 3}" in str(error)
    assert "the byte 0x92" in str(error)
    assert "the rest of the file is UTF-8, so the cell is wrong" in str(error)
    assert "in cp1252 the byte is ’" in str(error)
    assert "--encoding" not in str(error)


@pytest.mark.parametrize("names", [FRENCH, GERMAN, SPANISH, ["Men’s shirt"]])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac_roman", "cp850"])
def test_an_encoding_is_advised_that_reads_the_file_rightly(
    tmp_path: Path, names: list[str], encoding: str
) -> None:
    """Whatever is advised, the next try has each letter right; a guess that may be wrong isn't."""
    names = [name.encode(encoding, "ignore").decode(encoding) for name in names]
    content = table(names).encode(encoding)
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    if content.isascii():
        return
    said = str(refused(file))
    if "--encoding " not in said:
        assert "--encoding NAME" in said or "save it as UTF-8" in said
        return
    advised = said.split("--encoding ")[1].split(";")[0]
    if advised.startswith("NAME"):
        assert encoding != "cp1252"
        return
    assert [row["title"] for row in rows_of(file, encoding=advised)] == names


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp1251", ["Молоко", "Хлеб"]),
        ("shift_jis", ["牛乳", "パン屋"]),
        ("gb18030", ["牛奶面包", "苹果"]),
        ("cp1250", ["Mléko čerstvé žluté", "Šunka"]),
        ("cp1254", ["Şeker ığdır", "Yoğurt"]),
        ("cp1253", ["Γάλα πλήρες", "Ψωμί"]),
    ],
)
def test_no_encoding_is_advised_that_would_garble(
    tmp_path: Path, encoding: str, names: list[str]
) -> None:
    """What can't be told isn't said."""
    file = tmp_path / "a.csv"
    file.write_bytes(table(names).encode(encoding))
    error = refused(file)
    assert "what it is can't be told" in str(error)
    assert "cp1252" not in str(error)
    assert [row["title"] for row in rows_of(file, encoding=encoding)] == names


def test_two_encodings_in_one_file(tmp_path: Path) -> None:
    """Exports that were joined are said to be that."""
    file = tmp_path / "a.csv"
    first, second = table(FRENCH[:2]), table([*FRENCH[:2], "Été"])
    file.write_bytes(first.encode() + second.partition("\n")[2].encode("cp1252"))
    assert "so it has two encodings" in str(refused(file))


@pytest.mark.parametrize("kind", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_mark_is_believed(tmp_path: Path, kind: str) -> None:
    """A byte order mark says the encoding, as nothing else can begin so."""
    for name, content in (("a.csv", table(FRENCH)), ("a.jsonl", '{"title": "Café"}\n')):
        (tmp_path / name).write_bytes(content.encode(kind))
    assert [row["title"] for row in rows_of(tmp_path / "a.csv")] == FRENCH
    assert rows_of(tmp_path / "a.jsonl") == [{"title": "Café"}]
    big = codecs.BOM_UTF16_BE + table(FRENCH).encode("utf-16-be")
    (tmp_path / "b.csv").write_bytes(big)
    assert [row["title"] for row in rows_of(tmp_path / "b.csv")] == FRENCH


@pytest.mark.parametrize("kind", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("names", [FRENCH, ["Milk"]])
def test_utf16_without_a_mark_is_advised_by_its_name(
    tmp_path: Path, kind: str, names: list[str]
) -> None:
    """The fix has the very encoding that reads it."""
    file = tmp_path / "a.csv"
    file.write_bytes(table(names).encode(kind))
    assert f"--encoding {kind}" in str(refused(file))
    assert [row["title"] for row in rows_of(file, encoding=kind)] == names


@pytest.mark.parametrize("said", ["cp1252", "latin-1", "utf-16", "shift_jis"])
def test_a_wrong_word_about_a_utf8_file_is_refused(tmp_path: Path, said: str) -> None:
    """Café would be CafÃ©, without a word."""
    file = tmp_path / "a.csv"
    file.write_text(table(FRENCH), encoding="utf-8")
    assert "Leave --encoding out" in str(refused(file, encoding=said))


def test_a_wrong_byte_in_json_lines_names_its_line(tmp_path: Path) -> None:
    """The row and the field are told, as in a CSV."""
    file = tmp_path / "a.jsonl"
    lines = [json.dumps({"sku": "1", "title": "Café"}, ensure_ascii=False).encode()]
    file.write_bytes(b"\n".join([*lines, b'{"sku": "2", "title": "Men\x92s"}', *lines, b""]))
    error = refused(file)
    assert (error.row, error.column) == (1, "title")
    assert str(error).startswith(f"Line 2 of {file} has in the column 'title' the byte 0x92")


@pytest.mark.parametrize("where", [b"", b"a,b\n"])
def test_a_wrong_byte_in_a_header(tmp_path: Path, where: bytes) -> None:
    """A header in another encoding is told as one."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"sku,Gr\xf6\xdfe\n1,2\n" if not where else b"sku,Gr\xf6\xdfe")
    with pytest.raises(CatalogError, match=r"The header of .* 0xf6 .*it may be cp1252"):
        open_catalog(file)
