from .adoption import adopt as adopt
from .case_groups import OpenCases as OpenCases
from .compare import Verdict as Verdict
from .destinations import (
    Checked as Checked,
    check_destinations as check_destinations,
)
from .ledger_files import (
    LedgerFile as LedgerFile,
    RestoredLedger as RestoredLedger,
    backup_ledger as backup_ledger,
    check_ledger as check_ledger,
    restore_ledger as restore_ledger,
)
from .ledger_moves import (
    MovedLedger as MovedLedger,
    cancel_move as cancel_move,
    move_ledger as move_ledger,
)
from .review import (
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
from .watch import Watched as Watched, watch_ledger as watch_ledger
