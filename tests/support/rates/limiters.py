"""Rate limits as servers keep them; time in seconds is an argument."""

from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple, Protocol


class Left(NamedTuple):
    """What a limiter could tell: requests that would pass now, and seconds until more do."""

    remaining: int
    reset: float


class Limiter(Protocol):
    """A server's limit; `rate` is the requests a second that it lets through for good."""

    @property
    def rate(self) -> float: ...
    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""

    def left(self, now: float) -> Left:
        """Return what is left."""

    def leave(self) -> None:
        """Note that a request that was let through is answered."""


class Windowed:
    """What all limits of so many per window share."""

    def __init__(self, n: int, window: float) -> None:
        self.n, self.window = n, window

    @property
    def rate(self) -> float:
        return self.n / self.window

    def leave(self) -> None: ...


class Fixed(Windowed):
    """So many in a window that is aligned to the clock, or begins with its first request.

    `jitter` moves each window's end by up to so many seconds, as where servers' clocks differ.
    """

    def __init__(
        self, n: int, window: float, *, anchored: bool = False, jitter: float = 0.0
    ) -> None:
        super().__init__(n, window)
        self.anchored, self.jitter = anchored, jitter
        self.began, self.ends, self.count = float("-inf"), float("-inf"), 0
        self._dice = random.Random(5)

    def _roll(self, now: float) -> None:
        if now >= self.ends:
            self.began = now if self.anchored else now - (now - 7.3) % self.window
            self.ends = self.began + self.window + self._dice.uniform(0.0, self.jitter)
            self.count = 0

    def take(self, now: float) -> bool:
        self._roll(now)
        if self.count >= self.n:
            return False
        self.count += 1
        return True

    def left(self, now: float) -> Left:
        return Left(self.n - self.count, max(self.ends - now, 0.0))


class Bucket:
    """Refills at a rate, holds a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def left(self, now: float) -> Left:
        return Left(int(self.tokens), max(1 - self.tokens, 0.0) / self.rate)

    def leave(self) -> None: ...


class SlidingLog(Windowed):
    """Every request counts for exactly one window's length."""

    def __init__(self, n: int, window: float) -> None:
        super().__init__(n, window)
        self.log = deque[float]()

    def take(self, now: float) -> bool:
        while self.log and self.log[0] <= now - self.window:
            self.log.popleft()
        if len(self.log) >= self.n:
            return False
        self.log.append(now)
        return True

    def left(self, now: float) -> Left:
        over = len(self.log) - self.n
        return Left(max(-over, 0), self.log[max(over, 0)] + self.window - now if self.log else 0.0)


class SlidingCounter(Windowed):
    """This window, and the last one's share that still reaches into it."""

    def __init__(self, n: int, window: float) -> None:
        super().__init__(n, window)
        self.index, self.now_count, self.last = 0, 0, 0

    def take(self, now: float) -> bool:
        index = int(now / self.window)
        if index != self.index:
            self.last = self.now_count if index == self.index + 1 else 0
            self.index, self.now_count = index, 0
        share = 1 - (now / self.window - index)
        if self.last * share + self.now_count >= self.n:
            return False
        self.now_count += 1
        return True

    def left(self, now: float) -> Left:
        into = now / self.window - self.index
        used = self.last * (1 - into) + self.now_count
        return Left(max(int(self.n - used), 0), (1 - into) * self.window)


class Stacked:
    """Several limits at once; with `counts_all` false, those after one that refuses don't count."""

    def __init__(self, *parts: Limiter, counts_all: bool = True) -> None:
        self.parts, self.counts_all = parts, counts_all

    def take(self, now: float) -> bool:
        if self.counts_all:
            taken = [part.take(now) for part in self.parts]
            return all(taken)
        return all(part.take(now) for part in self.parts)

    def left(self, now: float) -> Left:
        return min(part.left(now) for part in self.parts)

    @property
    def rate(self) -> float:
        return min(part.rate for part in self.parts)

    def leave(self) -> None:
        for part in self.parts:
            part.leave()


