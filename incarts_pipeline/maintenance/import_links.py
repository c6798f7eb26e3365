"""Import of links that exist already: made by hand, or published from a ledger that is lost."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.identity import (
    group_hashes,
    idempotency_key,
    qr_content_hash,
    qr_row_key,
)
from incarts_pipeline.ledger import (
    UNKNOWN_GROUPS,
    Entry,
    Restored,
    ensure_sets,
    go_on_from,
    hold_unless_newest,
    prepare_file,
    read_facts,
    transaction,
)
from incarts_pipeline.ledger.restore import restore
from incarts_pipeline.maintenance.given_links import GivenLinks, check_owners
from incarts_pipeline.models import (
    LINKS,
    QR_CODE,
    QR_CODES,
    Dispute,
    Proof,
    Reason,
    State,
    Status,
)
from incarts_pipeline.prepare import Columns, Findings
from incarts_pipeline.prepare.row_keys import row_keys
from incarts_pipeline.publish import Output, Owner, check_owner, exists, facts_of, resolve
from incarts_pipeline.settings import Settings, load_settings

_BATCH = 20_000
_LINK_COLUMNS = {  # as published, and as the ledger names them
    "short_link": "short_link",
    "short_id": "short_id",
    "target_url": "target_url",
    "qr_code_id": "qr_code_id",
    "qr_image_url": "qr_image_url",
    "qr_encoded_url": "encoded_url",
}
_PUBLISHED = {"link_set", "row_key", "link_id", "idempotency_key"}
_DOUBTS = (Reason.ANSWER_UNKNOWN, Reason.NEEDS_REVIEW)


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
    elif _has_codes(str(source)):
        entries, kind = list(_codes(_rows(str(source), owner))), QR_CODES
    else:
        names, entries = _from_published(published, owner)
    sets = sorted({entry.link_set for entry in entries})
    engine = prepare_file(known.ledger, known.base_url, may_be_older=True)
    try:
        with transaction(engine, known.ledger) as connection:
            set_ids = ensure_sets(connection, known.project_id, sets, names, kind)
            if published is None:
                check_owners(connection, set_ids, entries)
            restored = restore(connection, set_ids, entries, Clock().now())
            # Now that what is published is known: the rest of what was sent may exist, too.
            hold_unless_newest(connection, known.ledger)
            go_on_from(connection, "sequence", _sequence_of(published, read_facts(connection)))
            return restored
    finally:
        engine.dispose()


def _sequence_of(published: Output | None, facts: Mapping[str, str]) -> int:
    """Return the last run of this very ledger after which a table was published, 0 for none."""
    sequences = [0]
    for table in published.tables_of(LINKS) if published is not None else ():
        if exists(table):
            with _open(table) as file:
                said = facts_of(file.schema_arrow)
            if said.get("ledger_id") == facts["ledger_id"]:
                sequences.append(int(said.get("ledger_sequence", 0)))
    return max(sequences)


def _published(source: str) -> Output | None:
    """Return the output that a file is part of; None for any other table."""
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


def _codes(rows: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """Yield the codes of a published table, and what of them is in doubt.

    A refused one has no code, so that asking for it again under the same key harms nothing.
    """
    for row in rows:
        doubtful = row["status"] == Status.IN_DOUBT and row["reason"] in _DOUBTS
        if row["idempotency_key"] is None or not (doubtful or row["qr_code_id"]):
            continue
        yield Entry(
            link_set=row["link_set"],
            row_key=qr_row_key(row["row_key"], row["identifier"]),
            idempotency_key=row["idempotency_key"],
            generation=row["generation"] or 0,
            state=State.NEEDS_REVIEW if doubtful else State.DONE,
            intent=QR_CODE,
            # The bytes are not in the table; which link it is of is all that planning looks at.
            content_hash=qr_content_hash(row["link_id"], b""),
            attempts=row["attempts"] or 0,
            http_status=row["http_status"],
            correlation_id=row["correlation_id"],
            error_code=row["error_code"],
            settled_at=_micros(row["settled_at"]),
            run_id=row["settled_run_id"],
            link=None if doubtful else _code(row),
            for_link_id=row["link_id"],
        )


def _code(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "link_id": row["qr_code_id"],
        "qr_code_id": row["qr_code_id"],
        "qr_image_url": row["qr_image_url"],
        "encoded_url": row["encoded_url"],
        "created_at": _micros(row["created_at"]),
        "received_at": _micros(row["settled_at"] or row["created_at"]) or 0,
        "run_id": row["settled_run_id"] or "import",
    }


def _open(target: str) -> pq.ParquetFile:
    filesystem, path = resolve(target)
    return pq.ParquetFile(filesystem.open_input_file(path))


def _from_published(output: Output, owner: Owner) -> tuple[list[str], list[Entry]]:
    """Return the key columns and the entries of a published table and its companions."""
    entries: dict[tuple[str, str], Entry] = {}
    names: list[str] = []
    missing = {row["link_id"]: row for row in _rows(output.missing, owner)}
    for row in _rows(output.history, owner):
        entry = _of_history(row, missing)
        entries[entry.idempotency_key, row["link_id"] or ""] = entry
    known = {key for key, _ in entries}
    for row in _rows(output.links, owner):
        for entry in _of_links(row, owner.project_id):
            if entry.idempotency_key not in known:
                entries[entry.idempotency_key, ""] = entry
    for row in missing.values():
        entry = _of_missing(row)
        if entry.idempotency_key not in known:
            entries[entry.idempotency_key, ""] = entry
    for target in (output.links, output.history, output.missing):
        if not names and exists(target):
            with _open(target) as file:
                names = json.loads(facts_of(file.schema_arrow).get("key_columns", "[]"))
    return names, list(entries.values())


def _rows(target: str, owner: Owner) -> Iterator[Mapping[str, Any]]:
    """Yield a published table's rows, none when it isn't there.

    Raises:
        RefusedError: it is another host's or project's.
    """
    if not exists(target):
        return
    with _open(target) as file:
        check_owner(target, facts_of(file.schema_arrow), owner)
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pylist()


def _of_history(row: Mapping[str, Any], missing: Mapping[str, Mapping[str, Any]]) -> Entry:
    body = row["body"].encode() if row.get("body") else None
    content = bytes.fromhex(row["content_hash"] or "")
    if body is not None and content and hashlib.sha256(body).digest() != content:
        raise CatalogError(
            f"The history of row {row['row_key']} was changed: its body doesn't have its hash.",
            fix="Use the file as it was published.",
            column="body",
        )
    left = missing.get(row["link_id"] or "")
    return Entry(
        link_set=row["link_set"],
        row_key=row["row_key"],
        idempotency_key=row["idempotency_key"],
        generation=row["generation"],
        state=State(row.get("state") or State.DONE),
        action=row["action"] or "create",
        retailer=row["retailer"] or "",
        intent=row["intent"] or "",
        content_hash=content,
        body=body,
        groups=group_hashes(body) if body is not None else UNKNOWN_GROUPS,
        attempts=row["attempts"] or 0,
        http_status=row.get("http_status"),
        correlation_id=row["correlation_id"],
        error_code=row.get("error_code"),
        first_sent_at=_micros(row.get("first_sent_at")),
        settled_at=_micros(row["received_at"]),
        run_id=row["run_id"],
        link=_link(row) if row["link_id"] else None,
        replaces_link_id=row["replaces_link_id"],
        in_use=row["is_current"],
        missing_since=_micros(left["missing_since"]) if left else None,
    )


def _of_links(row: Mapping[str, Any], project: str) -> Iterator[Entry]:
    """Yield a row's link, and what is in doubt beside it, as far as links.parquet tells."""
    if row["row_key"] is None:
        return
    doubtful = row["status"] == Status.IN_DOUBT and row["reason"] in _DOUBTS
    refused = row["status"] == Status.REJECTED and row["reason"] == Reason.REFUSED_BY_API
    disputed = doubtful and row["link_id"] and row["error_code"] == Dispute.LINK_DISPUTED
    if row["link_id"]:
        content = bytes.fromhex(row["link_content_hash"] or "")
        yield Entry(
            link_set=row["link_set"],
            row_key=row["row_key"],
            idempotency_key=_link_key(row, project, content),
            content_hash=content,
            settled_at=_micros(row["link_created_at"]),
            link=_link(row) | ({"proof": Proof.DISPUTED.value} if disputed else {}),
        )
    if (doubtful or refused) and row["idempotency_key"] and not disputed:
        yield Entry(
            link_set=row["link_set"],
            row_key=row["row_key"],
            idempotency_key=row["idempotency_key"],
            generation=row["generation"] or 0,
            state=State.NEEDS_REVIEW if doubtful else State.REJECTED,
            content_hash=bytes.fromhex(row["content_hash"]),
            attempts=row["attempts"] or 0,
            http_status=row["http_status"],
            correlation_id=row["correlation_id"],
            error_code=row["error_code"],
            settled_at=_micros(row["settled_at"]),
            run_id=row["settled_run_id"],
        )


