from .answers import signal_of as signal_of
from .estimate import ExpectedPace as ExpectedPace, expected_pace as expected_pace
from .factory import pacing as pacing
from .leases import Lease as Lease, Report as Report, Shared as Shared
from .limit import (
    Learned as Learned,
    LimitKind as LimitKind,
    Pacer as Pacer,
    Wait as Wait,
)
from .pace_state import (
    OpenPace as OpenPace,
    Pace as Pace,
    kept_state as kept_state,
    restored_state as restored_state,
    waits_of as waits_of,
)
from .shared_file import PaceFile as PaceFile, waiting_now as waiting_now
from .signals import Outcome as Outcome, Signal as Signal
