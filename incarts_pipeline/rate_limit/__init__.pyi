from .estimate import ExpectedPace as ExpectedPace, expected_pace as expected_pace
from .factory import pacing as pacing
from .limit import Learned as Learned, LimitKind as LimitKind, Pacer as Pacer
from .shared_file import waiting_now as waiting_now
