"""Kinds of things that are made, each exactly once: links, and QR codes of them."""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.models import Intent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """One kind of thing that is made, each exactly once.

    Attributes:
        name: what the ledger calls it, in `link_set.kind`.
        noun: what people call one of it.
        endpoint: method and path of the call that makes it. It is part of every idempotency key,
            so it never changes.
        id_column: the column of the published table that holds its id.
        is_catalog: whether a table lists all that there should be, so that what it lacks is
            missing, its shares are guarded, and its companions tell the rest.
        keeps_content: whether what was made under a row's key is kept whatever is asked for today,
            since the API takes no second one under it.
        scope: what an API key needs for the call.
        scopes_by_retailer: whether it needs another one for the retailer.
        row_number: SQL over a request: the row that examples name.
        made_for: SQL over a request: the link that the thing is made for, if it is for one.
    """

    name: str
    noun: str
    endpoint: str
    id_column: str
    is_catalog: bool
    keeps_content: bool
    scope: str
    scopes_by_retailer: bool
    row_number: str
    made_for: str

    @property
    def path(self) -> str:
        """The path to post to, in which `{linkId}` stands for the id of the link it is made for."""
        return self.endpoint.removeprefix("POST ")

    def scopes(self, retailer: str, intent: str) -> tuple[str, ...]:
        """Return the scopes that a call needs: custom URLs share one, the rest go by retailer."""
        if not self.scopes_by_retailer:
            return (self.scope,)
        return (self.scope, f"retailers:{'custom' if intent == Intent.CUSTOM_URL else retailer}")


LINKS = Kind(
    name="links",
    noun="link",
    endpoint="POST /v1/links",
    id_column="link_id",
    is_catalog=True,
    keeps_content=False,
    scope="links:write",
    scopes_by_retailer=True,
    row_number="catalog_row",
    made_for="NULL::VARCHAR",
)
QR_CODES = Kind(
    name="qr_codes",
    noun="QR code",
    endpoint="POST /v1/links/{linkId}/qr-codes",
    id_column="qr_code_id",
    is_catalog=False,
    keeps_content=True,
    scope="qr-codes:write",
    scopes_by_retailer=False,
    row_number='code."row"',
    made_for="request.code.link_id",
)
KINDS = {kind.name: kind for kind in (LINKS, QR_CODES)}


def kind_for(for_link_id: str | None) -> Kind:
    """Return the kind of an operation: what is made for a link is a QR code of it."""
    return LINKS if for_link_id is None else QR_CODES
