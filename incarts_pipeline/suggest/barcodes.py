"""Barcodes among item ids: whether ids that look like one are ones, or are so by chance.

The last digit of a barcode (GTIN) is computed from the others, as the GS1 General Specifications
have it: in a column of barcodes it is right everywhere, in one of other ids in one of ten.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.compute as pc

from incarts_pipeline.mapping import named_group
from incarts_pipeline.models import Reason
from incarts_pipeline.suggest.findings import Finding
from incarts_pipeline.suggest.profile import Profile

_LENGTHS = (12, 13, 14)  # of digits, in ids that are held as barcodes
_FEWEST = 10  # ids that say anything
_CHANCE = 0.3  # the share up to which right digits are chance


def accepted_ids(profile: Profile, ids: Finding) -> Iterator[Finding]:
    """Yield that ids may look like barcodes, where they do so by chance.

    Args:
        profile: what the rows show that count.
        ids: the finding about products' ids.
    """
    found = [one for one in _ids(profile, ids.value) if len(one) in _LENGTHS and one.isdecimal()]
    right = sum(map(_checks, found))
    if len(found) < _FEWEST or not 0 < right <= _CHANCE * len(found):
        return
    yield Finding(
        field="accept",
        value=[Reason.LOOKS_LIKE_GTIN.value],
        why=f"{right:,} of {len(found):,} ids as long as barcodes have a barcode's last digit: as "
        "many as by chance, so the ids are none.",
    )


def _ids(profile: Profile, source: object) -> list[str]:
    column = profile.named(str(source["column"])) if isinstance(source, dict) else None
    if column is None or not isinstance(source, dict):
        return []
    if "extract" not in source:
        return [one.strip() for one in column.values.to_pylist()]
    pattern, name = named_group(str(source["extract"]))
    found = pc.extract_regex(column.values, pattern).drop_null().to_pylist()
    return [one[name] for one in found]


def _checks(digits: str) -> bool:
    *rest, last = map(int, digits)
    total = sum(digit * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(rest)))
    return (total + last) % 10 == 0
