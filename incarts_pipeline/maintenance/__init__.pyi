from .compare import Verdict as Verdict
from .review import (
    adopt as adopt,
    evidence as evidence,
    open_cases as open_cases,
    recreate as recreate,
    row_history as row_history,
)
from .status import ledger_overview as ledger_overview, stop_runs as stop_runs
from .verify import (
    Verification as Verification,
    VerifyRequest as VerifyRequest,
    verify_links as verify_links,
)
