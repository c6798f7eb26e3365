"""Turn product tables into Incarts links, each made exactly once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incarts_pipeline.client import IncartsClient
    from incarts_pipeline.door import run_blocking
    from incarts_pipeline.errors import IncartsError
    from incarts_pipeline.frame_door import awrite_links, plan_links, write_links
    from incarts_pipeline.frame_plans import LinksPlan
    from incarts_pipeline.frame_results import LinksResult
    from incarts_pipeline.importing import import_links
    from incarts_pipeline.mapping import Mapping, default_mapping, load_mapping
    from incarts_pipeline.models import Action, Link, QrCode, Reason, Status
    from incarts_pipeline.partition import Partition
    from incarts_pipeline.pipeline import (
        PlanRequest,
        RunResult,
        apply_plan,
        plan_catalog,
    )
    from incarts_pipeline.plan import Plan
    from incarts_pipeline.plan_file import SavedPlan, load_plan, plan_saved, save_plan
    from incarts_pipeline.qr_codes import QrRequest, apply_qr_codes, create_qr_codes, plan_qr_codes
    from incarts_pipeline.review import adopt, evidence, open_cases, recreate, row_history
    from incarts_pipeline.settings import Settings, load_settings
    from incarts_pipeline.status import ledger_overview, stop_runs
    from incarts_pipeline.verifying import Verification, verify_links
    from incarts_pipeline.writer import IfRunning, WriteOptions

__all__ = [
    "Action",
    "IfRunning",
    "IncartsClient",
    "IncartsError",
    "Link",
    "LinksPlan",
    "LinksResult",
    "Mapping",
    "Partition",
    "Plan",
    "PlanRequest",
    "QrCode",
    "QrRequest",
    "Reason",
    "RunResult",
    "SavedPlan",
    "Settings",
    "Status",
    "Verification",
    "WriteOptions",
    "adopt",
    "apply_plan",
    "apply_qr_codes",
    "awrite_links",
    "create_qr_codes",
    "default_mapping",
    "evidence",
    "import_links",
    "ledger_overview",
    "load_mapping",
    "load_plan",
    "load_settings",
    "open_cases",
    "plan_catalog",
    "plan_links",
    "plan_qr_codes",
    "plan_saved",
    "recreate",
    "row_history",
    "run_blocking",
    "save_plan",
    "stop_runs",
    "verify_links",
    "write_links",
]

# Each name is imported when it is first asked for: Dagster loads its definitions without pyarrow.
_MODULES = {
    "Action": "models",
    "IfRunning": "writer",
    "IncartsClient": "client",
    "IncartsError": "errors",
    "Link": "models",
    "LinksPlan": "frame_plans",
    "LinksResult": "frame_results",
    "Mapping": "mapping",
    "Partition": "partition",
    "Plan": "plan",
    "PlanRequest": "pipeline",
    "QrCode": "models",
    "QrRequest": "qr_codes",
    "Reason": "models",
    "RunResult": "pipeline",
    "SavedPlan": "plan_file",
    "Settings": "settings",
    "Status": "models",
    "Verification": "verifying",
    "WriteOptions": "writer",
    "adopt": "review",
    "apply_plan": "pipeline",
    "apply_qr_codes": "qr_codes",
    "awrite_links": "frame_door",
    "create_qr_codes": "qr_codes",
    "default_mapping": "mapping",
    "evidence": "review",
    "import_links": "importing",
    "ledger_overview": "status",
    "load_mapping": "mapping",
    "load_plan": "plan_file",
    "load_settings": "settings",
    "open_cases": "review",
    "plan_catalog": "pipeline",
    "plan_links": "frame_door",
    "plan_qr_codes": "qr_codes",
    "plan_saved": "plan_file",
    "recreate": "review",
    "row_history": "review",
    "run_blocking": "door",
    "save_plan": "plan_file",
    "stop_runs": "status",
    "verify_links": "verifying",
    "write_links": "frame_door",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"incarts_pipeline.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
