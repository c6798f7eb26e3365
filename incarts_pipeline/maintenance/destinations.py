"""Destinations of a catalog's links: each URL asked for once, before its code is in print.

No part of a run. Robots' rules are no matter here: it is the caller's own shop, and its pages are
asked for at a person's pace, one request a second and host.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import ipaddress
import json
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx
import pyarrow as pa

from incarts_pipeline.pipeline import opened
from incarts_pipeline.plan import NamedPath, PlanRequest, check_apart, paths_read
from incarts_pipeline.prepare import Reach
from incarts_pipeline.prepare.prepare import prepare
from incarts_pipeline.publish import check_place, check_replaceable, write_table
from incarts_pipeline.schemas import DESTINATIONS
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking

SECONDS_APART = 1.0  # between two requests to one host
_TIMEOUT = 15.0  # seconds
_HOSTS_AT_ONCE = 20
_MOST_REDIRECTS = 10
_FIELDS = ("customUrl", "fallbackUrl")
_ASK_AGAIN = (403, 405, 501)  # servers that don't like HEAD
_GONE = (404, 410)
_PROJECT = "check"  # which no body is sent for


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How the destinations of a catalog stand; `table` has the columns of `DESTINATIONS`."""

    table: pa.Table
    counts: Mapping[Reach, int]
    requests: int
    output: str | None = None

    def exit_code(self) -> int:
        """Return the shell's exit code: 0 all ok, 3 some aren't."""
        return 0 if self.counts[Reach.OK] == self.table.num_rows else 3


@dataclass(slots=True, kw_only=True)
class _Destination:
    row: int
    links: int = 0
    fields: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    verdict: Reach
    status: int | None = None
    reason: str | None = None
    redirects: tuple[str, ...] = ()
    at: dt.datetime | None = None


def check_destinations(
    request: PlanRequest,
    settings: Settings | None = None,
    *,
    output: str | None = None,
    private: bool = False,
) -> Checked:
    """Ask for each URL that a catalog's links would lead to, once, and say which are dead.

    HEAD first, GET where a server doesn't take that; redirects are followed and told; no cookies
    are kept, and no body is read. No link is made, and the ledger isn't looked at. What the
    mapping holds as dead is asked for as the rest is, so that its table can be written anew.

    Args:
        request: the catalog and its mapping, as for a plan.
        settings: of these only the limits of fields count.
        output: where the table goes, a Parquet file; None for nowhere.
        private: whether addresses of private networks and of this machine are asked for too.

    Raises:
        CatalogError: the catalog can't be read.
        MappingError: the mapping doesn't fit.
        PublishError: the output can't be written.
        RefusedError: the output is what is read, or something else.
    """
    known = settings or load_settings()
    if output is not None:
        check_place(output)
        place = NamedPath(what="table of destinations", path=output)
        catalog, form = request.catalog, request.catalog_format
        read = paths_read(known, catalog=catalog, catalog_format=form, mapping=request.mapping)
        check_apart([place], read)
        check_replaceable(output, DESTINATIONS)
    wanted = _destinations(request, known)
    asking = _Asking(private=private)
    found = run_blocking(lambda _: asking.all(wanted))
    table = _table(wanted, found)
    if output is not None:
        write_table(table.to_batches(), DESTINATIONS, output)
    counts = Counter(one.verdict for one in found.values())
    return Checked(
        table=table,
        counts={reach: counts[reach] for reach in Reach},
        requests=asking.requests,
        output=output,
    )


def _destinations(request: PlanRequest, settings: Settings) -> dict[str, _Destination]:
    """Return the distinct URLs of all rows that break no rule, in the order of the catalog."""
    catalog, mapping = opened(request)
    prepared = prepare(
        catalog.batches(),
        mapping,
        schema=catalog.schema,
        project_id=_PROJECT,
        limits=settings.limits,
    )
    found: dict[str, _Destination] = {}
    for batch in prepared:
        rows, bodies = batch["catalog_row"].to_pylist(), batch["body"].to_pylist()
        for row, body in zip(rows, bodies, strict=True):
            for name, url in _urls(body):
                one = found.setdefault(url, _Destination(row=row))
                one.links += 1
                one.fields[name] = None
    return found


def _urls(body: str | None) -> Iterator[tuple[str, str]]:
    content = json.loads(body) if body else {}
    for name in _FIELDS:
        if content.get(name):
            yield name, content[name]


