"""Endpoints: what is made or read where, and how the answer is understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

from incarts_pipeline import kinds
from incarts_pipeline.api.responses import parse_link, parse_made_code
from incarts_pipeline.models import Link, QrCode

Made = TypeVar("Made", Link, QrCode, Link | QrCode, covariant=True)

_LINK_ID = "{linkId}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Made]):
    """One of the API's endpoints; `{linkId}` in `path` stands for a link's id.

    `parse` finds what was made or read in an answer's parsed body, None when it isn't there.
    """

    path: str
    parse: Callable[[object], Made | None]

    @property
    def is_of_link(self) -> bool:
        """Whether the path names a link, so that a 404 may be about it."""
        return _LINK_ID in self.path

    def url(self, base_url: str, link_id: str | None = None) -> str:
        """Return where it is on a host.

        Raises:
            ValueError: the path names a link, and this is no link's id.
        """
        if not self.is_of_link:
            return base_url + self.path
        if link_id is None or not 3 <= len(link_id) <= 128:
            raise ValueError(f"{link_id!r} is not a link id: it must have 3 to 128 characters")
        return base_url + self.path.replace(_LINK_ID, quote(link_id, safe=""))


LINK = Endpoint(path="/v1/links/{linkId}", parse=parse_link)
LINKS = Endpoint(path=kinds.LINKS.path, parse=parse_link)
QR_CODES = Endpoint(path=kinds.QR_CODES.path, parse=parse_made_code)


_OF_KIND: dict[kinds.Kind, Endpoint[Link] | Endpoint[QrCode]] = {
    kinds.LINKS: LINKS,
    kinds.QR_CODES: QR_CODES,
}


def endpoint_of(kind: kinds.Kind) -> Endpoint[Link] | Endpoint[QrCode]:
    """Return where things of a kind are made."""
    return _OF_KIND[kind]
