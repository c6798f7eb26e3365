"""Import of links that exist already: made by hand, or published from a ledger that is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.kinds import LINKS, QR_CODES
from incarts_pipeline.ledger import (
    ENDED_STATES,
    Entry,
    Restored,
    clock_of,
    ensure_sets,
    go_on_from,
    hold_unless_newest,
    prepare_file,
    read_facts,
    transaction,
)
from incarts_pipeline.ledger.restore import restore
from incarts_pipeline.maintenance.given_links import GivenLinks, check_owners
from incarts_pipeline.maintenance.published_entries import (
    LINK_COLUMNS,
    codes_of,
    first_key,
    link_of,
    of_history,
    of_links,
    of_missing,
)
from incarts_pipeline.prepare import Columns, Findings
from incarts_pipeline.prepare.row_keys import row_keys
from incarts_pipeline.publish import (
    Manifest,
    Output,
    Owner,
    as_delta,
    check_owner,
    exists,
    facts_of,
    files_of,
    is_folder,
    parts_of_history,
    resolve,
    within,
)
from incarts_pipeline.settings import Settings, load_settings

_BATCH = 20_000
_PART_OF_DATASET = re.compile(
    r"(?<=/)(?:_manifest\.json|_history/.*|_missing/.*|bucket-\d{4,}(?:-[0-9a-f]{32})?\.parquet)(?=\?|$)"
)
_PUBLISHED = {"link_set", "row_key", "link_id", "idempotency_key"}


def import_links(
    source: str | Path,
    settings: Settings | None = None,
    *,
    link_set: str | None = None,
    unique_key: Sequence[str] = (),
) -> Restored:
    """Bring the links of a table into the ledger, which is made if it isn't there.

    Args:
        source: a published `links.parquet` (its history and missing tables beside it are read
            too), a history table, a published `qr_codes.parquet`, or any table of links made by
            hand: the columns of `unique_key`, `link_id`, and any of `short_link`, `short_id`,
            `target_url`, `qr_code_id`, `qr_image_url`, `qr_encoded_url`.
        settings: which ledger, base URL and project; by default those of the environment and
            incarts.toml.
        link_set: the set that links made by hand belong to.
        unique_key: the columns that name their rows.

    What such links made by hand hold is not known: the catalog's content is taken for it by the
    next run. What a published table has in doubt needs review.

    Raises:
        CatalogError: the table can't be read, or a row has no key or no link id.
        RefusedError: the table is another host's or project's, or what an older ledger has sent
            since is lost.
        LedgerError: the ledger can't be used, or belongs to another base URL.
    """
    known = (settings or load_settings()).for_ledger()
    owner = Owner(base_url=known.base_url, project_id=known.project_id)
    published, kind = _published(str(source)), LINKS
    names: Sequence[str] = ()
    if published is None:
        names, entries = _made_by_hand(source, known.project_id, link_set, unique_key)
    elif not published.is_dataset and _has_codes(str(source)):
        entries, kind = list(codes_of(_rows([str(source)], owner))), QR_CODES
    else:
        names, entries = _from_published(published, owner)
    sets = sorted({entry.link_set for entry in entries})
    engine = prepare_file(known.ledger, known.base_url, may_be_older=True)
    try:
        with transaction(engine, known.ledger) as connection:
            set_ids = ensure_sets(connection, known.project_id, sets, names, kind)
            if published is None:
                check_owners(connection, set_ids, entries)
            now = clock_of(known.ledger, Clock()).now()
            restored = restore(connection, set_ids, entries, now)
            # Now that what is published is known: the rest of what was sent may exist, too.
            hold_unless_newest(connection, known.ledger)
            go_on_from(connection, "sequence", _sequence_of(published, read_facts(connection)))
            return restored
    finally:
        engine.dispose()


def _sequence_of(published: Output | None, facts: Mapping[str, str]) -> int:
    """Return the last run of this very ledger after which a table was published, 0 for none."""
    told = _facts(published) if published is not None else ()
    ours = [said for said in told if said.get("ledger_id") == facts["ledger_id"]]
    return max((int(said.get("ledger_sequence", 0)) for said in ours), default=0)


def _facts(published: Output) -> Iterator[Mapping[str, str]]:
    """Yield what a table says of itself, then its companions."""
    if published.is_dataset and (manifest := Manifest.of(published)) is not None:
        yield manifest.facts
    for table in (published.links, published.history, published.missing):
        for place in files_of(table):
            with _open(place) as file:
                yield facts_of(file.schema_arrow)


def _published(source: str) -> Output | None:
    """Return the output that a file or folder is part of; None for any other table."""
    folder = _PART_OF_DATASET.sub("", source)
    folder = folder if is_folder(folder) else within(folder, "/")
    if any(exists(within(folder, one)) for one in ("_manifest.json", "_history/")):
        return Output(links=as_delta(folder))
    if not source.endswith(".parquet") or not exists(source):
        return None
    with _open(source) as file:
        if not set(file.schema_arrow.names) >= _PUBLISHED:
            return None
    for companion in (".history.parquet", ".missing.parquet"):
        source = source.replace(companion, ".parquet")
    return Output(links=source)


def _has_codes(target: str) -> bool:
    with _open(target) as file:
        return set(file.schema_arrow.names) >= {"identifier", "qr_code_id", "encoded_url"}


def _open(target: str) -> pq.ParquetFile:
    filesystem, path = resolve(target)
    return pq.ParquetFile(filesystem.open_input_file(path))


def _from_published(output: Output, owner: Owner) -> tuple[list[str], list[Entry]]:
    """Return the key columns and the entries of a published table and its companions."""
    names: list[str] = []
    missing = {row["link_id"]: row for row in _rows(files_of(output.missing), owner)}
    parts = (_rows([part], owner) for part in parts_of_history(output))
    told = _newest((of_history(row, missing) for row in rows) for rows in parts)
    beside: dict[str, Entry] = {}
    for row in _rows(files_of(output.links), owner):
        beside |= {one.idempotency_key: one for one in of_links(row, owner.project_id)}
    beside |= {one.idempotency_key: one for one in map(of_missing, missing.values())}
    for facts in _facts(output):
        names = names or json.loads(facts.get("key_columns", "[]"))
    entries = [one for of_key in told.values() for one in of_key]
    return names, entries + [one for key, one in beside.items() if key not in told]


def _newest(parts: Iterable[Iterable[Entry]]) -> dict[str, list[Entry]]:
    """Return by key what the last part of a history that has the key says of it.

    What has ended stays so, whatever the parts' order: a part that doesn't say so is older.
    """
    newest: dict[str, list[Entry]] = {}
    for part in parts:
        told: dict[str, list[Entry]] = {}
        for entry in part:
            told.setdefault(entry.idempotency_key, []).append(entry)
        for key, entries in told.items():
            if _has_ended(entries) or not _has_ended(newest.get(key, ())):
                newest[key] = entries
    return newest


def _has_ended(entries: Iterable[Entry]) -> bool:
    return any(entry.state in ENDED_STATES for entry in entries)


def _rows(places: Iterable[str], owner: Owner) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a published table's files.

    Raises:
        RefusedError: it is another host's or project's.
    """
    for place in places:
        with _open(place) as file:
            check_owner(place, facts_of(file.schema_arrow), owner)
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()


