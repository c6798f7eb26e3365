"""Bounds of what is read: a file that is made to exhaust a machine ends with an error."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError, IncartsError, MappingError, SettingsError
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.plan import load_plan
from incarts_pipeline.settings import load_settings

NESTED = ["[" * 200_000 + "]" * 200_000, '{"a":' * 100_000 + "1" + "}" * 100_000]


def test_a_huge_line_is_refused_with_its_bound() -> None:
    """One line of JSON of any length ends when the bound is read, and says how to raise it."""
    with gzip.open("bomb.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(b'{"sku": "1"}\n{"sku": "')
        for _ in range(40):
            file.write(b"x" * 1_000_000)
    with pytest.raises(CatalogError, match=r"Line 2 of .* 8,388,608 bytes.*max_line_bytes"):
        open_catalog("bomb.jsonl.gz")
    Path("long.jsonl").write_text('{"sku": "' + "x" * 5_000 + '"}\n')
    assert open_catalog("long.jsonl").schema.names == ["sku"]
    with pytest.raises(CatalogError, match="4,000 bytes"):
        open_catalog("long.jsonl", max_line_bytes=4_000)


@pytest.mark.parametrize("nested", NESTED, ids=["lists", "objects"])
def test_deep_json_is_refused_everywhere(nested: str) -> None:
    """Nesting ends in an error of ours, not in a crash of a parser."""
    Path("deep.jsonl").write_text(f'{{"sku": {nested}}}\n')
    Path("deep.incarts").write_text(nested)
    for read in (lambda: open_catalog("deep.jsonl"), lambda: load_plan("deep.incarts")):
        with pytest.raises(CatalogError, match=r"nested"):
            read()


def aliases() -> str:
    """Return YAML whose aliases stand for a billion values."""
    lines = [f"a0: &a0 [{','.join('x' * 10)}]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (aliases(), "more than 10,000 values"),
        ("link_set: &a [*a]\n", "refers to itself"),
        ("x:\n  " + "[" * 20_000, "deeper than 50 levels"),
        ("\n".join(" " * i + "a:" for i in range(200)), "deeper than 50 levels"),
        ("x: " + "y" * 100_000 + "\n", "max_mapping_bytes"),
        ("x:\n  - [" + "a," * 20_000 + "a]", "more than 10,000 values"),
    ],
    ids=["aliases", "recursion", "flow", "block", "length", "flood"],
)
def test_mappings_are_bounded(text: str, said: str) -> None:
    """A mapping that stands for too much is refused with the bound."""
    with pytest.raises(MappingError, match=said):
        load_mapping(text)
    Path("m.yaml").write_text(text)
    with pytest.raises(MappingError, match=said):
        load_mapping("m.yaml")


@pytest.mark.parametrize("pattern", ["[" * 20_000, "(" * 20_000, "(?:" * 20_000])
def test_a_regular_expression_is_bounded(pattern: str) -> None:
    """Brackets by the thousand are refused before anybody looks for their ends."""
    link = {"name": {"column": "a", "extract": pattern}, "retailer": "x", "intent": "y"}
    with pytest.raises(MappingError, match="over the limit of 1,000"):
        load_mapping({"link_set": "s", "unique_key": "a", "link": link})


def test_other_files_are_bounded() -> None:
    """Settings and key files are read up to a bound, a plan file's mapping is never a path."""
    Path("incarts.toml").write_text("# " + "x" * 300_000)
    with pytest.raises(SettingsError, match="262,144 bytes"):
        load_settings()
    Path("incarts.toml").write_text("rate = " + "[" * 20_000)
    with pytest.raises(SettingsError, match="not TOML"):
        load_settings()
    Path("incarts.toml").unlink()
    with pytest.raises(SettingsError, match="16,384 bytes"):
        load_settings(api_key_file=Path("/dev/zero"))
    Path("secret").write_text("root:x:0:0")
    Path("p.incarts").write_text(
        '{"format": "incarts plan 3", "catalog": "c.csv", "mapping": "secret", '
        '"unique_key": [], "rekeyed": "hold", "accept": []}'
    )
    with pytest.raises(IncartsError, match="mapping is no object") as caught:
        load_plan("p.incarts")
    assert "root" not in str(caught.value)