class Counting(SlidingLog):
    """A sliding log in which refused requests count too, so that asking often keeps it full."""

    def take(self, now: float) -> bool:
        taken = super().take(now)
        if not taken:
            self.log.append(now)
        return taken


class Around:
    """A limit with something around it."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter

    @property
    def rate(self) -> float:
        return self.limiter.rate

    def take(self, now: float) -> bool:
        return self.limiter.take(now)

    def left(self, now: float) -> Left:
        return self.limiter.left(now)

    def leave(self) -> None:
        self.limiter.leave()


class Foreign(Around):
    """A limit that somebody else uses too, evenly, at a rate of their own."""

    def __init__(self, limiter: Limiter, rate: float) -> None:
        super().__init__(limiter)
        self.foreign, self._at = rate, 0.0

    def take(self, now: float) -> bool:
        while self._at < now:
            self.limiter.take(self._at)
            self._at += 1 / self.foreign
        return self.limiter.take(now)

    @property
    def rate(self) -> float:
        return self.limiter.rate - self.foreign


class Noisy(Around):
    """Refuses one in so many by chance, whatever is left."""

    def __init__(self, limiter: Limiter, share: float) -> None:
        super().__init__(limiter)
        self.share, self._dice = share, random.Random(7)

    def take(self, now: float) -> bool:
        return self._dice.random() >= self.share and self.limiter.take(now)


class Ban(Around):
    """Bans for a time after so many refusals in a row; each try may prolong it."""

    def __init__(
        self, limiter: Limiter, *, strikes: int = 3, seconds: float = 60.0, prolongs: bool = True
    ) -> None:
        super().__init__(limiter)
        self.strikes, self.seconds, self.prolongs = strikes, seconds, prolongs
        self._struck, self._until = 0, float("-inf")

    def take(self, now: float) -> bool:
        if now < self._until:
            if self.prolongs:
                self._until = now + self.seconds
            return False
        if self.limiter.take(now):
            self._struck = 0
            return True
        self._struck += 1
        if self._struck >= self.strikes:
            self._struck, self._until = 0, now + self.seconds
        return False


class Outage(Around):
    """A limit, and a time in which all is refused."""

    def __init__(self, limiter: Limiter, since: float, until: float) -> None:
        super().__init__(limiter)
        self.since, self.until = since, until

    def take(self, now: float) -> bool:
        return not self.since <= now < self.until and self.limiter.take(now)


class Replicas:
    """Servers that count by themselves; each request meets one of them by chance."""

    def __init__(self, *parts: Limiter) -> None:
        self.parts, self._dice = parts, random.Random(3)

    @property
    def rate(self) -> float:
        return sum(part.rate for part in self.parts)

    def take(self, now: float) -> bool:
        return self._dice.choice(self.parts).take(now)

    def left(self, now: float) -> Left:
        return self._dice.choice(self.parts).left(now)

    def leave(self) -> None: ...


class InFlight:
    """So many at work at once; `seconds` is how long one takes on average, for `rate`."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds, self.at_work = most, seconds, 0

    @property
    def rate(self) -> float:
        return self.most / self.seconds

    def take(self, now: float) -> bool:
        if self.at_work >= self.most:
            return False
        self.at_work += 1
        return True

    def left(self, now: float) -> Left:
        return Left(self.most - self.at_work, self.seconds)

    def leave(self) -> None:
        self.at_work -= 1


