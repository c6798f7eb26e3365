from .api import IncartsClient as IncartsClient
from .dataframes import (
    LinksPlan as LinksPlan,
    LinksResult as LinksResult,
    SuggestedMapping as SuggestedMapping,
    awrite_links as awrite_links,
    create_qr_codes as create_qr_codes,
    plan_links as plan_links,
    suggest_mapping as suggest_mapping,
    write_links as write_links,
)
from .errors import IncartsError as IncartsError
from .maintenance import (
    Verification as Verification,
    adopt as adopt,
    evidence as evidence,
    ledger_overview as ledger_overview,
    open_cases as open_cases,
    recreate as recreate,
    row_history as row_history,
    stop_runs as stop_runs,
    verify_links as verify_links,
)
from .maintenance.import_links import import_links as import_links
from .mapping import (
    Mapping as Mapping,
    default_mapping as default_mapping,
    load_mapping as load_mapping,
)
from .models import (
    Action as Action,
    Link as Link,
    QrCode as QrCode,
    Reason as Reason,
    Status as Status,
)
from .pipeline import (
    RunResult as RunResult,
    apply_plan as apply_plan,
    plan_catalog as plan_catalog,
    plan_saved as plan_saved,
)
from .plan import (
    Plan as Plan,
    PlanRequest as PlanRequest,
    QrRequest as QrRequest,
    SavedPlan as SavedPlan,
    load_plan as load_plan,
    save_plan as save_plan,
)
from .prepare import Partition as Partition
from .qr_codes import apply_qr_codes as apply_qr_codes, plan_qr_codes as plan_qr_codes
from .settings import Settings as Settings, load_settings as load_settings
from .sync import run_blocking as run_blocking
from .workers import (
    EnqueueResult as EnqueueResult,
    enqueue_plan as enqueue_plan,
    publish_plan as publish_plan,
    work as work,
)
from .write import (
    IfRunning as IfRunning,
    WorkOptions as WorkOptions,
    WorkResult as WorkResult,
    WriteOptions as WriteOptions,
)
