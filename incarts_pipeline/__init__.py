"""Turn product tables into Incarts links, each made exactly once."""

from incarts_pipeline.client import IncartsClient
from incarts_pipeline.door import run_blocking
from incarts_pipeline.errors import IncartsError
from incarts_pipeline.importing import import_links
from incarts_pipeline.mapping import Mapping, default_mapping, load_mapping
from incarts_pipeline.models import Action, Link, QrCode, Reason, Status
from incarts_pipeline.pipeline import (
    PlanRequest,
    RunResult,
    apply_plan,
    plan_catalog,
)
from incarts_pipeline.plan import Plan
from incarts_pipeline.plan_file import SavedPlan, load_plan, plan_saved, save_plan
from incarts_pipeline.review import adopt, evidence, open_cases, recreate, row_history
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.status import ledger_overview, stop_runs
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
    "SavedPlan",
    "Settings",
    "Status",
    "WriteOptions",
    "adopt",
    "apply_plan",
    "default_mapping",
    "evidence",
    "import_links",
    "ledger_overview",
    "load_mapping",
    "load_plan",
    "load_settings",
    "open_cases",
    "plan_catalog",
    "plan_saved",
    "recreate",
    "row_history",
    "run_blocking",
    "save_plan",
    "stop_runs",
]
