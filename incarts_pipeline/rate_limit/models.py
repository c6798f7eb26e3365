"""Models: what is believed of a server's limit, by how well each guess foretold what it did. Pure.

Times in seconds, rates in requests a second.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.block import Block, Guess
from incarts_pipeline.rate_limit.cap import Cap
from incarts_pipeline.rate_limit.flow import Flow
from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.rate_limit.signals import Hints
from incarts_pipeline.rate_limit.told import Told
from incarts_pipeline.rate_limit.windows import Window, WindowKind, next_usual

TOLD = ("retry-after", "reset")  # how the names of guesses begin that headers told
PROVEN = 1.0  # standing of a model from which it is waited for alone
MARGIN = 3.0  # requests by which counts may be wrong
_FULL = 0.95  # of a budget, from which a refusal is no surprise
_RODE = 3.0  # windows that were ridden, after which a longer block is another limit's
_OVERFULL = 1.2  # times a budget: what let so many through has another one, or another length
_QUOTA = 900.0  # seconds; a window of more than that is a budget, not a pace
_QUIET, _QUIET_TRIES, _LONGEST_QUIET = 20.0, 4, 600.0  # seconds without a try that ended a block
_SLOWER = 0.85  # times a pace that was ridden for a while: a ban is dear, so few steps
_INERTIA = 0.5  # standing that the model in force is ahead by


def _guesses_of_windows() -> list[Window]:
    return [Window(kind) for kind in (WindowKind.ANCHORED, WindowKind.SLIDING, WindowKind.ALIGNED)]


@dataclass(slots=True)
class Kept:
    """What was believed before a block's end was taken for a window's."""

    windows: list[Window]
    outer: list[Window]
    flow: Flow
    quiet: float | None


@dataclass(slots=True)
class Models:
    """All guesses, and the history that they are held against."""

    history: History = field(default_factory=History)
    windows: list[Window] = field(default_factory=_guesses_of_windows)
    outer: list[Window] = field(default_factory=list)  # a second limit, of longer windows
    flow: Flow = field(default_factory=Flow)
    cap: Cap = field(default_factory=Cap)
    told: Told = field(default_factory=Told)
    quiet: float | None = None  # seconds without a try after which a ban ended
    lasted: tuple[float, float] | None = None  # seconds, the last long block: more, and at most
    in_force: str = ""
    kept: Kept | None = None  # while it isn't clear whether a window was reset

    # What is believed.

    def best(self) -> Window | Flow | None:
        """Return the model that paces: the one of the best standing that has an estimate."""
        known: list[Window | Flow] = [one for one in self.windows if one.rate is not None]
        if self.flow.rate is not None:
            known.append(self.flow)
        if not known:
            return None
        found = max(known, key=lambda one: one.standing + _INERTIA * (name(one) == self.in_force))
        self.in_force = name(found)
        return found

    def pacing(self) -> Window | Flow | None:
        """Return the model whose rate is to be kept to: the best one, or a slower second limit."""
        best = self.best()
        if best is None or not self.outer:
            return best
        far = max(self.outer, key=lambda one: one.standing)
        if far.length is None or far.length > _QUOTA or far.rate is None:
            return best
        return far if far.rate < (best.rate or 0.0) else best

    def rate(self) -> float | None:
        """Return what may be sent for good, None while nothing is known."""
        one = self.pacing()
        return None if one is None else one.rate

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
            self.flow.standing = PROVEN
        else:
            for one in self.windows:
                one.shortest, one.longest = 0.99 * learned.window - 0.01, learned.window
                one.budget, one.standing = learned.budget or 1, PROVEN
            self.in_force = WindowKind.ANCHORED.value

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

    def full_for(self, now: float, under_way: int) -> float:
        """Return for how long a window is full that is believed, 0.0 when none is."""
        waits = [0.0]
        best = self.best()
        for one in [*self.windows, *self.outer]:
            if (one is best and one.standing > 0) or (one in self.outer and one.standing >= PROVEN):
                if one.held(self.history, now) + under_way < one.budget:
                    continue
                opens = one.opens(self.history, now)
                if opens is not None:
                    waits.append(opens - now)
        return max(waits)

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
        for one in [*self.windows, *self.outer]:
            opens = one.opens(self.history, block.began, block.last_refused)
            if opens is None or one.standing < -PROVEN:
                continue
            sure = one.standing >= PROVEN or one is best or one in self.outer
            is_full = self._is_full(one, block)
            found.append(Guess(name(one), opens, one.standing, sure=sure and is_full))
        if self.flow.rate and best is self.flow and block.tries < 3:
            at = block.last_refused + 1.0 / self.flow.rate
            found.append(Guess("flow", at, self.flow.standing, sure=True))
        for way, at in self.told.times(hints, now).items():
            standing = self.told.standing(way)
            if standing >= 0:
                block.guesses.setdefault(way, at)
                at = max(at - 1.0, now + 0.5 * (at - now))  # servers round up
                found.append(Guess(way, at, standing, sure=standing >= PROVEN))
        if self.quiet is not None and block.tries >= 1:
            found.append(Guess("quiet", block.last_refused + self.quiet, 0.0, sure=True))
        first = self.history.first
        if (
            first is not None
            and not is_told(found)
            and (usual := next_usual(now - first)) is not None
        ):
            found.append(Guess("usual", first + usual, -1.0, sure=False))
        return found

    def _is_full(self, one: Window, block: Block) -> bool:
        return self._held(one, block) >= _FULL * one.budget - 2

    def _held(self, one: Window, block: Block) -> float:
        return one.held(self.history, block.began) - block.accepted_after

    # What is learned.

    def keep(self) -> None:
        """Remember what is believed now."""
        self.kept = deepcopy(Kept(self.windows, self.outer, self.flow, self.quiet))

    def undo(self) -> None:
        """Believe again what was remembered."""
        if self.kept is not None:
            self.windows, self.outer = self.kept.windows, self.kept.outer
            self.flow, self.quiet, self.kept = self.kept.flow, self.kept.quiet, None

    def accepted(self, at: float) -> None:
        """Take in a request that was accepted."""
        self.history.add(at)
        for one in self.windows:
            one.accepted(at)
        for one in self.outer:
            one.accepted(at)

    def unblocked(
        self, block: Block, passed: float, *, is_long: bool, rate: float, rode: float
    ) -> None:
        """Take in a block that ended when a canary that left at `passed` was accepted.

        `rate` is the pace that met it, `rode` the seconds for which the limit was ridden before.
        """
        for way, at in block.guesses.items():
            if way.startswith(TOLD):
                self.told.judge(way, at, block.began, block.last_refused, passed)
        if not is_long:
            self._exhausted(block)
            self._short(block, passed)
            return
        if self._is_ban(block, passed, rate, rode):
            return
        tier = self._tier(passed - block.began, rode)
        for one in tier:
            one.saw(self.history, block.began, block.last_refused, passed)
            one.budget = self.told.snapped(one.budget)
        if tier is self.windows:
            if self.flow.is_settled:
                self.flow.standing = max(-5.0, self.flow.standing - 2.0)
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
            expected, found = flow.rate * (block.began - since), count - before
            right = abs(found - expected) <= MARGIN + 0.05 * expected
            flow.standing = max(-5.0, min(5.0, flow.standing + (1.0 if right else -1.0)))
            if flow.is_settled:
                above = self.history.most_above(flow.rate, since) - block.accepted_after
                flow.gave(above)
        flow.empty(block.began, count)
        flow.empty(block.last_refused, count)
        if flow.first is None:
            flow.first = (block.began - (self.history.first or 0.0), count)
        if flow.rate is not None:
            flow.burst = max(flow.first[1] - flow.rate * flow.first[0], flow.spare, 0.0)

    def _short(self, block: Block, passed: float) -> None:
        """A block ended that was no window's reset: who had foretold that?"""
        for one in self.windows:
            opens = one.opens(self.history, block.began)
            if opens is None or one.rate is None:
                continue
            if not self._is_full(one, block):
                one.standing = max(-5.0, one.standing - (1.0 if block.tries else 0.5))
            elif (held := self._held(one, block)) > _OVERFULL * one.budget + MARGIN:
                one.judge(right=False)
            elif block.last_refused - 0.3 < opens <= passed + 0.3:
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

    def _is_ban(self, block: Block, passed: float, rate: float, rode: float) -> bool:
        """Say whether a ban's end ended a block, and no window's; remember how long it takes."""
        lasts = self._ban(block, passed)
        self.lasted = (block.last_refused - block.began, passed - block.began)
        if self.quiet is not None:
            if block.waited_for != "quiet" or self.in_force != "flow" or rode < 0.5 * self.quiet:
                return False
            # The wait hid when there was room again; what went well for so long is nearly right.
            self.flow.restart(rate=_SLOWER * rate)
            return True
        if lasts is None:
            return False
        self.quiet = lasts
        for one in self.windows:
            one.began = one.earliest = passed
        self.flow.restart(rate=0.75 * rate)
        self.in_force = "flow"
        return True

    def _ban(self, block: Block, passed: float) -> float | None:
        """Return the seconds of a ban that a block speaks of, None when it speaks of none."""
        best = self.best()
        expected = best is not None and best.standing >= PROVEN
        told = any(way.startswith(TOLD) for way in block.guesses)
        if told or block.tries < _QUIET_TRIES or expected:
            return None
        gap, lasted = passed - block.last_refused, block.last_refused - block.began
        if _QUIET < gap < _LONGEST_QUIET and gap > 1.2 * block.longest_gap:
            return gap  # each try had prolonged it
        if block.waited_for or self.lasted is None or not _QUIET < lasted < _LONGEST_QUIET:
            return None
        # Nobody foretold its end, and it lasted as long as the long one before.
        low, high = max(self.lasted[0], lasted), min(self.lasted[1], passed - block.began)
        return high if low < high else None


def is_told(guesses: list[Guess]) -> bool:
    """Say whether a header told one of these."""
    return any(one.name.startswith(TOLD) for one in guesses)


def name(one: Window | Flow) -> str:
    """Return a model's name."""
    return "flow" if isinstance(one, Flow) else one.kind.value
