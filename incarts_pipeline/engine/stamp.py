"""Stamp: all that decides what becomes of a row beside the row itself and the ledger.

What was seen under one stamp says nothing under another one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import duckdb
import pyarrow as pa

from incarts_pipeline.engine.hashes import columns_of
from incarts_pipeline.identity import RECIPE
from incarts_pipeline.mapping import Mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.plan import PlanOptions

_FORMAT = 1  # of the snapshot's tables and of what is beside them
try:
    _VERSION = version("incarts-pipeline")
except PackageNotFoundError:  # run from a folder, without being installed
    _VERSION = ""


def stamp_of(
    options: PlanOptions,
    mapping: Mapping,
    schema: pa.Schema,
    *,
    limits: Limits,
    ledger_id: str,
) -> dict[str, Any]:
    """Return the stamp of a night, as JSON has it.

    Args:
        options: what the plan depends on; the mapping among them, with the URLs that lead nowhere.
        mapping: which columns are read.
        schema: the catalog's columns.
        limits: bounds that the API doesn't publish.
        ledger_id: which ledger it is.
    """
    facts = options.facts()
    # A mapping may be long, and hold what is nobody's business.
    facts["mapping"] = hashlib.sha256((options.mapping or "").encode()).hexdigest()
    columns = [[name, str(schema.field(name).type)] for name in columns_of(mapping)]
    return {
        "format": _FORMAT,
        "program": _VERSION,
        "recipe": RECIPE,
        # How numbers are written as text is DuckDB's, how all else is read Arrow's.
        "duckdb": duckdb.__version__,
        "arrow": pa.__version__,
        "ledger_id": ledger_id,
        "api_key": options.rule.api_key_fingerprint,
        "accepted": sorted(options.accepted),
        "limits": asdict(limits),
        "columns": columns,
        **facts,
    }
