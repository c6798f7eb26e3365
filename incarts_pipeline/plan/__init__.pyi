from .figures import (
    Count as Count,
    Example as Example,
    PlanFigures as PlanFigures,
    refuse as refuse,
)
from .guards import EMPTY_GUARD as EMPTY_GUARD, Refusal as Refusal
from .plan import Plan as Plan, PlanOptions as PlanOptions, make_plan as make_plan
from .plan_file import (
    SUFFIX as SUFFIX,
    SavedPlan as SavedPlan,
    load_plan as load_plan,
    save_plan as save_plan,
)
from .qr_codes import ON_CHANGE as ON_CHANGE, CodePlan as CodePlan, make_code_plan as make_code_plan
from .request import PlanRequest as PlanRequest
from .workspace import Workspace as Workspace