def _made_by_hand(
    source: object, project: str, link_set: str | None, unique_key: Sequence[str]
) -> tuple[list[str], list[Entry]]:
    """Return the key columns and the entries of a table of links that somebody made."""
    if link_set is None or not unique_key:
        raise CatalogError(
            f"{source} is not a published table of links.",
            fix="For links made by hand, give --unique-key COLUMN and --link-set NAME; in Python "
            'unique_key=["..."] and link_set="...".',
        )
    catalog = open_catalog(source)
    catalog.require(catalog.faults)
    for name in (*unique_key, "link_id"):
        if name not in catalog.schema.names:
            raise CatalogError(
                f"{source} has no column {name!r}; it has {', '.join(catalog.schema.names)}.",
                fix="Rename the column, or choose another --unique-key.",
                column=name,
            )
    entries: list[Entry] = []
    given = GivenLinks()
    for batch in catalog.batches():
        entries += _entries(batch, project, link_set, unique_key, given, len(entries))
    return list(unique_key), entries


def _entries(
    batch: pa.RecordBatch,
    project: str,
    link_set: str,
    unique_key: Sequence[str],
    given: GivenLinks,
    first_row: int,
) -> Iterator[Entry]:
    columns = Columns(batch, Findings(batch.num_rows))
    keys = row_keys(columns, list(unique_key)).to_pylist()
    names = [name for name in ("link_id", *LINK_COLUMNS) if name in batch.schema.names]
    values = {name: columns.text(name).to_pylist() for name in names}
    for at, key in enumerate(keys):
        link = {name: column[at] for name, column in values.items()}
        given.add(first_row + at, key, link)
        yield Entry(
            link_set=link_set,
            row_key=key,
            idempotency_key=first_key(project, link_set, key, b""),
            link=link_of(link),
        )
