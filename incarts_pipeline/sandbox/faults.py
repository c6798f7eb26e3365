"""Faults of requests: by chance that can be repeated, or by order."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from incarts_pipeline.sandbox.config import Fault, Faults


@dataclass(slots=True, kw_only=True)
class _Script:
    kind: Fault
    times: int
    where: str


class Schedule:
    """Chooses faults; orders come before chance."""

    def __init__(self) -> None:
        self._scripts: list[_Script] = []
        self.restart(Faults(), 0)

    def restart(self, faults: Faults, seed: int) -> None:
        """Begin anew with other shares or another seed; orders stand."""
        self._shares = faults.shares()
        # None is no bound; a number lets a test have its faults first and its peace after.
        self._left = faults.first
        self._seed = seed
        self._tries: Counter[str] = Counter()

    def order(self, kind: str, times: int, where: str) -> None:
        """Let the next `times` requests whose key or body contains `where` have a fault.

        `times` 0 takes back what is left of such orders.

        Args:
            kind: a fault's value.
            times: how many requests.
            where: a part of the key or body; empty for any request.

        Raises:
            ValueError: there is no such fault.
        """
        if times == 0:
            self._scripts = [
                one for one in self._scripts if (one.kind, one.where) != (Fault(kind), where)
            ]
            return
        self._scripts.append(_Script(kind=Fault(kind), times=times, where=where))

    def pick(self, key: str | None, body: bytes) -> Fault | None:
        """Return the fault of a request that is about to be worked on."""
        for script in self._scripts:
            # The first order that fits is used up first, so orders can be given one after the
            # other.
            if script.where in (key or "") or script.where.encode() in body:
                return self._use(script)
        if not self._shares or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return self._chance(key or "")

    def pick_read(self, link_id: str) -> Fault | None:
        """Return the fault that was ordered for reading this very link."""
        for script in self._scripts:
            # Only by name: an order for the next writes must not befall a read in between.
            if script.where and script.where in link_id:
                return self._use(script)
        return None

    def _use(self, script: _Script) -> Fault:
        script.times -= 1
        if script.times <= 0:
            self._scripts.remove(script)
        return script.kind

    def _chance(self, key: str) -> Fault | None:
        # Drawn from the key and its number of tries, so that the order in which concurrent
        # requests arrive doesn't matter.
        self._tries[key] += 1
        text = f"{self._seed} {self._tries[key]} {key}".encode()
        # A hash is as even as a random number, and the same in every process.
        dice = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64
        for fault, share in self._shares.items():
            dice -= share
            if dice < 0:
                return fault
        return None
