"""Link of one row: to look at in a notebook, and its QR code as SVG or PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.display import code_png, code_svg, encoded, link_card
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.ledger import Label
from incarts_pipeline.outgoing import shown
from incarts_pipeline.plan import NamedPath, check_apart
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.text import suggest

_SHOWN = 5  # of the rows that fit, in an error
_SEARCHED = 10_000  # rows, for a value that may be meant
_PNG = b"\x89PNG"
_BEGINS = {".svg": b"<", ".png": _PNG}


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLink:
    """A row of links.parquet: `row` has its columns, `label` what the link was sent as.

    `taken` are the places that its run read or wrote, over which no code is saved.
    """

    row: Mapping[str, Any]
    label: Label | None = field(default=None, repr=False)
    taken: Sequence[NamedPath] = field(default=(), repr=False)

    @property
    def short_link(self) -> str | None:
        """The short link, None where the row has none."""
        value = self.row["short_link"]
        return None if value is None else str(value)

    def svg(self, *, error: str = "m", size: float = 30.0) -> str:
        """Return the QR code as an SVG document, `size` millimetres wide.

        Args:
            error: error correction, `l`, `m`, `q` or `h`.
            size: width in millimetres, the white margin included.

        Raises:
            CatalogError: the row has no link to encode.
        """
        return code_svg(self._content(), error=error, size=size)

    def png(self, *, error: str = "m", size: float = 30.0, dpi: int = 300) -> bytes:
        """Return the QR code as a PNG of at least `dpi`; otherwise as `svg`."""
        return code_png(self._content(), error=error, size=size, dpi=dpi)

    def save(self, path: str | Path, *, error: str = "m", size: float = 30.0) -> Path:
        """Write the QR code to a file that ends in .svg or .png, and return its path.

        Raises:
            ValueError: the file's name ends in something else.
            RefusedError: there is a file that the run read or wrote, or that is no such code.
        """
        file = Path(path)
        if file.suffix.lower() not in _BEGINS:
            raise ValueError(f"a code is written as .svg or .png, not as {file.name}")
        begins = _BEGINS[file.suffix.lower()]
        check_apart([NamedPath(what="QR code", path=str(file), begins=begins)], self.taken)
        if begins == _PNG:
            return write_file(file, self.png(error=error, size=size))
        return write_file(file, self.svg(error=error, size=size))

    def _content(self) -> str:
        content, _ = encoded(self.row)
        if content is None:
            raise CatalogError(
                f"Row {self.row['row_key']} has no link yet: it is {self.row['status']}.",
                fix="See result.failed for why, and what to do.",
            )
        return content

    def __repr__(self) -> str:
        row = self.row
        return shown(f"{row['row_key']}: {row['status']} {self.short_link or '(no link)'}")

    def _repr_html_(self) -> str:
        return link_card(self.row, self.label)


def find_row(table: pa.Table, at: int | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a links table by its number in the catalog, or with some columns' values.

    Raises:
        CatalogError: no row fits, or several with different links.
    """
    given = dict(wanted) if at is None else {"catalog_row": at, **wanted}
    if not given:
        raise CatalogError("Which link?", fix='Say link(0), or name a key: link(sku="123").')
    found = table
    for name, value in given.items():
        found = found.filter(_is(found, name, value))
    rows: list[dict[str, Any]] = found.slice(0, _SHOWN).to_pylist()
    asked = ", ".join(f"{name}={value!r}" for name, value in given.items())
    if not rows:
        raise CatalogError(
            f"No row has {asked}.{_nearest(table, given)}", fix="Name a key as the catalog has it."
        )
    if len({(row["link_set"], row["link_id"]) for row in rows}) > 1:
        some = ", ".join(f"row {row['catalog_row']} of {row['link_set']}" for row in rows)
        raise CatalogError(
            f"Several links have {asked}: {some}.", fix="Name link_set=, or the whole key."
        )
    return rows[0]


def _nearest(table: pa.Table, given: Mapping[str, Any]) -> str:
    """Return the value of a column that may be meant, where one is near to the only one given."""
    if len(given) != 1:
        return ""
    [(name, value)] = given.items()
    values = pc.unique(table[name].slice(0, _SEARCHED).cast(pa.string())).drop_null()
    return suggest(str(value), values.to_pylist())


def _is(table: pa.Table, name: str, value: Any) -> pa.ChunkedArray:
    """Return where a column has a value, given as itself or as text."""
    if name not in table.column_names:
        keys = [own for own in table.column_names if own not in LINKS.names]
        raise CatalogError(
            f"The links have no column {name!r}.{suggest(name, table.column_names)}",
            fix=f"Name a key: {', '.join(keys)}; or one of {', '.join(LINKS.names)}.",
        )
    column = table[name]
    try:
        return pc.equal(column, pa.scalar(value).cast(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # the value is of another kind: as text
        return pc.equal(column.cast(pa.string()), str(value))
