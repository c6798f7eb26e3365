"""Told: what headers say of the limit, as guesses that have to come true. Pure; times in seconds.

Two kinds of guesses: when to try again (`Retry-After`, resets), and how many are left (policies).
A time may be meant in seconds or in milliseconds: both are guesses, and compete.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.signals import Hints, Policy

_RIGHT, _WRONG, _MOST = 1.0, -2.0, 2.0  # standing, by one prediction
_SHARP = 0.25  # of a wait: what was still refused so shortly before its end proves it
_USED = 0.25  # standing that a prediction costs that nothing else was tried before
_MILLISECONDS_FROM = 1_000.0
_ROUNDED = 1.0  # seconds that servers round up by
_KEPT = 8  # policies


@dataclass(slots=True)
class Quota:
    """One policy, as it was told last, and believed as long as its standing isn't negative."""

    limit: int | None
    window: float | None
    remaining: int | None = None
    counted: int = 0  # accepted when that was told
    reset_at: float | None = None
    standing: float = 0.0

    def left(self, accepted: int) -> int | None:
        """Return how many are left after so many were accepted, None when nobody knows."""
        return None if self.remaining is None else self.remaining - (accepted - self.counted)


@dataclass(slots=True)
class Told:
    """All that was told; `standings` are of the ways to read a time."""

    quotas: dict[str, Quota] = field(default_factory=dict)
    standings: dict[str, float] = field(default_factory=dict)

    def heard(self, hints: Hints, now: float, accepted: int) -> None:
        """Take in what an answer said."""
        for place, policy in enumerate(hints.policies[:_KEPT]):
            quota = self._quota(place, policy)
            ends = None if policy.reset is None else now + policy.reset
            if policy.remaining is None:
                continue
            # Answers overtake each other: of one window the least that was told counts.
            left, same = (
                quota.left(accepted),
                quota.reset_at is not None and (ends is None or abs(ends - quota.reset_at) < 2.0),
            )
            is_later = left is None or not same or now >= (quota.reset_at or 0.0)
            if is_later or (left is not None and policy.remaining < left):
                quota.remaining, quota.counted = policy.remaining, accepted
            quota.reset_at = ends

    def _quota(self, place: int, policy: Policy) -> Quota:
        name = f"{place} {policy.limit} {policy.window}"
        if name not in self.quotas and len(self.quotas) >= _KEPT:
            del self.quotas[next(iter(self.quotas))]
        return self.quotas.setdefault(name, Quota(policy.limit, policy.window))

    def spent(self, accepted: int, under_way: int, now: float) -> str:
        """Return the name of a quota of which nothing is left, as far as it is believed."""
        for name, quota in self.quotas.items():
            left = quota.left(accepted)
            if left is None or left > under_way or quota.standing < 0:
                continue
            if quota.reset_at is not None and quota.reset_at > now:
                return name
        return ""

    def judge_quota(self, name: str, *, right: bool) -> None:
        """Take in whether a request that went when nothing was left was refused."""
        quota = self.quotas.get(name)
        if quota is not None:
            change = _RIGHT if right else _WRONG
            quota.standing = max(-_MOST, min(_MOST, quota.standing + change))

    def snapped(self, budget: int) -> int:
        """Return the limit that was told when the one that was measured is close to it."""
        limits = [quota.limit for quota in self.quotas.values() if quota.limit]
        close = [limit for limit in limits if abs(limit - budget) <= max(0.03 * limit, 2)]
        return min(close, key=lambda limit: abs(limit - budget), default=budget)

    def times(self, hints: Hints, now: float) -> dict[str, float]:
        """Return when a refusal says to come back, by the ways to read that."""
        waits = {} if hints.retry_after is None else {"retry-after": hints.retry_after}
        for place, policy in enumerate(hints.policies[:_KEPT]):
            if policy.reset is not None and not policy.remaining:
                waits[f"reset {place}"] = policy.reset
        for name, wait in list(waits.items()):
            if wait >= _MILLISECONDS_FROM:
                waits[f"{name} in ms"] = wait / 1_000
        return {name: now + wait for name, wait in waits.items() if wait > 0}

    def standing(self, name: str) -> float:
        """Return how far a way to read a time is believed: 0 at first, below it when it failed."""
        return self.standings.get(name, 0.0)

    def judge(self, name: str, at: float, began: float, refused: float, passed: float) -> None:
        """Compare a time that was told with when the server refused last, and when it let pass."""
        is_late, is_early = at < refused - 0.3, passed < at - _ROUNDED - 0.1
        standing = self.standing(name)
        if is_late or is_early:
            standing += _WRONG
        elif refused > max(began, at - max(_SHARP * (at - began), 1.5 * _ROUNDED)):
            standing += _RIGHT
        elif refused <= began:  # nothing was tried before it, so that it may be too long
            standing -= _USED
        self.standings[name] = max(-_MOST, min(_MOST, standing))
