from .build import as_saved as as_saved, make_plan as make_plan, replan as replan
from .changed_rows import ChangedRows as ChangedRows
from .changes import GROUPS as GROUPS
from .checked_table import dead_destinations as dead_destinations
from .digest import length_prefixed as length_prefixed, text_sum as text_sum
from .examples import Example as Example
from .figures import Count as Count, PlanFigures as PlanFigures, refuse as refuse
from .guards import EMPTY_GUARD as EMPTY_GUARD, Refusal as Refusal
from .named_paths import (
    NamedPath as NamedPath,
    check_apart as check_apart,
    paths_read as paths_read,
)
from .odd_ids import SEEN_ROWS as SEEN_ROWS
from .plan import CALL_BATCH as CALL_BATCH, Plan as Plan, PlanOptions as PlanOptions
from .plan_file import (
    SUFFIX as SUFFIX,
    SavedPlan as SavedPlan,
    load_plan as load_plan,
    plan_path as plan_path,
    save_plan as save_plan,
    sign_plan as sign_plan,
)
from .planned_rows import PlannedRow as PlannedRow
from .quiet import GONE as GONE, QUIET as QUIET, Quiet as Quiet, Seen as Seen
from .request import PlanRequest as PlanRequest, QrRequest as QrRequest
from .signature import check_signer as check_signer, new_keys as new_keys
from .workspace import Workspace as Workspace
