"""The state of a shared pace: another layout has another name."""

from __future__ import annotations

import hashlib
import json

from pydantic import TypeAdapter

from incarts_pipeline.rate_limit.leases import Shared
from incarts_pipeline.rate_limit.pace_state import pace_name

# Processes of two versions that share a name make each other's state anew, again and again. So
# whoever changes a field raises `_LAYOUT`, and writes its number and the new digest here.
LAYOUT, FIELDS = "8", "f8715038589a"


def test_states_of_other_fields_have_another_name() -> None:
    """The number in a pace's name stands for just these fields."""
    schema = TypeAdapter(Shared).json_schema()
    kinds = {"Shared": schema, **schema["$defs"]}
    fields = {name: sorted(kind.get("properties", ())) for name, kind in kinds.items()}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]
    assert (pace_name("k", fixed=False).split()[-1], digest) == (LAYOUT, FIELDS)
