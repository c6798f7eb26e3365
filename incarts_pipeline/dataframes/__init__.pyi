from .arguments import (
    AnyMapping as AnyMapping,
    PlanArguments as PlanArguments,
    Planning as Planning,
    WriteArguments as WriteArguments,
    Writing as Writing,
    planning_of as planning_of,
    shows as shows,
    writing_of as writing_of,
)
from .engines import (
    EngineFrame as EngineFrame,
    EnginePlan as EnginePlan,
    EngineResult as EngineResult,
    plan_frame as plan_frame,
    plan_on as plan_on,
    planned_on as planned_on,
    reading as reading,
    write_on as write_on,
)
from .functions import (
    awrite_links as awrite_links,
    plan_links as plan_links,
    write_links as write_links,
)
from .plan import LinksPlan as LinksPlan
from .qr_codes import create_qr_codes as create_qr_codes
from .result import LinksResult as LinksResult
from .suggestion import (
    SuggestedMapping as SuggestedMapping,
    suggest_mapping as suggest_mapping,
)
