"""Models: what is believed of a server's limit, by how well each guess foretold what it did. Pure.

Times in seconds, rates in requests a second.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial

from incarts_pipeline.rate_limit.ban import Ban, could_last
from incarts_pipeline.rate_limit.block import PATIENCE, Block, Guess
from incarts_pipeline.rate_limit.cap import Cap
from incarts_pipeline.rate_limit.flow import ENOUGH, Flow
from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.rate_limit.signals import Hints
from incarts_pipeline.rate_limit.standing import PROVEN, SLACK, WRONG, judged
from incarts_pipeline.rate_limit.told import Told
from incarts_pipeline.rate_limit.windows import Window, WindowKind, is_usual, next_usual, roundest

TOLD = ("retry-after", "reset")  # how the names of guesses begin that headers told
MARGIN = 3.0  # requests by which counts may be wrong
_FULL = 0.95  # of a budget, from which a refusal is no surprise
_NEARLY = 0.8  # of a budget, from which some of the servers that count by themselves may be full
_SURELY_FULL = 0.98  # and from which a window's end is waited for
_MIXED_TRIES = 2  # refused in a row, until it is waited for where servers count by themselves
_RODE = 3.0  # windows that were ridden, after which a longer block is another limit's
_REFUTED = 2.0  # times a budget: what let so many through is no such window
_OVERFULL = 1.2  # times a budget: what let so many through has another one, or another length
_MEASURED = 20  # acknowledgements by which the first limit's rate keeps the search for a second
_TELLING = 10.0  # requests between two blocks that prove a rate


def _guesses_of_windows() -> list[Window]:
    return [Window(kind) for kind in (WindowKind.ANCHORED, WindowKind.SLIDING, WindowKind.ALIGNED)]


@dataclass(slots=True)
class Models:
    """All guesses, and the history that they are held against."""

    history: History = field(default_factory=History)
    windows: list[Window] = field(default_factory=_guesses_of_windows)
    outer: list[Window] = field(default_factory=list)  # a second limit, of longer windows
    flow: Flow = field(default_factory=Flow)
    cap: Cap = field(default_factory=Cap)
    told: Told = field(default_factory=Told)
    ban: Ban | None = None
    lasted: tuple[float, float] | None = None  # seconds, the last long block: more, and at most
    mixed: int = 0  # blocks that showed servers which count by themselves, less those that didn't
    # What was believed, while it isn't clear whether a window was reset.
    kept: tuple[list[Window], list[Window], Flow] | None = None

    # What is believed.

    def best(self) -> Window | Flow | None:
        """Return the model that paces: the one of the best standing that has an estimate."""
        if self.ban is not None:
            return self.flow
        known: list[Window | Flow] = [one for one in self.windows if one.rate is not None]
        if self.flow.rate is not None:
            known.append(self.flow)
        if not known:
            return None
        return max(known, key=lambda one: one.standing)

    def pacing(self) -> Window | Flow | None:
        """Return the model whose rate is to be kept to: the best one, or a slower second limit."""
        best = self.best()
        if best is None or not self.outer:
            return best
        far = max(self.outer, key=lambda one: one.standing)
        if far.length is None or far.length > PATIENCE or far.rate is None:
            return best
        return far if far.rate < (best.rate or 0.0) else best

    def rate(self) -> float | None:
        """Return what may be sent for good, None while nothing is known."""
        one = self.pacing()
        return None if one is None else one.rate

    def inner(self) -> float | None:
        """Return the rate of the first limit, where a second one paces and it is measured."""
        best = self.best()
        if best is None or best is self.pacing():
            return None
        return None if isinstance(best, Flow) and best.count < _MEASURED else best.rate

    def learned(self, burst: float | None) -> Learned | None:
        """Return what a later controller may begin with."""
        best, rate = self.best(), self.rate()
        if best is None or rate is None:
            return None
        if isinstance(best, Flow):
            held = int(best.burst) or None
            return Learned(kind=LimitKind.BUCKET, rate=rate, budget=held, burst=burst)
        return Learned(
            kind=LimitKind.WINDOW,
            rate=best.rate or rate,
            budget=best.budget,
            window=best.length,
            burst=burst,
        )

    def begin(self, learned: Learned) -> None:
        """Begin with what an earlier controller measured: believed a little, until it fails."""
        if learned.kind is LimitKind.IN_FLIGHT:
            self.cap.begin(learned.budget or 1, 0.0)
        elif learned.window is None:
            self.flow.assumed, self.flow.burst = learned.rate, float(learned.budget or 0)
            self.flow.standing, self.flow.weight = PROVEN, ENOUGH
        else:
            for one in self.windows:
                one.shortest, one.longest = 0.99 * learned.window - 0.01, learned.window
                one.budget, one.standing = learned.budget or 1, PROVEN

    def room(self, now: float, under_way: int) -> float:
        """Return how many may go at once as far as is known: what is left of the windows."""
        best = self.best()
        if best is None:
            return 0.0
        if isinstance(best, Flow):
            return best.saved(now, self.history.total) - under_way
        return min(
            one.budget - one.held(self.history, now) - under_way
            for one in [*self.windows, *self.outer]
            if one.rate is not None
        )

    def excess(self, now: float) -> bool:
        """Say whether the window in force holds more than it should."""
        best = self.pacing()
        if not isinstance(best, Window) or best.length is None:
            return False
        return best.held(self.history, now) > best.budget * 1.01 + MARGIN

    # What is foretold.

    def guesses(self, block: Block, hints: Hints, now: float) -> list[Guess]:
        """Return when each model and hint says that a request passes again."""
        found, best = [], self.best()
        for one in [] if self.ban else [*self.windows, *self.outer]:
            opens = one.opens(self.history, block.began, block.last_refused)
            if opens is None or one.standing < -PROVEN:
                continue
            sure, held = one.standing >= PROVEN or one is best, self._held(one, block)
            if one in self.outer:
                # Unless it is just full, one try shows whether it was the first limit.
                sure &= held <= 1.01 * one.budget + MARGIN
                sure |= one.standing >= 0 and block.tries > 0
            is_full = held >= _SURELY_FULL * one.budget - MARGIN
            is_full &= held <= _REFUTED * one.budget
            sure &= is_full and not (self.mixed and block.tries < _MIXED_TRIES)
            found.append(Guess(name(one), opens, one.standing, sure=sure))
        if self.ban is not None:
            at = self.ban.over_at(block.last_refused, block.tries)
            found.append(Guess("ban", at, 0.0, sure=True))
        elif self.flow.rate and best is self.flow and block.tries < 3:
            at = block.last_refused + 1.0 / self.flow.rate
            found.append(Guess("flow", at, self.flow.standing, sure=True))
        for way, at in self.told.times(hints, now).items():
            standing = self.told.standing(way)
            if standing >= 0:
                block.guesses.setdefault(way, at)
                at = max(at - 1.0, now + 0.5 * (at - now))  # servers round up
                found.append(Guess(way, at, standing, sure=standing >= PROVEN))
        first = self.history.first
        if (
            first is not None
            and self.ban is None
            and not is_told(found)
            and (usual := next_usual(now - first)) is not None
        ):
            found.append(Guess("usual", first + usual, -1.0, sure=False))
        return found

    def open_by(self, block: Block) -> float:
        """Return when a window that is believed ends at the latest, wherever it began."""
        believed = [one for one in [*self.windows, *self.outer] if one.standing >= PROVEN]
        return block.began + max([one.length or 0.0 for one in believed], default=0.0)

    def is_nearly_full(self, block: Block, passed: float) -> bool:
        """Say whether the window in force was nearly full, and a block ended before it did."""
        best = self.best()
        if not isinstance(best, Window) or self._held(best, block) < _NEARLY * best.budget:
            return False
        opens = best.opens(self.history, block.began)
        return opens is not None and passed < opens - 0.5

    def _is_full(self, one: Window, block: Block) -> bool:
        return self._held(one, block) >= _FULL * one.budget - 2

    def _held(self, one: Window, block: Block) -> float:
        return one.held(self.history, block.began) - block.accepted_after

    # What is learned.

    def keep(self) -> None:
        """Remember what is believed now."""
        self.kept = deepcopy((self.windows, self.outer, self.flow))

    def undo(self) -> None:
        """Believe again what was remembered."""
        if self.kept is not None:
            (self.windows, self.outer, self.flow), self.kept = self.kept, None

    def accepted(self, at: float) -> None:
        """Take in a request that was accepted."""
        self.history.add(at)
        for one in self.windows:
            one.accepted(at)
        for one in self.outer:
            one.accepted(at)

    def judge_told(self, block: Block, passed: float) -> None:
        """Compare what headers told of a block with when it ended."""
        for way, at in block.guesses.items():
            if way.startswith(TOLD):
                self.told.judge(way, at, block.began, block.last_refused, passed)

    def ride(self, rate: float) -> None:
        """Go on at a rate that follows from bans; one that is doubted is believed no more."""
        self.flow.restart(rate=rate)
        if self.ban is not None and self.ban.is_doubted:
            self.ban = None
            self.flow.standing = max(self.flow.standing, PROVEN)

    def unblocked(
        self, block: Block, passed: float, now: float, *, is_long: bool, rate: float, rode: float
    ) -> None:
        """Take in a block that ended when a canary that left at `passed` was accepted by `now`.

        `rate` is the pace that met it, `rode` the seconds for which the limit was ridden before.
        """
        self.judge_told(block, passed)
        if not is_long:
            self._exhausted(block)
            self.flow.rested(now - block.stopped)
            self._short(block, passed)
            return
        lasts = self._ban(block, passed)
        if lasts is not None:
            self.ban = Ban(lasts)
            self.ride(self.ban.met(rate, self.history, passed))
            return
        self.mixed = max(self.mixed - 1, 0)
        tier = self._tier(passed - block.began, rode)
        for one in tier:
            one.saw(self.history, block.began, block.last_refused, passed, anew=tier is self.outer)
        if tier is self.windows:
            if self.flow.is_settled:
                self.flow.standing = judged(self.flow.standing, WRONG)
            # Should it be a slow bucket, it was empty at the last refusal.
            self.flow.restart(block.last_refused, self.history.total)
        else:
            self.flow.restart(rate=self.flow.rate)

    def explains(self, block: Block) -> bool:
        """Say whether a model that is believed foretold that nothing was left as a block began."""
        best = self.best()
        if isinstance(best, Flow):
            saved = best.unused(block.began, self.history.total - block.accepted_after)
            if saved <= MARGIN + 0.02 * min(best.count, 200):
                return True
        known = [one for one in [*self.windows, *self.outer] if one.rate is not None]
        return any(one.standing >= 0 and self._is_full(one, block) for one in known)

    def _exhausted(self, block: Block) -> None:
        """Take in that the server was exhausted all through a block."""
        flow, count = self.flow, self.history.total - block.accepted_after
        if flow.empties and flow.rate is not None and flow.count >= MARGIN:
            since, before = flow.empties[-1]
            expected, found = flow.rate * (block.began - flow.lost - since), count - before
            right = abs(found - expected) <= MARGIN + 0.05 * expected
            credit = min(1.0, expected / _TELLING)  # a few are foretold by chance
            flow.standing = judged(flow.standing, credit if right else -1.0)
        flow.empty(block.began, count)
        flow.empty(block.last_refused, count)
        if flow.met is None:
            flow.met = block.began
        if flow.rate is not None:
            if flow.first is None:
                flow.first = self.history.most_above(flow.rate, flow.met)
            flow.burst = max(flow.first[1] - flow.rate * flow.first[0], 0.0)

    def _short(self, block: Block, passed: float) -> None:
        """A block ended that was no window's reset: who had foretold that?"""
        for one in self.windows:
            opens = one.opens(self.history, block.began)
            if opens is None or one.rate is None:
                continue
            if not self._is_full(one, block):
                one.standing = judged(one.standing, -1.0 if block.tries else -0.5)
            elif (held := self._held(one, block)) > _OVERFULL * one.budget + MARGIN:
                one.judge(right=False)
            elif block.last_refused - SLACK < opens <= passed + SLACK:
                one.judge(right=True)
                one.budget = min(one.budget, max(int(held + 0.5), 1))
            elif opens > passed + 1.0 or opens < block.last_refused - 1.0:
                one.judge(right=False)

    def _tier(self, seconds: float, rode: float) -> list[Window]:
        """Return the windows that a block of so many seconds is about."""
        best, other = self.best(), False
        if isinstance(best, Flow):
            known = best.is_settled or (best.assumed is not None and bool(self.outer))
            other = best.standing >= PROVEN and known
        elif best is not None and best.length is not None:
            inner = best.standing >= PROVEN or rode > _RODE * best.length
            other = inner and seconds > 1.5 * best.length
        if other and not self.outer:
            self.outer = _guesses_of_windows()
            first = self.history.first
            self.outer[0].began = first
            self.outer[0].earliest = first or 0.0
        return self.outer if other else self.windows

    def _ban(self, block: Block, passed: float) -> float | None:
        """Return how long a ban takes that ended a block, None when it was none.

        Nobody foretold its end.
        """
        before, lasted = self.lasted, (block.last_refused - block.began, passed - block.began)
        self.lasted = lasted
        is_told = any(way.startswith(TOLD) for way in block.guesses)
        if block.waited_for or is_told or not could_last(lasted[1]):
            return None
        if before is not None:
            # As long as the one before, whatever was held.
            is_same = max(before[0], lasted[0]) < min(before[1], lasted[1])
            fits = any(map(partial(self._fits, block), self.windows))
            return lasted[1] if is_same and not fits else None
        # Each try prolonged it, should that explain a usual time, and a window none.
        start, gap = self.history.first or block.began, passed - block.last_refused
        if is_usual(block.last_refused - start, passed - start) or not could_last(gap):
            return None
        return roundest(block.longest_gap, gap) if is_usual(block.longest_gap, gap) else None

    def _fits(self, block: Block, one: Window) -> bool:
        """Say whether a believed window held about its budget as a block began."""
        held = self._held(one, block)
        return (
            one.standing >= PROVEN and one.budget <= _OVERFULL * held <= _OVERFULL**2 * one.budget
        )


def is_told(guesses: list[Guess]) -> bool:
    """Say whether a header told one of these."""
    return any(one.name.startswith(TOLD) for one in guesses)


def name(one: Window | Flow) -> str:
    """Return a model's name."""
    return "flow" if isinstance(one, Flow) else one.kind.value
