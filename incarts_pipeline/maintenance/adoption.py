"""Adoption of a link that exists at Incarts: it is read back, compared, and the row uses it."""

from __future__ import annotations

from incarts_pipeline.api import client_of, is_given_id
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import ApiError, NotFoundError, RefusedError
from incarts_pipeline.ledger import Case, MadeLink, bodies_of, existing_ledger, once, review
from incarts_pipeline.maintenance.compare import differences
from incarts_pipeline.maintenance.review import cases_to_settle, open_cases
from incarts_pipeline.models import Link, QrCode
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import run_blocking


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
        [case] = cases_to_settle(connection, chosen, [key])
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
    of_link = case.for_link_id
    if not is_given_id(made_id) or made_id == of_link:
        what, like = ("link", "lnk_…") if of_link is None else ("QR code", "qr_…")
        raise RefusedError(
            f"{made_id!r} is not a {what}'s id.",
            fix=f"Give the {what}'s own id: 3 to 128 characters, like {like}, and no address.",
            guard="unknown_link",
        )
    if of_link is not None:
        return QrCode(id=made_id, link_id=of_link)
    if unchecked:
        return Link(id=made_id)
    link = run_blocking(lambda _: _read_back(settings, made_id))
    bodies = existing_ledger(settings).read(lambda c: bodies_of(c, [case.op_id]))
    _compare(link, bodies.get(case.op_id))
    return link


def _compare(link: Link, body: bytes | None) -> None:
    """Refuse a link that holds something else than what was sent."""
    if body is None:
        raise RefusedError(
            f"What was sent under this key is not known, so {link.id} can't be compared with it.",
            fix=f"Look at it yourself. {_ALL_THE_SAME}",
            guard="another_link",
        )
    found = differences(MadeLink(link_id=link.id, body=body), link)
    if found:
        differing = "; ".join(f"{one.field} is {one.found!r}, not {one.sent!r}" for one in found)
        raise RefusedError(
            f"{link.id} is not the link of this row: {differing}.",
            fix=f"Check the id. {_ALL_THE_SAME}",
            guard="another_link",
        )


_ALL_THE_SAME = "--unchecked, in Python unchecked=True, adopts it all the same."
