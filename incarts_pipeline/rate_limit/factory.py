"""Factory: the pacing that the settings ask for, given or learned, shared or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from incarts_pipeline.clock import Clock
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Shared
from incarts_pipeline.rate_limit.limit import Learned, Pacer
from incarts_pipeline.rate_limit.memory import remember, remembered
from incarts_pipeline.rate_limit.pace_state import OpenPace, pace_name
from incarts_pipeline.rate_limit.shared import SharedRate
from incarts_pipeline.rate_limit.worker import Slots
from incarts_pipeline.settings import ClientSettings, key_fingerprint


@asynccontextmanager
async def pacing(
    settings: ClientSettings,
    run_id: str,
    learned: Learned | None,
    clock: Clock,
    open_pace: OpenPace,
    news: asyncio.Event,
) -> AsyncIterator[Pacer]:
    """Yield what says when to send; every run of the same key and ledger shares it.

    `learned` is what an earlier run left in the ledger; without it, what the user's state folder
    remembers of the host and the key is where it begins. `news` is set when permits have come
    sooner than a sender was told. Asking the pacer for a permit raises LedgerError when the file
    that the runs share can't be used for half a minute.
    """
    fixed = settings.rate.removeprefix("fixed:") if settings.rate != "adaptive" else None
    # No rate, nothing to share: the one case in which a 429 met here is not told to other runs.
    if fixed == "none":
        yield RateController(None, learns=False)
        return
    ceiling = settings.max_rps if fixed is None else float(fixed)
    fingerprint = key_fingerprint(settings.api_key)
    known = learned or remembered(settings.base_url, fingerprint)

    # What is learned and what is given don't share a state, so a run at a fixed rate beside others
    # doesn't have theirs forget what they know.
    def fresh() -> Shared:
        return Shared(RateController(ceiling, known, learns=fixed is None))

    name = pace_name(fingerprint, fixed=fixed is not None)
    slots = Slots(run_id, ceiling, known)
    async with SharedRate(open_pace(name, fresh), slots, clock, news) as rate:
        yield rate
        found = rate.learned
    if fixed is None and found is not None:
        remember(settings.base_url, fingerprint, found)
