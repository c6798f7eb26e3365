"""Names of files that are made from data: none leads elsewhere, and no two texts share one."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st
from pyarrow import fs

from incarts_pipeline.path_names import in_path, path_name, same_on_disk

ODD = [
    *("", ".", "..", "...", "/", "//", "\\", "a/b", "a\\b", "a%2Fb", "a%252Fb", "%", "%empty", "~"),
    *("\0", "\n", "a\x1b[0m", "\u202e", "\u200b", " ", "a ", "a.", ".a", "_a", "a:b", "a*b", "a?b"),
    *("CON", "con", "con.txt", "nul", "COM1", "lpt9.a.b", "aux.", "console", "é", "e\u0301"),
    *("x" * 120, "x" * 121, "x" * 300, "x" * 301, "é" * 100, "\ud800", "2026-01-01", "a|b"),
    *("A", "a", "İ", "ı", "ß", "ss", "ﬁ", "fi", "K", "k"),
]
WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)
texts = st.one_of(st.text(), st.text(alphabet="./%~\\aA_ \0"), st.sampled_from(ODD))


@pytest.mark.parametrize("text", ["2026-01-01", "walmart", "US", "north_east", "v1.2", "a-b"])
def test_plain_names_stay(text: str) -> None:
    """What is safe as it stands is kept."""
    assert path_name(text) == text


def test_as_hive_does() -> None:
    """The escapes are those that Spark and pyarrow write."""
    assert path_name("south/west") == "south%2Fwest"
    assert path_name("2026-01-01 05:30") == "2026-01-01%2005%3A30"
    assert (path_name(".."), path_name("."), path_name("CON")) == ("%2E%2E", "%2E", "%43ON")


@given(texts)
@example("x" * 1000)
def test_each_name_is_one_plain_component(text: str) -> None:
    """On Linux, macOS and Windows, shown and hidden, with a suffix behind it."""
    name = path_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]{1,120}", name)
    assert name[0] not in "._"
    assert name[-1] not in ". "
    assert WINDOWS.fullmatch(name) is None
    assert os.path.normpath(f"folder/{name}/links.parquet") == f"folder/{name}/links.parquet"


@given(texts, texts)
@example("..", "%2E%2E")
@example("", "%empty")
@example("x" * 300, path_name("x" * 300))
@example("é", "e\u0301")
def test_two_texts_never_have_one_name(one: str, other: str) -> None:
    """Also where a disk composes letters; where it folds case, the pair is told."""
    if one == other:
        return
    names = [unicodedata.normalize("NFC", path_name(text)) for text in (one, other)]
    assert names[0] != names[1]
    told = same_on_disk([one], [one, other])
    assert (told == (one, other)) == (names[0].lower() == names[1].lower())


def test_all_odd_texts_together(tmp_path: Path) -> None:
    """On a real disk each is a file of its own, in the folder that was meant."""
    for number, text in enumerate(ODD):
        (tmp_path / f"links-{path_name(text)}.parquet").write_text(str(number))
    assert len(list(tmp_path.iterdir())) == len(ODD)
    assert [one for one in tmp_path.rglob("*") if one.parent != tmp_path] == []


@pytest.mark.parametrize("text", ["..", "a/b", "a%2Fb", "x y", "é"])
def test_a_uri_leads_to_the_same_name(text: str) -> None:
    """Stores decode a URI's path once; what comes out is the name that a local path has."""
    name = path_name(text)
    for uri in ("file:///data/{partition}/l.parquet", "s3://data/{partition}/l.parquet?region=x"):
        _, path = fs.FileSystem.from_uri(in_path(uri, "{partition}", text))
        assert path.removeprefix("/") == f"data/{name}/l.parquet"
    assert in_path("data/{partition}/l.parquet", "{partition}", text) == f"data/{name}/l.parquet"
