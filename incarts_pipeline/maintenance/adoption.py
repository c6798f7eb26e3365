"""Adoption of a link that exists at Incarts: it is read back, compared, and the row uses it."""

from __future__ import annotations

import json

from incarts_pipeline.api import client_of, is_id
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import ApiError, NotFoundError, RefusedError
from incarts_pipeline.ledger import Case, bodies_of, existing_ledger, once, review
from incarts_pipeline.maintenance.review import open_cases
from incarts_pipeline.models import Link, QrCode
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking

# What a link that was read back must have in common with what was sent.
_COMPARED = ("projectId", "name", "retailer", "intent")


def adopt(
    key: str, link_id: str, settings: Settings | None = None, *, unchecked: bool = False
) -> Link | QrCode:
    """Record that the link of an operation is `link_id`, and return it as Incarts has it.

    The link is read back (scope `links:read`) and compared with what was sent; `unchecked` takes
    the id alone. So does an operation that makes a QR code, since Incarts shows none by its id:
    `link_id` is the code's id then.

    Raises:
        RefusedError: the key is not open, the link is another row's, or it holds something else.
        ApiError: Incarts doesn't let us read the link.
        LedgerError: the ledger can't be used.
    """
    chosen = settings or load_settings()
    [case] = open_cases(chosen, keys=[key])
    made = _found(link_id, case, chosen, unchecked=unchecked)
    now = Clock().now()
    with once(existing_ledger(chosen).file) as connection:
        review.adopt(connection, case.op_id, made, now)
    return made


async def _read_back(settings: Settings, link_id: str) -> Link:
    async with client_of(settings) as client:
        try:
            return await client.get_link(link_id)
        except ValueError as error:
            raise RefusedError(f"{error}.", fix="Check the id.", guard="unknown_link") from error
        except NotFoundError as error:
            raise RefusedError(
                f"Incarts knows no link {link_id}, or this key may not see it.",
                fix="Check the id.",
                guard="unknown_link",
            ) from error
        except ApiError as error:
            error.fix = (
                "Use a key with links:read, or adopt it with --unchecked; in Python unchecked=True."
            )
            raise


def _found(made_id: str, case: Case, settings: Settings, *, unchecked: bool) -> Link | QrCode:
    """Return what a person found by its id, compared with what was sent where that can be had."""
    if case.for_link_id is not None:
        return _code(made_id, case)
    if unchecked:
        return Link(id=made_id)
    link = run_blocking(lambda _: _read_back(settings, made_id))
    bodies = existing_ledger(settings).read(lambda c: bodies_of(c, [case.op_id]))
    _compare(link, bodies.get(case.op_id))
    return link


def _code(code_id: str, case: Case) -> QrCode:
    if not is_id(code_id) or code_id == case.for_link_id:
        raise RefusedError(
            f"{code_id!r} is not a QR code's id.",
            fix="Give the id of the code, not of its link: 3 to 128 characters, like qr_….",
            guard="unknown_link",
        )
    return QrCode(id=code_id, link_id=case.for_link_id)


def _compare(link: Link, body: bytes | None) -> None:
    """Refuse a link that holds something else than what was sent."""
    sent = json.loads(body) if body else {}
    differing = [
        f"{name} is {link.raw[name]!r}, not {sent[name]!r}"
        for name in _COMPARED
        if name in sent and name in link.raw and link.raw[name] != sent[name]
    ]
    if differing:
        raise RefusedError(
            f"{link.id} is not the link of this row: {'; '.join(differing)}.",
            fix="Check the id; --unchecked, in Python unchecked=True, adopts it all the same.",
            guard="another_link",
        )
