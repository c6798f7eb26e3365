"""Endpoints: what is made or read where, and how the answer is understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from incarts_pipeline.api.responses import parse_link, parse_made_code
from incarts_pipeline.models import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One of the API's endpoints; `{}` in `path` stands for a link's id.

    `parse` finds what was made or read in an answer's parsed body, None when it isn't there.
    """

    path: str
    parse: Callable[[object], Link | None] = parse_link

    @property
    def is_of_link(self) -> bool:
        """Whether the path names a link, so that a 404 may be about it."""
        return "{}" in self.path

    def url(self, base_url: str, link_id: str | None = None) -> str:
        """Return where it is on a host.

        Raises:
            ValueError: the path names a link, and this is no link's id.
        """
        if not self.is_of_link:
            return base_url + self.path
        if link_id is None or not 3 <= len(link_id) <= 128:
            raise ValueError(f"{link_id!r} is not a link id: it must have 3 to 128 characters")
        return base_url + self.path.format(quote(link_id, safe=""))


LINKS = Endpoint(path="/v1/links")
LINK = Endpoint(path="/v1/links/{}")
QR_CODES = Endpoint(path="/v1/links/{}/qr-codes", parse=parse_made_code)
