from .answers import signal_of as signal_of
from .estimate import ExpectedPace as ExpectedPace, expected_pace as expected_pace
from .factory import pacing as pacing
from .limit import (
    Learned as Learned,
    LimitKind as LimitKind,
    Pacer as Pacer,
    Wait as Wait,
)
from .shared_file import waiting_now as waiting_now
from .signals import Outcome as Outcome, Signal as Signal
