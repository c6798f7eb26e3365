"""Lease of a run: renewed while it is at work, so that others leave alone what it has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger import RENEW_SECONDS, LivingRun, renew, save_rate
from incarts_pipeline.models import Reason
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.rate_limit import Learned
from incarts_pipeline.text import Option, OptionText
from incarts_pipeline.write.options import IfRunning
from incarts_pipeline.write.send import Sender

logger = logger_of(__name__)


class Lease:
    """The lease of one run, which began with a fresh one.

    Args:
        sender: what the run sends with.
        run_id: whose it is.
        made: counts what a worker has made so far; None for who is no worker.
    """

    def __init__(self, sender: Sender, run_id: str, made: Callable[[], int] | None = None) -> None:
        self._journal, self._throttle = sender.journal, sender.throttle
        self._fingerprint = sender.rule.api_key_fingerprint
        self._run_id = run_id
        self._made = made
        self._kept_rate: Learned | None = sender.throttle.rate.learned

    async def keep(self) -> None:
        """Renew the lease until cancelled, and look whether somebody asked this run to stop."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            now, made = self._throttle.clock.now(), self._made() if self._made else None
            try:
                asked = await self._journal.run(lambda c: renew(c, self._run_id, now, made))  # noqa: B023
            except Exception:
                # No end of the run. Should the lease lapse, another run may take operations over;
                # then they can't be marked as sent here any more, and nothing leaves unmarked.
                logger.exception("the run's lease could not be renewed")
                continue
            if asked:
                self._throttle.stop.request(Reason.STOPPED)
            if moved := self._journal.moved:
                self._throttle.end_for_ledger(moved)
            await self.save_rate()

    async def save_rate(self) -> None:
        """Keep what was learned of the rate limit for the next run."""
        fingerprint = self._fingerprint
        learned = self._throttle.rate.learned
        if fingerprint is None or learned is None or learned == self._kept_rate:
            return
        now = self._throttle.clock.now()
        try:
            await self._journal.run(lambda c: save_rate(c, fingerprint, learned, now))
        except Exception:  # no reason to lose the lease, or not to record the run's end
            logger.exception("what was learned of the rate limit could not be kept")
        else:
            self._kept_rate = learned


def refuse_beside(
    living: Mapping[str, LivingRun], names: Collection[str], if_running: IfRunning
) -> None:
    """Refuse to begin on link sets beside other living runs, if that is what was asked for.

    Raises:
        RefusedError: as said.
    """
    others = [str(run) for run in living.values() if not run.link_sets.isdisjoint(names)]
    if others and if_running is IfRunning.FAIL:
        raise RefusedError(
            f"Another run is at work on this link set: {', '.join(others)}.",
            fix=OptionText(
                "Wait for it, stop it with `incarts stop`, or leave ",
                Option(name="if_running"),
                " at wait.",
            ),
            guard="running",
        )
