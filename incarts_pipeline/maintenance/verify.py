"""Verification: links read back from Incarts, and compared with what was sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from incarts_pipeline.api import IncartsClient, client_of, is_id, new_correlation_id
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.display.progress import progress as progress_of
from incarts_pipeline.errors import CatalogError, RefusedError
from incarts_pipeline.ledger import (
    LedgerReader,
    MadeLink,
    Target,
    dispute,
    existing_ledger,
    links_made,
    links_to_read,
    load_rate,
    new_run_id,
    once,
)
from incarts_pipeline.maintenance.compare import Finding, Verdict, judge
from incarts_pipeline.models import Answer, AnswerKind, Proof, Reason, State
from incarts_pipeline.plan import NamedPath, check_apart, paths_read
from incarts_pipeline.prepare import Columns, Findings
from incarts_pipeline.publish import (
    Owner,
    check_place,
    check_replaceable,
    metadata_of,
    write_table,
)
from incarts_pipeline.schemas import VERIFIED
from incarts_pipeline.settings import CallSettings, Settings, key_fingerprint, load_settings
from incarts_pipeline.sync import Stop, run_blocking
from incarts_pipeline.write import (
    AttemptResult,
    Attempts,
    Circuits,
    End,
    EndKind,
    RunMetrics,
    Slot,
    Throttle,
    open_throttle,
)

SCOPE = "links:read"

_PAGE = 500  # links whose answers are kept until their rows are made
_TRIES = 5  # of one link, 429s aside
_GRACE_SECONDS = 5.0  # for what is in flight when the end is asked for; reading again costs nothing
_RESULTS = {
    AnswerKind.RATE_LIMITED: AttemptResult.KEPT_BACK,
    AnswerKind.UNKNOWN: AttemptResult.NO_EFFECT,
    AnswerKind.NOT_SENT: AttemptResult.NO_EFFECT,
    AnswerKind.WRONG_ENDPOINT: AttemptResult.NO_EFFECT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Which links to read back; the fields are as `verify_links` takes them."""

    links: object | None = None
    link_sets: Sequence[str] = ()
    only: Sequence[str] = ()
    sample: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How the links stand; `table` has the columns of `schemas.VERIFIED`, a row per link.

    `end` says why not all could be read, None when nothing kept them from it but being stopped;
    `disputed` counts the links that lead elsewhere than was asked for, whose rows are held now.
    """

    table: pa.Table
    counts: Mapping[Verdict, int]
    requests: int
    seconds: float
    end: End | None = None
    stopped: Reason | None = None
    output: str | None = None
    disputed: int = 0

    def exit_code(self) -> int:
        """Return the shell's exit code: 0 all ok, 1 none was read, 3 not all ok, 4 stopped early.

        A run that was stopped says so even when something is not ok.
        """
        left = self.counts[Verdict.NOT_CHECKED]
        unread = left + self.counts[Verdict.UNREADABLE]
        if self.end is not None and unread == self.table.num_rows:
            return 1
        if left:
            return 4
        return 0 if self.counts[Verdict.OK] == self.table.num_rows else 3


def verify_links(
    links: object | None = None,
    settings: Settings | None = None,
    *,
    link_sets: Sequence[str] = (),
    only: Sequence[str] = (),
    sample: int | None = None,
    output: str | Path | None = None,
    max_duration: float | None = None,
    progress: bool = True,
) -> Verification:
    """Read links back and compare them with what was sent; changes nothing at Incarts.

    A row whose link leads elsewhere than was asked for is held until it is reviewed.

    Reads go at the pace that all runs of the API key share. What is compared, and why,
    `drift.differences` says.

    Args:
        links: any table with a column `link_id`, such as a links.parquet of long ago; by default
            the links in use, as the ledger knows them.
        settings: by default those of the environment and incarts.toml.
        link_sets: only links of these sets.
        only: only these rows or links, by row key or link id.
        sample: so many of what is left, chosen by chance.
        output: where the table goes as Parquet, besides into the result.
        max_duration: seconds after which to stop; the links that are left are `not_checked`.
        progress: show how it gets on, in a terminal or a notebook.

    Raises:
        RefusedError: the key has no scope `links:read`, as far as `INCARTS_SCOPES` says, or the
            ledger has no such row or link.
        SettingsError: the base URL, the key or the project is missing.
        LedgerError: there is no ledger, or it can't be read.
        CatalogError: the table of links can't be read.
        PublishError: the output can't be written.
    """
    known, metrics = settings or load_settings(), RunMetrics()
    request = VerifyRequest(links=links, link_sets=link_sets, only=only, sample=sample)
    with progress_of(metrics) if progress else nullcontext():
        return run_blocking(
            lambda stop: verify(
                request, known, output=output, max_duration=max_duration, metrics=metrics, stop=stop
            )
        )


async def verify(
    request: VerifyRequest,
    settings: Settings,
    *,
    output: str | Path | None = None,
    max_duration: float | None = None,
    metrics: RunMetrics | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> Verification:
    """Do what `verify_links` does within a running event loop."""
    began, clock = time.monotonic(), clock or Clock()
    known = settings.for_calls()
    _check_scope(known)
    if output is not None:
        check_place(str(output))
        table = NamedPath(what="table of verdicts", path=str(output))
        check_apart([table], paths_read(settings, catalog=request.links))
        check_replaceable(str(output), VERIFIED)
    existing_ledger(settings)
    ledger = LedgerReader(known.ledger, base_url=known.base_url)
    targets = await asyncio.to_thread(_targets, request, known.project_id, ledger)
    metrics, stop = metrics or RunMetrics(), stop or Stop()
    metrics.planned += len(targets)
    run_id, fingerprint = new_run_id(), key_fingerprint(known.api_key)
    learned = ledger.read(lambda connection: load_rate(connection, fingerprint))
    most = known.max_in_flight
    async with (
        client_of(known) as client,
        open_throttle(
            known, run_id, learned, most=most, clock=clock, stop=stop, metrics=metrics
        ) as throttle,
    ):
        reader = _Reader(client, throttle)
        with stop.within(max_duration):
            batches = [
                await reader.page(await asyncio.to_thread(_load, ledger, page))
                for page in _pages(targets)
            ]
    await asyncio.to_thread(_dispute, ledger.file, reader.disputed, clock)
    table = pa.Table.from_batches(batches, schema=VERIFIED)
    if output is not None:
        facts = Owner(base_url=known.base_url, project_id=known.project_id).facts
        await asyncio.to_thread(
            _write, table, str(output), facts | {"ledger_id": ledger.ledger_id, "run_id": run_id}
        )
    counted = Counter(table["verdict"].to_pylist())
    return Verification(
        table=table,
        counts={verdict: counted[verdict.value] for verdict in Verdict},
        requests=metrics.requests,
        seconds=time.monotonic() - began,
        end=throttle.circuits.end or _forbidden(throttle.circuits),
        stopped=stop.reason,
        output=None if output is None else str(output),
        disputed=len(reader.disputed),
    )


def _write(table: pa.Table, output: str, facts: Mapping[str, str]) -> None:
    write_table(table.to_batches(), VERIFIED.with_metadata(metadata_of(facts)), output)


def _check_scope(settings: CallSettings) -> None:
    if settings.scopes is not None and SCOPE not in settings.scopes:
        raise RefusedError(
            f"The API key lacks the scope {SCOPE}.",
            fix="Use a key that has it, or correct INCARTS_SCOPES.",
            guard="missing_scope",
        )


def _targets(request: VerifyRequest, project_id: str, ledger: LedgerReader) -> list[Target]:
    """Return the links to read, in the order of their sets and rows."""
    wanted = _link_ids(request.links) if request.links is not None else None
    found = ledger.read(
        lambda connection: links_to_read(connection, project_id, request.link_sets, wanted)
    )
    if request.only:
        chosen = set(request.only)
        found = [one for one in found if chosen & {one.row_key, one.link_id}]
        unknown = chosen - {name for one in found for name in (one.row_key, one.link_id)}
        if unknown:
            raise RefusedError(
                f"The ledger has no row and no link {min(unknown)!r}.",
                fix="Give row keys or link ids as links.parquet shows them.",
                guard="unknown_link",
            )
    if request.sample is not None and request.sample < len(found):
        chance = random.SystemRandom()
        places = sorted(chance.sample(range(len(found)), request.sample))
        found = [found[place] for place in places]
    return found


def _link_ids(source: object) -> list[str]:
    catalog = open_catalog(source)
    catalog.require(["link_id"])
    if "link_id" not in catalog.schema.names:
        raise CatalogError(
            f"{catalog.name} has no column 'link_id'; it has {', '.join(catalog.schema.names)}.",
            fix="Give a published links.parquet, or rename the column.",
            column="link_id",
        )
    found: dict[str, None] = {}
    for batch in catalog.batches():
        texts = Columns(batch, Findings(batch.num_rows)).text("link_id")
        found.update(dict.fromkeys(texts.drop_null().to_pylist()))
    wrong = next((text for text in found if not is_id(text)), None)
    if wrong is not None:
        raise CatalogError(
            f"{catalog.name} has {wrong!r} in 'link_id', which is no link's id.",
            fix="Leave the cell empty where there is no link.",
            column="link_id",
        )
    return list(found)


def _pages(targets: Sequence[Target]) -> Iterator[Sequence[Target]]:
    for start in range(0, len(targets), _PAGE):
        yield targets[start : start + _PAGE]


def _load(ledger: LedgerReader, page: Sequence[Target]) -> list[MadeLink]:
    return ledger.read(lambda connection: links_made(connection, page))


def _dispute(file: Path, found: Sequence[tuple[int, str]], clock: Clock) -> None:
    """Let the ledger know which links can't be trusted, so that the next plan holds their rows."""
    if not found:
        return
    now = clock.now()
    with once(file) as connection:
        for op_id, link_id in found:
            dispute(connection, op_id, link_id, now)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads links back a page at a time; keeps a page's last answers, with their times.

    `disputed` are the operations, and their links, that lead elsewhere than was asked for.
    """

    client: IncartsClient
    throttle: Throttle
    answers: dict[str, tuple[Answer, float]] = field(default_factory=dict)
    disputed: list[tuple[int, str]] = field(default_factory=list)

    async def read(self, link_id: str, slot: Slot) -> AttemptResult:
        """Make one attempt to read a link, which is safe to repeat."""
        if not await slot.depart():
            return AttemptResult.KEPT_BACK
        self.throttle.metrics.requests += 1
        answer = await self.client.look_up(link_id, correlation_id=new_correlation_id())
        self.answers[link_id] = answer, self.throttle.clock.now().wall
        result = _RESULTS.get(answer.kind, AttemptResult.SETTLED)
        is_read = result is AttemptResult.SETTLED
        slot.answered(answer, state=State.DONE if is_read else State.IN_DOUBT)
        return result

    async def page(self, made: Sequence[MadeLink]) -> pa.RecordBatch:
        """Read some links at once, and return their rows of the table."""
        self.answers.clear()
        most = {AttemptResult.NO_EFFECT: _TRIES}
        async with Attempts[_Reading](self.throttle, most=most, grace=_GRACE_SECONDS) as begun:
            await begun.begin([_Reading(self, link.link_id) for link in made])
        rows = []
        for link in made:
            answer, at = self.answers.get(link.link_id, (None, None))
            found = judge(link, answer)
            rows.append(_row(link, found, at))
            # What a person said is right isn't asked for again.
            if found.is_of_something_else and link.op_id and link.proof != Proof.REVIEW:
                self.disputed.append((link.op_id, link.link_id))
        return pa.RecordBatch.from_pylist(rows, schema=VERIFIED)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One link that is being read."""

    reader: _Reader
    link_id: str
    retailer: str = ""
    intent: str = SCOPE

    async def attempt(self, slot: Slot) -> AttemptResult:
        """Make one attempt."""
        return await self.reader.read(self.link_id, slot)


def _row(made: MadeLink, found: Finding, at: float | None) -> dict[str, object]:
    checked = found.verdict is not Verdict.NOT_CHECKED and at is not None
    return {
        "link_set": made.link_set,
        "row_key": made.row_key,
        "link_id": made.link_id,
        "verdict": found.verdict.value,
        "differences": [
            {"field": one.field, "sent": one.sent, "found": one.found} for one in found.differences
        ],
        "status": found.status,
        "http_status": found.http_status,
        "checked_at": dt.datetime.fromtimestamp(at, dt.UTC) if checked and at else None,
    }


def _forbidden(circuits: Circuits) -> End | None:
    for said in circuits.forbidden.values():
        return End(
            kind=EndKind.FORBIDDEN,
            message=f"Incarts doesn't let this key read links (403{f': {said}' if said else ''}).",
            fix=f"Use a key that has the scope {SCOPE} and access to the project.",
        )
    return None
