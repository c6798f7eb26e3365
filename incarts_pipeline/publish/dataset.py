"""Dataset of buckets: a published table in many files; only those that changed are written.

A row's bucket follows from its key. Each file is replaced in one step and has its name for good, so
that whoever reads the folder finds no row twice; the manifest is replaced last.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from pyarrow import fs

from incarts_pipeline.publish import queries
from incarts_pipeline.publish.bucket_files import buckets_of
from incarts_pipeline.publish.buckets import (
    bucket_schema,
    by_bucket,
    changed_since,
    check_whole,
    cleaned_rows,
    how_many,
    put_changed,
)
from incarts_pipeline.publish.files import resolve
from incarts_pipeline.publish.freshness import Noting, is_noted
from incarts_pipeline.publish.history_parts import append_history, write_history
from incarts_pipeline.publish.manifest import (
    MISSING_FILE,
    Files,
    Manifest,
    drop_others,
    has_its_files,
    is_as_noted,
    noted_place,
)
from incarts_pipeline.publish.merged_part import merge_part
from incarts_pipeline.publish.output import (
    Output,
    Published,
    Written,
    metadata_of,
    within,
)
from incarts_pipeline.publish.rows import Counts, Publication
from incarts_pipeline.publish.state_files import StateFiles
from incarts_pipeline.schemas import MISSING

_OF_A_PART = "a part"  # what no publication of a whole catalog is made from


def publish_dataset(work: Publication, output: Output) -> Published:
    """Bring a dataset to what the ledger says; files that would be the same are left as they are.

    Raises:
        PublishError: a file can't be written. Those before it are new and the manifest is the old
            one, which the next run puts right.
    """
    return _publish_part(work, output) if work.plan.is_part else _publish_whole(work, output)


def intact(output: Output) -> Manifest | None:
    """Return a dataset's manifest, None when there is none or its files are not as it says."""
    found = Manifest.of(output)
    return found if found is not None and has_its_files(output, found) else None


def _publish_whole(work: Publication, output: Output) -> Published:
    made_from, history_from = cache(work.made_from), work.history_made_from()
    places = noted_place(output.manifest), noted_place(output.history)
    old = intact(output)
    rows_current = is_as_noted(work.ledger, output, old, made_from)
    history_current = old is not None and is_noted(
        work.ledger, places[1], lambda: history_from, old.history_sha256
    )
    keeps_state = old is not None and not old.state and work.plan.seen is None
    if old is not None and rows_current and history_current and keeps_state:
        return _published(output, old)
    with Noting(work.ledger, *places) as noting:
        _make_folders(output)
        history = old.below("_history/") if old is not None else {}
        if not history_current:
            history = write_history(work, output, history)
        if old is not None and rows_current:
            now, lasts = _seen_anew(work, output, old), made_from()
        else:
            work.load_links()
            now, lasts = _rows_written(work, output, old), work.lasts(made_from)
        now = _put_manifest(output, old, replace(now, facts=work.facts), history)
        noting.made(places[0], lasts, now.sha256)
        noting.made(places[1], history_from, now.history_sha256())
    return _published(output, now)


def _publish_part(work: Publication, output: Output) -> Published:
    old = Manifest.of(output)
    if old is None or not has_its_files(output, old, by_size=True):
        raise changed_since(output.links)
    if not _has_work(work, output, old):
        return _published(output, old)
    places = noted_place(output.manifest), noted_place(output.history)
    with Noting(work.ledger, *places) as noting:
        work.load_links()
        now, is_sure = merge_part(work, output, old)
        history, is_told = append_history(work, output, old.below("_history/"))
        now = _put_manifest(output, old, now, history)
        if is_sure and is_told and work.confirms:
            noting.made(places[0], _OF_A_PART, now.sha256)
            noting.made(places[1], work.history_made_from(), now.history_sha256())
    return _published(output, now)


def _has_work(work: Publication, output: Output, old: Manifest) -> bool:
    """Say whether a part has anything to publish."""
    seen, db = work.plan.seen, work.plan.workspace.db
    [(rows,)] = db.execute("SELECT COUNT(*) FROM published_request").fetchall()
    [(keys,)] = db.execute("SELECT COUNT(*) FROM open_key").fetchall()
    if rows or keys or old.keyless:
        return True
    if seen is None:
        return False
    return any(map(seen.is_stale, range(old.buckets))) or not old.has_state(seen.state, output)


def _put_manifest(output: Output, old: Manifest | None, now: Manifest, history: Files) -> Manifest:
    """Put a manifest in place, unless the old one says the same; return the one that is there."""
    rest = {n: one for n, one in now.files.items() if not n.startswith("_history/")}
    now = replace(now, files={**rest, **history})
    before = Manifest.of(output)  # intact or not: who planned with it still reads what it names
    there = old if old is not None and old.says_as(now, output) else now.write(output)
    drop_others(output, there, before)
    return there


def _seen_anew(work: Publication, output: Output, old: Manifest) -> Manifest:
    """Write what was seen of a catalog beside rows that are current."""
    seen = work.plan.seen
    states = StateFiles(seen, output, old.buckets, old.below("_state/"))
    for number, name in old.bucket_names().items():
        states.make(number, name)
    rest = {n: one for n, one in old.files.items() if not n.startswith("_state/")}
    return replace(old, files=rest | states.files, state=seen.state if seen is not None else {})


def _rows_written(work: Publication, output: Output, old: Manifest | None) -> Manifest:
    """Write the buckets, and what is beside them; return a manifest of these."""
    db = work.plan.workspace.db
    [(rows,)] = db.execute("SELECT COUNT(*) FROM published_request").fetchall()
    buckets, counts, keyless = how_many(rows, output), Counts(), 0
    files: dict[str, Written] = {}
    kept = old.below("_state/") if old is not None else {}
    states = StateFiles(work.plan.seen, output, buckets, kept)
    wanted = dict(db.execute(queries.BUCKETS.format(n=buckets)).fetchall())
    schema = bucket_schema(work, buckets)
    place = buckets_of(output, schema)
    for number, batches in by_bucket(work.rows(output.links, counts, buckets), buckets):
        table = cleaned_rows(batches, schema)
        check_whole(within(output.links, place.name(number)), table.num_rows, wanted.get(number, 0))
        name, files[name] = place.put_changed(number, table)
        keyless += table["row_key"].null_count
        states.write(number, table)
    place.finish(files.keys(), work.facts)
    # Once the rows count: who comes too late for that puts nothing in another run's place.
    gone = MISSING.with_metadata(metadata_of(work.facts))
    missing = put_changed(work.missing(), gone, within(output.links, MISSING_FILE))
    files[MISSING_FILE] = missing
    return Manifest(
        facts=work.facts,
        buckets=buckets,
        counts=dict(sorted(counts.items())),
        files=files | states.files,
        keyless=keyless,
        state=work.plan.seen.state if work.plan.seen is not None else {},
    )


def _make_folders(output: Output) -> None:
    """Make a local dataset's folders."""
    for folder in ("", "_missing/", "_history/", "_state/"):
        filesystem, path = resolve(within(output.links, folder))
        if isinstance(filesystem, fs.LocalFileSystem):
            Path(path).mkdir(exist_ok=True)


def _published(output: Output, manifest: Manifest) -> Published:
    return Published(
        output=output, counts=manifest.counts, made_by=manifest.facts.get("run_id", "")
    )