def _table(wanted: dict[str, _Destination], found: dict[str, _Found]) -> pa.Table:
    rows = [
        {
            "url": url,
            "verdict": found[url].verdict.value,
            "http_status": found[url].status,
            "reason": found[url].reason,
            "redirects": list(found[url].redirects),
            "fields": list(one.fields),
            "links": one.links,
            "catalog_row": one.row,
            "checked_at": found[url].at,
        }
        for url, one in wanted.items()
    ]
    return pa.Table.from_pylist(rows, schema=DESTINATIONS)


class HostPace:
    """Turns at hosts: one at a time at each, and so many seconds between two."""

    def __init__(
        self,
        *,
        seconds: float = SECONDS_APART,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._seconds = seconds
        self._sleep = sleep
        self._locks: dict[str, asyncio.Lock] = {}
        self._asked: set[str] = set()

    async def turn(self, host: str) -> None:
        """Wait until it is the caller's turn at a host."""
        async with self._locks.setdefault(host, asyncio.Lock()):
            if host in self._asked:
                await self._sleep(self._seconds)
            self._asked.add(host)


class _Asking:
    """Requests for URLs; `requests` counts them."""

    def __init__(self, *, private: bool) -> None:
        self.requests = 0
        self._private = private
        self._pace = HostPace()

    async def all(self, wanted: Mapping[str, object]) -> dict[str, _Found]:
        """Ask for each URL once; many hosts at once, but one URL of a host after the other."""
        hosts: dict[str, list[str]] = {}
        for url in wanted:
            hosts.setdefault(urlsplit(url).netloc, []).append(url)
        found: dict[str, _Found] = {}
        at_once = asyncio.Semaphore(_HOSTS_AT_ONCE)
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        async with httpx.AsyncClient(
            timeout=_TIMEOUT, cookies=no_cookies, headers={"User-Agent": "incarts-check"}
        ) as client:

            async def host(urls: list[str]) -> None:
                async with at_once:
                    for url in urls:
                        one = await self._one(client, url)
                        found[url] = dataclasses.replace(one, at=dt.datetime.now(dt.UTC))

            async with asyncio.TaskGroup() as tasks:
                for urls in hosts.values():
                    tasks.create_task(host(urls))
        return found

    async def _one(self, client: httpx.AsyncClient, url: str) -> _Found:
        redirects: list[str] = []
        at = url
        while len(redirects) <= _MOST_REDIRECTS:
            answer = await self._ask(client, at)
            if isinstance(answer, _Found):
                return _Found(
                    verdict=answer.verdict, reason=answer.reason, redirects=tuple(redirects)
                )
            if answer.next_request is None:
                return _Found(
                    verdict=_verdict(answer.status_code),
                    status=answer.status_code,
                    redirects=tuple(redirects),
                )
            at = str(answer.next_request.url)
            redirects.append(at)
        return _Found(
            verdict=Reach.UNCLEAR, reason="too many redirects", redirects=tuple(redirects)
        )

    async def _ask(self, client: httpx.AsyncClient, url: str) -> httpx.Response | _Found:
        """Return the answer to HEAD, or to GET where that says nothing; what is wrong instead."""
        try:
            if (refusal := await self._refusal(url)) is not None:
                return refusal
            answer = await self._send(client, "HEAD", url)
            if answer.status_code in _ASK_AGAIN:
                answer = await self._send(client, "GET", url)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            reason = str(error) or type(error).__name__
            return _Found(verdict=Reach.UNCLEAR, reason=reason)
        return answer

    async def _send(self, client: httpx.AsyncClient, method: str, url: str) -> httpx.Response:
        await self._pace.turn(urlsplit(url).netloc)
        self.requests += 1
        # Streamed, so that no page is loaded.
        async with client.stream(method, url, follow_redirects=False) as answer:
            return answer

    async def _refusal(self, url: str) -> _Found | None:
        """Return why a URL isn't asked for: there is no such host, or it is a private one."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        try:
            places = await loop.getaddrinfo(
                parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM
            )
        except socket.gaierror as error:
            # A name server that can't be reached says nothing about the host.
            unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
            verdict = Reach.DEAD if unknown else Reach.UNCLEAR
            return _Found(verdict=verdict, reason=f"no address: {error.strerror}")
        addresses = [ipaddress.ip_address(place[4][0]) for place in places]
        if self._private or all(one.is_global for one in addresses):
            return None
        return _Found(verdict=Reach.PRIVATE, reason=f"a private address, {addresses[0]}")


def _verdict(status: int) -> Reach:
    if 200 <= status < 300:
        return Reach.OK
    return Reach.DEAD if status in _GONE else Reach.UNCLEAR
