"""Form of a file: what its reader advises is tried, and said in the mapping."""

from __future__ import annotations

from pathlib import Path

import pytest

from incarts_pipeline.errors import CatalogError, UndecidedError
from incarts_pipeline.suggest import Suggestion, suggestion_of

ROWS = ("sku,title,url", "A1,Café crème,https://shop.example/1", "B2,Thé,https://shop.example/2")
TEXT = "\n".join(ROWS) + "\n"
SEMICOLONS = TEXT.replace(",", ";")


def written(name: str, content: bytes | str) -> str:
    """Write a file and return its name."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def reads(made: Suggestion) -> dict[str, str]:
    """Return what the mapping says of how the file is read."""
    return made.mapping.read.said()


@pytest.mark.parametrize(
    ("name", "content", "reading"),
    [
        ("a.csv", TEXT, {}),
        ("a.csv", SEMICOLONS, {"delimiter": ";"}),
        ("a.csv", TEXT.replace(",", "\t"), {"delimiter": "\t"}),
        ("a.csv", TEXT.encode("cp1252"), {"encoding": "cp1252"}),
        (
            "a.csv",
            TEXT.replace(",", ";").encode("cp1252"),
            {"delimiter": ";", "encoding": "cp1252"},
        ),
        ("a.csv", TEXT.encode("utf-16"), {}),
        ("a.csv", TEXT.encode("utf-8-sig"), {}),
        ("a.csv", "sep=;\n" + SEMICOLONS, {}),
        ("a.tsv", TEXT.replace(",", "\t").replace("Thé", '"Best" 55"'), {"quote": "none"}),
        ("a.csv", TEXT.replace("Thé", r'"a \"b\", c"'), {"escape": "\\"}),
    ],
    ids=lambda value: str(value)[:24],
)
def test_each_form_is_found(name: str, content: bytes | str, reading: dict[str, str]) -> None:
    """Delimiter, encoding, quotes and escapes are found, and names read rightly."""
    made = suggestion_of(written(name, content), {})
    assert reads(made) == reading
    assert made.mapping.unique_key == ["sku"]
    assert made.schema.names == ["sku", "title", "url"]


def test_what_was_found_is_said_with_what_told_it() -> None:
    """An encoding may be another one, so it is doubted; a delimiter can't be."""
    [found] = suggestion_of(written("a.csv", TEXT.encode("cp1252")), {}).doubts
    assert found.field == "read.encoding"
    assert "Caf" in found.why
    assert suggestion_of(written("b.csv", TEXT.replace(",", ";")), {}).doubts == ()


def test_what_is_said_is_not_guessed() -> None:
    """An option that was given stays, and goes into the mapping."""
    assert reads(suggestion_of(written("a.csv", SEMICOLONS), {"delimiter": ";"})) == {
        "delimiter": ";"
    }


def test_one_wrong_byte_is_no_other_encoding() -> None:
    """A file that is UTF-8 but for one cell is refused, not garbled."""
    content = TEXT.encode() + b"C3,Caf\xe9,https://shop.example/3\n"
    with pytest.raises(CatalogError, match="the cell is wrong"):
        suggestion_of(written("a.csv", content), {})


def test_quotes_in_a_csv_are_for_a_person_to_judge() -> None:
    """Where commas are between cells, a quote that is never closed is no inch sign for sure."""
    with pytest.raises(CatalogError, match="quote"):
        suggestion_of(written("a.csv", TEXT.replace("Thé", '"Thé')), {})


def test_one_of_several_lists_is_chosen_by_a_person() -> None:
    """Nobody but a person knows which of two lists has the products."""
    text = '{"old": [{"sku": "A", "name": "Oats"}], "new": [{"sku": "B", "name": "Rye"}]}'
    file = written("a.json", text)
    with pytest.raises(UndecidedError):
        suggestion_of(file, {})
    made = suggestion_of(file, {}, choose=lambda undecided: undecided.choices[1])
    assert reads(made) == {"records": "new"}
    assert reads(suggestion_of(file, {"records": "old"})) == {"records": "old"}


def test_the_only_list_is_kept_in_the_mapping() -> None:
    """A second list, one day, doesn't make the file undecided."""
    made = suggestion_of(written("a.json", '{"shop": {"items": [{"sku": "A", "name": "O"}]}}'), {})
    assert reads(made) == {"records": "shop.items"}
