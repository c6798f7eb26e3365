from .arguments import (
    AnyMapping as AnyMapping,
    PlanArguments as PlanArguments,
    Planning as Planning,
    WriteArguments as WriteArguments,
    Writing as Writing,
    shows as shows,
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
