"""An object store that says which requests it had, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Store:
    """A bucket named `links`; `options` go behind its URIs."""

    def __init__(self, client: Any, options: str) -> None:
        self.client = client
        self.options = options
        self.requests: list[tuple[str, str]] = []

    def listening(self, app: App) -> App:
        """Return a WSGI application that notes the requests of another."""

        def noted(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
            return app(environ, start)

        return noted

    def writes(self) -> list[tuple[str, str]]:
        """Return the requests so far that wrote something, and forget them all."""
        found = [one for one in self.requests if one[0] not in ("GET", "HEAD")]
        self.requests.clear()
        return found

    def tags(self) -> dict[str, str]:
        """Return what is there, with the ETag of each."""
        listed = self.client.list_objects_v2(Bucket="links").get("Contents", [])
        return {one["Key"]: one["ETag"] for one in listed}
