"""Output: where the published tables are, what is in them, and whose they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.catalog import delta_uri, is_delta_uri
from incarts_pipeline.kinds import Kind
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.plan import NamedPath
from incarts_pipeline.schemas import OUTPUT_VERSION

_BUCKET = re.compile(r"bucket-(\d{4,})(?:-[0-9a-f]{32})?\.parquet")
_FOR_GOOD = re.compile(r"-[0-9a-f]{32}(?:-\d+)?\.parquet$")
_OF_ONE_RUN = ("ledger_sequence", "run_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the tables go: `links` is a path or a URI, its companions lie beside it.

    With a slash at its end it is a dataset: a folder of buckets, in which its companions are. So
    it is as `delta://FOLDER`, or `delta+s3://` and the like, where the buckets are those that the
    folder's Delta log says.
    """

    links: str

    @property
    def is_dataset(self) -> bool:
        """Whether the table is a folder of buckets, not one file."""
        return is_folder(self.links)

    @property
    def is_delta(self) -> bool:
        """Whether the folder is that of a Delta table."""
        return is_delta_uri(self.links)

    @property
    def manifest(self) -> str:
        """What says of a dataset which files it has, and whose they are."""
        return within(self.links, "_manifest.json")

    @property
    def missing(self) -> str:
        """The table of links whose row left the catalog."""
        if self.is_dataset:
            return within(self.links, "_missing/")
        return _beside(self.links, "missing")

    def rows_of(self, kind: Kind) -> tuple[str, ...]:
        """The tables of what each row came to: the kind's own, and the missing rows if it has."""
        return (self.links, self.missing) if kind.is_catalog else (self.links,)

    def paths_of(self, kind: Kind) -> list[NamedPath]:
        """The places of these tables."""
        nouns = (f"table of {kind.noun}s", f"table of missing {kind.noun}s", "history")
        tables = self.tables_of(kind)
        places = [within(one, "") if is_delta_uri(one) else one for one in tables]
        found = [NamedPath(what=what, path=one) for what, one in zip(nouns, places, strict=False)]
        if self.is_dataset:
            # Of many files the first: whatever reads the folder would read it.
            found.append(NamedPath(what=nouns[0], path=within(self.links, bucket_name(0))))
            found.append(NamedPath(what="manifest", path=self.manifest))
        return found

    def tables_of(self, kind: Kind) -> tuple[str, ...]:
        """All tables that are published of a kind."""
        return (*self.rows_of(kind), self.history) if kind.is_catalog else self.rows_of(kind)

    @property
    def history(self) -> str:
        """The table of everything ever sent for the link sets."""
        if self.is_dataset:
            return within(self.links, "_history/")
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
class Written:
    """A file as it was written: its rows, its bytes, their SHA-256, and the run that it names."""

    rows: int
    size: int
    sha256: bytes
    run_id: str = ""


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


def lasting(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts that the next run over the same has as well."""
    return {name: fact for name, fact in facts.items() if name not in _OF_ONE_RUN}


def facts_of(schema: pa.Schema) -> dict[str, str]:
    """Return the facts that `metadata_of` wrote, none for a table of another origin."""
    prefix = b"incarts."
    return {
        name.removeprefix(prefix).decode(): value.decode()
        for name, value in (schema.metadata or {}).items()
        if name.startswith(prefix)
    }


def run_of(schema: pa.Schema) -> str:
    """Return the run that wrote a table, empty where the table doesn't say."""
    return facts_of(schema).get("run_id", "")


def is_folder(target: str) -> bool:
    """Say whether a path or URI is that of a folder of a dataset.

    It ends with a slash, or is that of a Delta table.
    """
    return _parted(target)[0].endswith("/")


def within(folder: str, name: str) -> str:
    """Return the path or URI of what is in a folder of a dataset."""
    place, options = _parted(folder)
    return f"{place}{name}{options}"


def bucket_name(number: int, one: str = "") -> str:
    """Return the name of a bucket's file; with 32 hexadecimal digits one that is never replaced."""
    return f"bucket-{number:04d}{one and '-'}{one}.parquet"


def bucket_number(name: str) -> int | None:
    """Return the bucket that a file is of by its name, None for other files."""
    found = _BUCKET.fullmatch(name)
    return int(found[1]) if found else None


def is_for_good(name: str) -> bool:
    """Say whether a file of a name is never replaced by another one: who names it means it."""
    return _FOR_GOOD.search(name) is not None


def _beside(links: str, what: str) -> str:
    """Return the name of a companion; a URI's options stay behind it."""
    place, options = _parted(links)
    folder, slash, name = place.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    companion = f"{stem}.{what}.{suffix}" if dot else f"{name}.{what}"
    return f"{folder}{slash}{companion}{options}"


def _parted(target: str) -> tuple[str, str]:
    """Return a path or URI, a Delta table's folder for one, and its options with their mark."""
    if is_delta_uri(target):
        place, options = _parted(delta_uri(target).folder)
        return place.rstrip("/") + "/", options
    place, mark, options = target.partition("?") if "://" in target else (target, "", "")
    return place, mark + options
