"""Given links: those of a table that somebody made by hand, checked before the ledger has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from incarts_pipeline.api import is_given_id
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.ledger import Entry, Holder, holders_of


class GivenLinks:
    """The links of one table, as far as it was read."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._links: dict[str, tuple[int, str | None]] = {}  # the row, and where it leads

    def add(self, row: int, key: str | None, link: Mapping[str, str | None]) -> None:
        """Take one more row: its key, and its cells by their columns.

        Raises:
            CatalogError: a key or an id can't be used, or an earlier row has it.
        """
        if not key:
            raise _unusable(row, "unique_key")
        link_id = link["link_id"]
        if not link_id or not is_given_id(link_id):
            raise _unusable(row, "link_id")
        code_id = link.get("qr_code_id")
        if code_id and not is_given_id(code_id):
            raise _unusable(row, "qr_code_id")
        if key in self._keys:
            raise CatalogError(
                f"Row {row} has the same key as an earlier one: {key}.",
                fix="Keep the link that is in use.",
                row=row,
            )
        self._keys.add(key)
        leads_to = link.get("target_url")
        first, before = self._links.setdefault(link_id, (row, leads_to))
        if first != row and not _is_shared(before, leads_to):
            raise CatalogError(
                f"Row {row} has the same link as row {first}: {link_id}.",
                fix=_ONE_EACH,
                row=row,
                column="link_id",
            )


def check_owners(
    connection: sa.Connection, set_ids: Mapping[str, int], entries: Sequence[Entry]
) -> None:
    """Refuse links that the ledger has for other rows, unless both lead to the same.

    Raises:
        CatalogError: as said.
    """
    link_ids = [entry.link["link_id"] for entry in entries if entry.link]
    holders: dict[str, list[Holder]] = {}
    for holder in holders_of(connection, link_ids):
        holders.setdefault(holder.link_id, []).append(holder)
    for row, entry in enumerate(entries):
        link = entry.link or {}
        known = holders.get(link.get("link_id", ""), [])
        own = (set_ids[entry.link_set], entry.row_key)
        if own in [(one.set_id, one.row_key) for one in known]:
            continue
        other = next(
            (one for one in known if not _is_shared(one.target_url, link["target_url"])), None
        )
        if other is not None:
            raise CatalogError(
                f"Row {row} has {other.link_id}, which is the link of row {other.row_key} in the "
                "ledger.",
                fix=_ONE_EACH,
                row=row,
                column="link_id",
            )


_ONE_EACH = (
    "Give each row its own link. Rows that lead to the same may share one: then each has the same "
    "address in a column `target_url`."
)


def _is_shared(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


def _unusable(row: int, column: str) -> CatalogError:
    wanted = "" if column == "unique_key" else " An id has 3 to 128 characters; no address is one."
    return CatalogError(
        f"Row {row} has no {column.replace('_', ' ')} that can be used.",
        fix=f"Fill it in, without NUL characters, or leave the row out.{wanted}",
        row=row,
        column=column,
    )
