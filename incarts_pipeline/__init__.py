"""Turn product tables into Incarts links, each made exactly once."""

from incarts_pipeline.client import IncartsClient
from incarts_pipeline.door import run_blocking
from incarts_pipeline.errors import IncartsError
from incarts_pipeline.mapping import Mapping, default_mapping, load_mapping
from incarts_pipeline.models import Action, Link, QrCode, Reason, Status
from incarts_pipeline.pipeline import (
    PlanRequest,
    RunResult,
    apply_plan,
    plan_catalog,
)
from incarts_pipeline.plan import Plan
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.writer import IfRunning, WriteOptions

__all__ = [
    "Action",
    "IfRunning",
    "IncartsClient",
    "IncartsError",
    "Link",
    "Mapping",
    "Plan",
    "PlanRequest",
    "QrCode",
    "Reason",
    "RunResult",
    "Settings",
    "Status",
    "WriteOptions",
    "apply_plan",
    "default_mapping",
    "load_mapping",
    "load_settings",
    "plan_catalog",
    "run_blocking",
]
