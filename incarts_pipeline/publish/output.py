"""Output: where the published tables are, what is in them, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.models import Kind, Reason, Status
from incarts_pipeline.plan import NamedPath
from incarts_pipeline.schemas import OUTPUT_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the tables go: `links` is a path or a URI, its companions lie beside it."""

    links: str

    @property
    def missing(self) -> str:
        """The table of links whose row left the catalog."""
        return _beside(self.links, "missing")

    def rows_of(self, kind: Kind) -> tuple[str, ...]:
        """The tables of what each row came to: the kind's own, and the missing rows if it has."""
        return (self.links, self.missing) if kind.is_catalog else (self.links,)

    def paths_of(self, kind: Kind) -> list[NamedPath]:
        """The places of these tables."""
        nouns = (f"table of {kind.noun}s", f"table of missing {kind.noun}s", "history")
        tables = self.tables_of(kind)
        return [NamedPath(what=what, path=one) for what, one in zip(nouns, tables, strict=False)]

    def tables_of(self, kind: Kind) -> tuple[str, ...]:
        """All tables that are published of a kind."""
        return (*self.rows_of(kind), self.history) if kind.is_catalog else self.rows_of(kind)

    @property
    def history(self) -> str:
        """The table of everything ever sent for the link sets."""
        return _beside(self.links, "history")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose published tables are; `base_url` has no credentials."""

    base_url: str
    project_id: str
    link_sets: Sequence[str] = ()

    @property
    def facts(self) -> dict[str, str]:
        """What a table says of it. `link_sets` is for people, since names may have spaces."""
        return {
            "base_url": self.base_url,
            "project_id": self.project_id,
            "link_sets": " ".join(self.link_sets),
            "link_set_names": json.dumps(list(self.link_sets)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was published: rows per (status, reason).

    `made_by` is the run that wrote the table: an earlier one where the table is as it was.
    """

    output: Output
    counts: Mapping[tuple[Status, Reason], int]
    made_by: str = ""

    @property
    def by_status(self) -> dict[Status, int]:
        """Rows per status, in the order of the enum."""
        totals = dict.fromkeys(Status, 0)
        for (status, _), n in self.counts.items():
            totals[status] += n
        return totals


def metadata_of(facts: Mapping[str, str]) -> dict[str, str]:
    """Return facts as the metadata of a published table."""
    named = {f"incarts.{name}": value for name, value in facts.items()}
    return named | {"incarts.version": str(OUTPUT_VERSION)}


def facts_of(schema: pa.Schema) -> dict[str, str]:
    """Return the facts that `metadata_of` wrote, none for a table of another origin."""
    prefix = b"incarts."
    return {
        name.removeprefix(prefix).decode(): value.decode()
        for name, value in (schema.metadata or {}).items()
        if name.startswith(prefix)
    }


def _beside(links: str, what: str) -> str:
    """Return the name of a companion; a URI's options stay behind it."""
    place, mark, options = links.partition("?") if "://" in links else (links, "", "")
    folder, slash, name = place.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    companion = f"{stem}.{what}.{suffix}" if dot else f"{name}.{what}"
    return f"{folder}{slash}{companion}{mark}{options}"