def _link_key(row: Mapping[str, Any], project: str, content: bytes) -> str:
    """Return the key that a row's link was made under.

    The published key is that of the newest operation: for a link of older content, often another's.
    """
    names = (project, row["link_set"], row["row_key"])
    wanted = bytes.fromhex(row["content_hash"] or "")
    newest: str = row["idempotency_key"]
    if wanted != content and newest == _key(*names, wanted, row["generation"] or 0):
        return _key(*names, content)
    return newest


def _of_missing(row: Mapping[str, Any]) -> Entry:
    return Entry(
        link_set=row["link_set"],
        row_key=row["row_key"],
        idempotency_key=row["idempotency_key"],
        content_hash=bytes.fromhex(row["content_hash"] or ""),
        settled_at=_micros(row["link_created_at"]),
        link=_link(row),
        missing_since=_micros(row["missing_since"]),
    )


def _link(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "link_id": row["link_id"],
        **{own: row.get(name) or None for name, own in _LINK_COLUMNS.items()},
        "created_at": _micros(row.get("link_created_at")),
        "received_at": _micros(row.get("received_at") or row.get("link_created_at")) or 0,
        "run_id": row.get("run_id") or "import",
        "proof": row.get("proof"),
        "status": row.get("link_status"),
    }


def _micros(at: dt.datetime | None) -> int | None:
    return round(at.timestamp() * 1e6) if at is not None else None


def _key(project: str, link_set: str, row_key: str, content: bytes, generation: int = 0) -> str:
    return idempotency_key(
        endpoint=LINKS.endpoint,
        project_id=project,
        link_set=link_set,
        row_key=row_key,
        content_hash=content,
        generation=generation,
    )


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
    names = [name for name in ("link_id", *_LINK_COLUMNS) if name in batch.schema.names]
    values = {name: columns.text(name).to_pylist() for name in names}
    for at, key in enumerate(keys):
        link = {name: column[at] for name, column in values.items()}
        given.add(first_row + at, key, link)
        yield Entry(
            link_set=link_set,
            row_key=key,
            idempotency_key=_key(project, link_set, key, b""),
            link=_link(link),
        )
