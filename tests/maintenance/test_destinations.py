"""Destinations: each URL asked for once and politely, what is dead told, nothing else touched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.maintenance import Checked, check_destinations, destinations
from incarts_pipeline.maintenance.destinations import HostPace
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.prepare import Reach
from incarts_pipeline.settings import Settings


class Shop(ThreadingHTTPServer):
    """A shop on this machine that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str]] = []
        self.cookies: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Shop

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        self.server.asked.append((method, self.path))
        self.server.cookies += self.headers.get_all("Cookie", [])
        path = self.path.partition("?")[0]
        status = int(path[1:4]) if path[1:4].isdigit() else 200
        if path.startswith("/no-head") and method == "HEAD":
            status = 405
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.path[4:])
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop, asked as fast as it answers."""
    monkeypatch.setattr(destinations, "HostPace", lambda: HostPace(seconds=0))
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


MAPPING = {
    "link_set": "s",
    "unique_key": ["sku"],
    "link": {
        "name": {"column": "sku"},
        "retailer": "shop",
        "intent": "custom_url",
        "custom_url": {"column": "url"},
    },
    "accept": [],
}


def check(shop: Shop, *paths: str, private: bool = True, output: str | None = None) -> Checked:
    rows = [
        {"sku": str(n), "url": path if "://" in path else shop.url + path}
        for n, path in enumerate(paths)
    ]
    request = PlanRequest(catalog=rows, mapping={k: v for k, v in MAPPING.items() if v})
    return check_destinations(request, Settings(), private=private, output=output)


def test_verdicts(shop: Shop, tmp_path: Path) -> None:
    """A page is ok, 404 and 410 are dead, whatever else is unclear; all are in the table."""
    output = str(tmp_path / "checked.parquet")
    result = check(shop, "/a", "/404", "/410", "/500", "/403", output=output)
    verdicts = dict.fromkeys(("/404", "/410"), "dead") | dict.fromkeys(("/500", "/403"), "unclear")
    read = pq.read_table(output)
    assert read.to_pylist() == result.table.to_pylist()
    found = {row["url"].removeprefix(shop.url): row["verdict"] for row in read.to_pylist()}
    assert found == {"/a": "ok"} | verdicts
    assert result.counts == {Reach.OK: 1, Reach.DEAD: 2, Reach.UNCLEAR: 2, Reach.PRIVATE: 0}
    assert result.exit_code() == 3


def test_each_url_is_asked_for_once(shop: Shop) -> None:
    """Rows that share a page cost one request; the table counts them, and has the first."""
    result = check(shop, "/x", "/p?a=1", "/p?a=1", "/p?a=1")
    assert sorted(shop.asked) == [("HEAD", "/p?a=1"), ("HEAD", "/x")]
    assert (result.requests, result.exit_code()) == (2, 0)
    row = result.table.to_pylist()[1]
    assert (row["links"], row["catalog_row"], row["fields"]) == (3, 1, ["customUrl"])


def test_get_where_head_is_not_taken(shop: Shop) -> None:
    """A server that refuses HEAD is asked with GET before anything is said of it."""
    assert check(shop, "/no-head").counts[Reach.OK] == 1
    assert shop.asked == [("HEAD", "/no-head"), ("GET", "/no-head")]


def test_redirects_are_followed_and_told(shop: Shop) -> None:
    """What counts is where somebody ends; the way there is in the table, cookies aren't kept."""
    [row] = check(shop, "/302/302/404").table.to_pylist()
    assert (row["verdict"], row["http_status"]) == ("dead", 404)
    assert row["redirects"] == [f"{shop.url}/302/404", f"{shop.url}/404"]
    assert shop.cookies == []
    [row] = check(shop, "/302" * 30).table.to_pylist()
    assert (row["verdict"], row["reason"]) == ("unclear", "too many redirects")


def test_private_addresses_are_left_alone(shop: Shop) -> None:
    """They are asked for only when that was said."""
    [row] = check(shop, "/a", private=False).table.to_pylist()
    assert (row["verdict"], row["reason"]) == ("private", "a private address, 127.0.0.1")
    assert shop.asked == []


def test_a_port_where_nobody_listens_is_unclear(shop: Shop) -> None:
    """What can't be reached now may be there tomorrow."""
    [row] = check(shop, "http://127.0.0.1:9/p").table.to_pylist()
    assert (row["verdict"], row["http_status"]) == ("unclear", None)
    assert row["reason"]


def test_hosts_are_asked_at_a_persons_pace() -> None:
    """Between two requests to one host there is a second; other hosts don't wait for it."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def ask() -> None:
        pace = HostPace(sleep=sleep)
        for host in ("a", "b", "a", "a"):
            await pace.turn(host)

    asyncio.run(ask())
    assert waited == [1.0, 1.0]
