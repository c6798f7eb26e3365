from .attempts import AttemptResult as AttemptResult, Attempts as Attempts
from .circuit_breaker import Circuits as Circuits, End as End, EndKind as EndKind
from .enqueue import Enqueued as Enqueued, Enqueuer as Enqueuer
from .garbage_collection import less_garbage_collection as less_garbage_collection
from .metrics import Latencies as Latencies, RunMetrics as RunMetrics, Timeline as Timeline
from .options import (
    SAMPLE_PER as SAMPLE_PER,
    IfRunning as IfRunning,
    WorkOptions as WorkOptions,
    WriteOptions as WriteOptions,
)
from .result import (
    LeftOver as LeftOver,
    WriteResult as WriteResult,
    left_over as left_over,
    telling_unrecorded as telling_unrecorded,
)
from .start import carry_out as carry_out, work_off as work_off
from .throttle import Slot as Slot, Throttle as Throttle, open_throttle as open_throttle
from .work import WorkResult as WorkResult
