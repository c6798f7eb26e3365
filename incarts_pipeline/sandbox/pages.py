"""Pages beside the API: short links, QR images and the sandbox's own controls."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import segno
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from incarts_pipeline.sandbox.audit import Audit
from incarts_pipeline.sandbox.store import Store


class Controls(Protocol):
    """What can be steered from outside; the application, which knows these pages itself."""

    @property
    def log(self) -> Iterable[Any]:
        """The requests so far."""

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""

    def reconfigure(self, changes: Mapping[str, Any]) -> None:
        """Change switches while running."""

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail."""

    def alter(self, link_id: str, changes: Mapping[str, Any] | None) -> None:
        """Change a link's fields, or let it disappear."""


class Pages:
    """The pages' handlers."""

    def __init__(self, store: Store, controls: Controls) -> None:
        self._store = store
        self._controls = controls

    def routes(self) -> Router:
        """Return the pages as an ASGI application."""
        return Router(
            routes=[
                Route("/s/{short_id}", self._short_link),
                Route("/qr/{short_id}.png", self._qr_image),
                Route("/_sandbox/audit", self._audit),
                Route("/_sandbox/requests", self._requests),
                Route("/_sandbox/reconfigure", self._reconfigure, methods=["POST"]),
                Route("/_sandbox/fail_next", self._fail_next, methods=["POST"]),
                Route("/_sandbox/alter", self._alter, methods=["POST"]),
            ]
        )

    async def _short_link(self, request: Request) -> Response:
        link = self._store.link_of_short_id(request.path_params["short_id"])
        if link is None:
            return Response("there is no such link", 404)
        return RedirectResponse(link["targetUrl"], 302)

    async def _qr_image(self, request: Request) -> Response:
        link = self._store.link_of_short_id(request.path_params["short_id"])
        code = link["qrCode"] if link else None
        # Further codes have the link's address and their identifier behind it.
        identifier = request.query_params.get("code")
        if link is not None and identifier is not None:
            code = self._store.qr_of_identifier(link["id"], identifier)
        if code is None:
            return Response("there is no such QR code", 404)
        image = io.BytesIO()
        # A real code: tests scan it, and print it in notebooks.
        segno.make_qr(code["encodedUrl"], error="m").save(image, kind="png", scale=8)
        return Response(image.getvalue(), media_type="image/png")

    async def _audit(self, _: Request) -> Response:
        return JSONResponse(dataclasses.asdict(self._controls.audit()))

    async def _requests(self, _: Request) -> Response:
        # Whole: a test looks for what it doesn't know yet.
        return JSONResponse([dataclasses.asdict(one) for one in self._controls.log])

    async def _reconfigure(self, request: Request) -> Response:
        try:
            self._controls.reconfigure(await request.json())
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({})

    async def _fail_next(self, request: Request) -> Response:
        try:
            self._controls.fail_next(**await request.json())
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({})

    async def _alter(self, request: Request) -> Response:
        try:
            self._controls.alter(**await request.json())
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({})