class Unlimited:
    """No limit; `rate` is what the client may do."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def take(self, now: float) -> bool:
        return True

    def left(self, now: float) -> Left:
        return Left(10**6, 0.0)

    def leave(self) -> None: ...


def scale(limiter: Limiter, factor: float) -> None:
    """Change a limit while it is in force."""
    if isinstance(limiter, Bucket):
        limiter.rate *= factor
    elif isinstance(limiter, Windowed):
        limiter.n = int(limiter.n * factor)
    elif isinstance(limiter, Stacked):
        for part in limiter.parts:
            scale(part, factor)
    else:
        raise TypeError(type(limiter))


LIMITERS = {
    "fixed 600/60 s": lambda: Fixed(600, 60),
    "anchored 600/60 s": lambda: Fixed(600, 60, anchored=True),
    "sliding log 600/60 s": lambda: SlidingLog(600, 60),
    "sliding counter 600/60 s": lambda: SlidingCounter(600, 60),
    "bucket 50/s burst 100": lambda: Bucket(50, 100),
    "bucket 50/s burst 1000": lambda: Bucket(50, 1000),
    "bucket 5/s burst 2": lambda: Bucket(5, 2),
    "10 per 1 s": lambda: Fixed(10, 1),
    "30 per 60 s": lambda: Fixed(30, 60),
    "20/s + 600/60 s": lambda: Stacked(Fixed(20, 1), Fixed(600, 60)),
    "fixed 250/25 s": lambda: Fixed(250, 25),
    "anchored 450/45 s": lambda: Fixed(450, 45, anchored=True),
    "fixed 900/90 s": lambda: Fixed(900, 90),
    "sliding log 1000/100 s": lambda: SlidingLog(1000, 100),
    "fixed 600/60 s, edges late by 0 to 2 s": lambda: Fixed(600, 60, jitter=2.0),
    "anchored 600/60 s, edges late by 0 to 2 s": lambda: Fixed(600, 60, anchored=True, jitter=2.0),
    "bucket 60/min burst 60": lambda: Bucket(1, 60),
    "bucket 100/min burst 100": lambda: Bucket(100 / 60, 100),
    "bucket 1000/h burst 1000": lambda: Bucket(1000 / 3600, 1000),
    "8 in flight": lambda: InFlight(8, 0.12),
    "4 in flight": lambda: InFlight(4, 0.12),
    "20 in flight": lambda: InFlight(20, 0.5),
    "4 replicas of 150/60 s": lambda: Replicas(*(Fixed(150, 60) for _ in range(4))),
    "4 anchored replicas of 150/60 s": lambda: Replicas(
        *(Fixed(150, 60, anchored=True) for _ in range(4))
    ),
    "4 sliding replicas of 150/60 s": lambda: Replicas(*(SlidingLog(150, 60) for _ in range(4))),
    "3 replicas of 1000/60 s": lambda: Replicas(*(Fixed(1000, 60) for _ in range(3))),
    "4 replicas of 12/s": lambda: Replicas(*(Bucket(12, 24) for _ in range(4))),
    "1 % by chance": lambda: Noisy(Unlimited(100), 0.01),
    "0.1 % by chance": lambda: Noisy(Unlimited(100), 0.001),
    "bucket 50/s, 1 % by chance": lambda: Noisy(Bucket(50, 100), 0.01),
    "600/60 s, ban": lambda: Ban(Fixed(600, 60), prolongs=False),
    "600/60 s, ban that tries prolong": lambda: Ban(Fixed(600, 60)),
    "bucket 50/s, ban that tries prolong": lambda: Ban(Bucket(50, 100)),
    "anchored 600/60 s, ban": lambda: Ban(Fixed(600, 60, anchored=True), prolongs=False),
    "sliding log 600/60 s, ban": lambda: Ban(SlidingLog(600, 60), prolongs=False),
    "10 per 1 s, ban": lambda: Ban(Fixed(10, 1), prolongs=False),
    "bucket 10/s, ban": lambda: Ban(Bucket(10, 20), prolongs=False),
    "600/60 s, ban of 300 s": lambda: Ban(Fixed(600, 60), prolongs=False, seconds=300.0),
    "600/60 s counts refused": lambda: Counting(600, 60),
    "10/s + 5000/h": lambda: Stacked(Fixed(10, 1), Fixed(5000, 3600)),
    "100/min + 1000/h": lambda: Stacked(Fixed(100, 60), Fixed(1000, 3600)),
}
