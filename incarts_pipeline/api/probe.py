"""Probe: whether the host, the path and the key are right, found out without making anything."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from incarts_pipeline.api.attribution import Request
from incarts_pipeline.api.client import IncartsClient, new_correlation_id
from incarts_pipeline.api.endpoints import LINK
from incarts_pipeline.api.responses import Reply, error_for, is_own, is_page
from incarts_pipeline.api.transport import explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a look at the API showed.

    `code` is `ok`, `no_read`, `bad_key`, `wrong_base_url`, `trouble`, or why nothing answered:
    `dns`, `tls`, `proxy`, `connect`, `timeout`, `broken`. `fix` says what to do when `ok` is false.
    """

    ok: bool
    code: str
    message: str
    fix: str | None = None


async def probe(client: IncartsClient) -> Probe:
    """Tell a wrong host, path or key without making anything: read a link that can't exist."""
    ours = new_correlation_id()
    request = Request(correlation_id=ours, link_id="lnk_doctor-made-up-id")
    try:
        reply, _ = await client._exchange("GET", LINK, request, None)
    except (httpx.RequestError, TimeoutError) as error:
        failure = explain(error)
        return Probe(
            ok=False,
            code=failure.kind.value,
            message=f"{client.base_url} doesn't answer: {failure.message}.",
            fix=_FIXES.get(failure.kind.value, "Check INCARTS_API_BASE_URL and the network."),
        )
    return _judged(reply, client.base_url, ours)


_FIXES = {
    "tls": "Check the host name; behind a proxy that opens TLS, let SSL_CERT_FILE name its "
    "authorities.",
    "proxy": "Check HTTPS_PROXY, or put the host into NO_PROXY.",
    "timeout": "Try again later.",
}


def _judged(reply: Reply, base_url: str, ours: str) -> Probe:
    error = error_for(reply.problem(ours))
    own = is_own(reply.body, echoed=reply.headers.get("x-correlation-id") == ours)
    page = is_page(reply.body)
    foreign = reply.status in (501, 505) and not own
    if reply.status == 429 or (reply.status >= 500 and not foreign):
        return Probe(ok=False, code="trouble", message=error.message, fix="Try again later.")
    if own and (reply.status == 404 or LINK.parse(reply.content)):
        return Probe(ok=True, code="ok", message=f"{base_url} answers and the key is accepted")
    if reply.status == 403 and not page:
        message = "the key is valid, but has no scope links:read"
        return Probe(ok=True, code="no_read", message=message)
    if reply.status == 401 and not page:
        return Probe(ok=False, code="bad_key", message=error.message, fix=error.fix)
    return Probe(
        ok=False,
        code="wrong_base_url",
        message=f"what answers at {base_url} is not the Incarts API (status {reply.status})",
        fix="Check INCARTS_API_BASE_URL: the scheme, the host, and the path without /v1.",
    )
