"""Width of a catalog: how many columns it may have, and how many cells are parsed at once.

A few kilobytes may name a hundred thousand fields; as a table, each of them costs every row.
"""

from __future__ import annotations

from incarts_pipeline.errors import CatalogError

CELLS = 8_000_000  # of one part of a file, as a table


def check_width(place: str, columns: int, most: int) -> None:
    """Refuse a table that is too wide.

    Args:
        place: what has the columns, for the message.
        columns: how many there are so far, what is inside of objects included.
        most: how many there may be.

    Raises:
        CatalogError: there are more; says how to raise the bound.
    """
    if columns > most:
        raise CatalogError(
            f"{place} has more than {most:,} columns.",
            fix="Check that it is a table of products, a row each. Raise the bound max_columns in "
            "INCARTS_LIMITS if it is one.",
        )
