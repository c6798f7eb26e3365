"""Work: what all tasks of an engine share over one plan, and the error for rows that move."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass

from incarts_pipeline.engine.row_numbers import RowNumbers
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.mapping import Mapping
from incarts_pipeline.prepare import Partition
from incarts_pipeline.prepare.prepare import Preparation


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all tasks of one plan share; small, and made to be pickled.

    Attributes:
        name: what the catalog is called in messages.
        columns: those of the mapping.
        read: the catalog's columns that hold them.
        preparation: what turns rows into link requests.
        firsts: the number in the whole catalog of each partition's first row, by the partition's.
        counts: how many rows each partition has.
        buckets: by how many buckets of row keys requests are compared, a power of two; 0 where
            they go to the driver as they are prepared.
        partition: the part of the catalog that is planned, which is planned whole; None for all.
        whole: whether all requests go to the driver, and not just those of open keys.
        given: the rows that are prepared, which were chosen before, by their partition, which then
            has some; None for all.
    """

    name: str
    columns: tuple[str, ...]
    read: tuple[str, ...]
    preparation: Preparation
    firsts: Dict[int, int]
    counts: Dict[int, int]
    buckets: int
    partition: Partition | None = None
    whole: bool = False
    given: Dict[int, RowNumbers] | None = None

    @property
    def has_baskets(self) -> bool:
        """Whether rows are folded."""
        return any(link.basket for _, _, link in self.preparation.mapping.entries())

    @property
    def link_sets(self) -> list[str]:
        """The link sets of the mapping."""
        return self.preparation.mapping.link_sets()

    @property
    def is_lean(self) -> bool:
        """Whether requests are compared by their hashes alone: none depends on another row."""
        return bool(self.buckets) and not needs_buckets(self.preparation.mapping)


def needs_buckets(mapping: Mapping) -> bool:
    """Say whether what becomes of a row depends on the other ones of its key."""
    return mapping.first_of_key or any(link.basket for _, _, link in mapping.entries())


def other_rows(name: str, counts: tuple[int, int] | None = None) -> CatalogError:
    """Return the error for a catalog that has other rows, maybe more, each time it is read."""
    told = ": where it had {:,}, it now has {:,}".format(*counts) if counts else ""
    return CatalogError(
        f"{name} has other rows each time it is read{told}.",
        fix="Call persist() on it, or write it to a table and read that.",
    )
