"""Dead destinations: URLs that led nowhere when they were checked, held wherever a link has one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import Reason
from incarts_pipeline.prepare.problems import Findings


class Reach(StrEnum):
    """Whether somebody who scans a code would get anywhere, as `incarts check` found it."""

    OK = "ok"  # answers with a page
    DEAD = "dead"  # 404, 410, or no such host
    UNCLEAR = "unclear"  # another answer, or none in time: look at it
    PRIVATE = "private"  # only its own network can open it; not asked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeadDestinations:
    """URLs that were found dead; beside each what was answered, and when, in words."""

    urls: pa.StringArray
    answers: pa.StringArray
    times: pa.StringArray

    @classmethod
    def of(cls, checked: pa.Table) -> Self:
        """Take the dead ones of a table; of `schemas.DESTINATIONS` it has what is read here.

        Args:
            checked: url, verdict and reason (string), http_status (int32), checked_at (timestamp
                in UTC).
        """
        dead = checked.filter(pc.equal(checked["verdict"], Reach.DEAD.value)).combine_chunks()
        status = pc.binary_join_element_wise("status ", dead["http_status"].cast(pa.string()), "")
        # Without a zone, in which formatting would need the system's time zones.
        times = dead["checked_at"].cast(pa.timestamp("s"), safe=False)
        return cls(
            urls=_whole(dead["url"]),
            answers=_whole(pc.coalesce(status, dead["reason"], "no answer")),
            times=_whole(pc.strftime(times, "%Y-%m-%d %H:%M UTC")),
        )

    @property
    def digest(self) -> str:
        """Which URLs they are, as 64 hex digits; in whatever order, and whenever checked."""
        urls = json.dumps(sorted(set(self.urls.to_pylist())))
        return hashlib.sha256(urls.encode()).hexdigest()

    def check(self, urls: pa.StringArray, field: str, findings: Findings) -> None:
        """Record a suspicion wherever a URL is one of them.

        Args:
            urls: a URL per row, null for none.
            field: the path of the field.
            findings: takes the problems.
        """
        places = pc.index_in(urls, value_set=self.urls, skip_nulls=True)
        if places.null_count == len(places):
            return
        findings.add(
            places.is_valid(),
            field,
            Reason.DEAD_DESTINATION,
            '"',
            urls,
            '" led nowhere when it was checked at ',
            self.times.take(places),
            ": ",
            self.answers.take(places),
            "; correct it, check it again, or accept dead_destination.",
        )


def _whole(column: pa.ChunkedArray) -> pa.StringArray:
    return pa.concat_arrays([pa.array([], pa.string()), *column.chunks])
