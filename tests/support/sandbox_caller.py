"""A plain HTTP caller of the sandbox, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from incarts_pipeline.sandbox import ApiKey, Sandbox, SandboxProcess

NOON = 1_800_000_000.0  # a whole number of 60-second windows since 1970


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now


class Caller:
    """Calls the API with one key; `key` is an idempotency key, absent when None."""

    def __init__(self, http: httpx.Client, project_id: str) -> None:
        self.http = http
        self.project_id = project_id

    def body(self, **changes: Any) -> dict[str, Any]:
        """Return a valid body with changes; None leaves a field out."""
        body: dict[str, Any] = {
            "projectId": self.project_id,
            "name": "Oat Milk",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": [{"retailerProductId": "123456789", "quantity": 1}],
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    def create(self, key: str | None = None, **changes: Any) -> httpx.Response:
        """Create a link of a valid body with changes."""
        return self.post("/v1/links", self.body(**changes), key)

    def qr(self, link_id: str, key: str | None = None, **changes: Any) -> httpx.Response:
        """Create a QR code of a valid body with changes."""
        body = {"identifier": "shelf-1", "name": "Shelf"} | changes
        return self.post(f"/v1/links/{link_id}/qr-codes", body, key)

    def post(self, path: str, body: object, key: str | None = None) -> httpx.Response:
        """Post JSON, or bytes as they are."""
        headers = {} if key is None else {"Idempotency-Key": key}
        if isinstance(body, bytes):
            return self.http.post(path, content=body, headers=headers)
        return self.http.post(path, json=body, headers=headers)


@contextmanager
def calling(box: Sandbox | SandboxProcess, api_key: ApiKey | None = None) -> Iterator[Caller]:
    """Open a caller with the sandbox's first key, or another."""
    headers = {"X-Incarts-API-Key": api_key.key if api_key else box.api_key}
    project_id = min(api_key.projects) if api_key else box.project_id
    with httpx.Client(base_url=box.base_url, headers=headers, timeout=30, trust_env=False) as http:
        yield Caller(http, project_id)


def until(holds: Callable[[], bool]) -> None:
    """Ask again and again until something holds; the test's own timeout ends it otherwise."""
    while not holds():
        pass
